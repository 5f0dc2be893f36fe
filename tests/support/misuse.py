"""Runs a command line that is refused in this process: a process for each would take minutes."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest


def misused(
    main: Callable[[], object],
    *arguments: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """Run `main` with these arguments; it must end with exit code 2. Return what stderr got."""
    monkeypatch.setattr("sys.argv", ["command", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("MDP_BROKER", raising=False)
    handlers = list(logging.getLogger().handlers)
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        logging.getLogger().handlers[:] = handlers
    stderr = capsys.readouterr().err
    assert ended.value.code == 2, stderr
    return stderr
