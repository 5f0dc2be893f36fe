"""What the tests with real processes share."""

from __future__ import annotations

import faulthandler
import logging
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import optional, tether
from tests.support.processes import Processes, free_port

END_S = 60.0
SLOW_FOLDERS = {
    Path(__file__).parent / name
    for name in ("benches", "faults", "interop", "messaging", "processes", "security", "slurm")
}
SLOW_FIXTURES = {
    "processes",
    "endpoint",
    "served",
    "pools",
    "farm",
    "root",
    "larcv1",
    "larcv2",
    "larcv3",
}
"""They start processes, or load ROOT."""


# none of the tests is timed, and the machine may be busy
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    optional.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    optional.take_options(config)
    tether.hold()
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        # under nohup: pytest still ignores it, but the processes that tests start do not
        signal.signal(signal.SIGHUP, lambda *_: None)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # in the background of a shell script; processes that tests start would ignore it, too
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let a thread that a test left running stop pytest's end for a minute, and no longer.

    A worker of pytest-xdist must not end by itself: it may wait for the other workers much longer.
    """
    if not hasattr(config, "workerinput"):
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write lone surrogates in captured output as escapes: xdist sends reports as UTF-8."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True, scope="session")
def no_thread_is_left() -> Iterator[None]:
    """Fail after the last test if the end of this process has to wait for a test's thread.

    pytest-xdist kills a worker that does not end, so nothing else would report the thread.
    """
    others = set(threading.enumerate())
    yield
    give_up_at = time.monotonic() + END_S
    started = [one for one in threading.enumerate() if one not in others and not one.daemon]
    for thread in started:
        thread.join(max(give_up_at - time.monotonic(), 0))
    names = [thread.name for thread in started if thread.is_alive()]
    assert not names, "a test has left these threads, which are not daemons"


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Undo what a command that ran in this process has set."""
    loggers = [logging.getLogger(name) for name in ("", "mdp", "clients")]
    levels = [logger.level for logger in loggers]
    disabled = logging.root.manager.disable
    yield
    logging.disable(disabled)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


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
