"""How a command's process ends: one line on stderr, and the exit code of the error's class."""

from __future__ import annotations

import signal

import pytest

from lartpc import errors as lartpc
from mdp import NotServed, SettingsError
from mdp.system.process import StopSignals, errors_reported


def end(error: BaseException, **options: object) -> object:
    """The exit code of a process that an error ends."""
    with pytest.raises(SystemExit) as raised, errors_reported("prog", **options):  # type: ignore[arg-type]
        raise error
    return raised.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotServed("no worker serves x"), 1),
        (SettingsError("want\n  a number"), 2),
        (lartpc.ReadError("cannot read x"), 1),
        (lartpc.ParameterError("want x"), 2),
        (lartpc.TickOrderError("want backward"), 2),
    ],
)
def test_an_error_is_one_line_and_its_classs_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end(error) == code
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"prog: {' '.join(str(error).split())}"


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    end(NotServed("a\x1b[31mb \udcff"))
    assert capsys.readouterr().err == "prog: a\\x1b[31mb \\udcff\n"


def test_an_explanation_replaces_the_text_and_turns_any_error_into_a_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert end(SettingsError("x"), explain=lambda error: f"better {error}") == 2
    assert end(ModuleNotFoundError("numpy"), explain=lambda error: "pip install numpy") == 1
    assert capsys.readouterr().err == "prog: better x\nprog: pip install numpy\n"


def test_a_bug_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), errors_reported(explain=lambda error: None):
        raise ZeroDivisionError


def test_ctrl_c_and_a_reader_that_leaves_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""


INT, TERM, HUP, USR1 = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1


@pytest.mark.parametrize(
    ("arrived", "count"),
    [
        ([(TERM, 0.0)], 1),
        ([(INT, 0.0), (INT, 0.1)], 2),
        ([(TERM, 0.0), (TERM, 0.0), (TERM, 1.9)], 1),  # srun and slurmstepd
        ([(TERM, 0.0), (TERM, 2.0)], 2),
        ([(TERM, 0.0), (INT, 0.1)], 2),
        ([(INT, 0.0), (TERM, 0.1)], 2),
        ([(INT, 0.0), (TERM, 0.1), (TERM, 0.2)], 2),
        ([(HUP, 0.0), (HUP, 9.0)], 1),  # of one terminal that is closed
        ([(HUP, 0.0), (TERM, 0.1)], 2),
        ([(TERM, 0.0), (HUP, 9.0)], 1),
        ([(USR1, 0.0)], 1),
        ([(USR1, 0.0), (USR1, 9.0)], 1),
        ([(TERM, 0.0), (USR1, 9.0)], 1),
        ([(USR1, 0.0), (TERM, 30.0), (TERM, 30.1)], 1),  # announced, and the end
        ([(USR1, 0.0), (TERM, 30.0), (TERM, 33.0)], 2),
        ([(USR1, 0.0), (INT, 0.1)], 2),
        ([(USR1, 0.0), (TERM, 30.0), (INT, 30.1)], 2),
    ],
)
def test_signals_that_are_sent_twice_count_as_one(
    arrived: list[tuple[signal.Signals, float]], count: int
) -> None:
    signals = StopSignals()
    counted = [signals.counts(number, now) for number, now in arrived]
    assert counted.count(True) == signals.count == count
