"""What the tests with real processes share."""

from __future__ import annotations

import faulthandler
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import optional, tether
from tests.support.processes import Processes, free_port

END_S = 60.0
SLOW_FOLDERS = {
    Path(__file__).parent / name
    for name in ("benches", "faults", "interop", "messaging", "processes")
}
SLOW_FIXTURES = {"processes", "endpoint", "served", "pools", "farm", "root"}
"""They start processes, or load ROOT."""


def pytest_addoption(parser: pytest.Parser) -> None:
    optional.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    optional.take_options(config)
    tether.hold()
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        # under nohup: pytest still ignores it, but the processes that tests start do not
        signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_unconfigure() -> None:
    """Let a thread that a test left running stop pytest's end for a minute, and no longer."""
    faulthandler.dump_traceback_later(END_S, exit=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that `-m torch` selects by their fixture, and those with real processes."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "torch" in fixtures:
            item.add_marker("torch")
        if fixtures & SLOW_FIXTURES or SLOW_FOLDERS & set(item.path.parents):
            item.add_marker("slow")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("torch"):
        optional.optional("torch")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts processes for one test, and kills them after it."""
    if sys.platform != "linux":
        pytest.skip("needs /proc, to see that no process is left")
    with Processes(tmp_path) as started:
        yield started


@pytest.fixture
def endpoint() -> str:
    """A free loopback address."""
    return f"tcp://127.0.0.1:{free_port()}"
