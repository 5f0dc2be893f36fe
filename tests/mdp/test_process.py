"""How a command's process ends: one line on stderr, and the exit code of the error's class."""

from __future__ import annotations

import pytest

from lartpc import errors as lartpc
from mdp import NotServed, SettingsError
from mdp.process import errors_reported


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
