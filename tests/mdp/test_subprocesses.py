"""Functions in processes of their own: their results, their logs, their ends."""

from __future__ import annotations

import signal
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from mdp import SettingsError
from mdp.system import subprocesses
from tests.support.processes import until

pytestmark = pytest.mark.slow


def double(number: int) -> int:
    return 2 * number


def refuse(number: int) -> int:
    raise SettingsError(f"want an even number, got {number}")


def die(number: int) -> int:
    sys.stdout.flush()
    signal.raise_signal(signal.SIGKILL)
    return number


def log_and_wait(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
    time.sleep(600)


def log_and_end(text: str) -> None:
    print(f"first line\n{text}", file=sys.stderr)
    raise SystemExit(7)


def ignore_sigterm(text: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_and_wait(text)


def test_a_call_returns_the_result_or_raises_the_exception() -> None:
    assert subprocesses.call(double, 21) == 42
    with pytest.raises(SettingsError, match="got 3"):
        subprocesses.call(refuse, 3)
    with pytest.raises(BrokenProcessPool):
        subprocesses.call(die, 0)


def test_a_process_ends_with_its_block_and_logs_to_its_file(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with subprocesses.running("waiter", log, log_and_wait, "here") as process:
        until(lambda: process.last_line() == "here", "the log has a line")
        assert not process.ended
    assert process.ended


def test_a_process_that_ends_by_itself_tells_why(tmp_path: Path) -> None:
    with subprocesses.running("ender", tmp_path / "a.log", log_and_end, "no more") as process:
        until(lambda: process.ended, "it has ended")
        assert process.last_line() == "no more"
    with subprocesses.running("silent", tmp_path / "b.log", double, 1) as process:
        until(lambda: process.ended, "it has ended")
        assert process.last_line() == "exit code 0"


def test_a_process_that_ignores_signals_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocesses, "_STOP_S", 0.2)
    log = tmp_path / "a.log"
    with subprocesses.running("stubborn", log, ignore_sigterm, "here") as process:
        until(lambda: process.last_line() == "here", "it ignores SIGTERM")
    assert process.ended


def interrupt_the_first_join(
    process: subprocesses.Subprocess, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: process.last_line() == "here", "it ignores SIGTERM")
    join, stops = process._process.join, iter([KeyboardInterrupt])

    def interrupted(patience_s: float | None = None) -> None:
        for stop in stops:
            raise stop
        join(patience_s)

    monkeypatch.setattr(process._process, "join", interrupted)


def test_a_stop_that_is_interrupted_kills_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a second Ctrl-C; else Python would wait at its end for the process."""
    log = tmp_path / "a.log"
    with (
        pytest.raises(KeyboardInterrupt),
        subprocesses.running("stubborn", log, ignore_sigterm, "here") as process,
    ):
        interrupt_the_first_join(process, monkeypatch)
    assert process.ended
