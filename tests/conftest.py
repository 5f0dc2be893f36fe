"""What the tests with real processes share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Processes, free_port


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
