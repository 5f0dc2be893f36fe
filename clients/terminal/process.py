"""What every `ssnet` command's process does with its errors, and with names that are no UTF-8."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from mdp import MDPError, SettingsError

from . import missing


def show_any_name() -> None:
    """What is no UTF-8 in a file's name goes to stdout as JSON escapes it; to stderr it does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def errors_reported() -> Iterator[None]:
    """An error is one line on stderr; a misuse exits with 2, a failure with 1, Ctrl-C with 130."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here a reader that has left is still caught
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `ssnet files *.root | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MDPError as error:
        _end(str(error), code=2 if isinstance(error, SettingsError) else 1)
    except ModuleNotFoundError as error:
        line = missing.line(sys.argv[1:], error.name or "")
        if line is None:
            raise
        _end(line, code=1)
    except Exception as error:
        # lartpc needs numpy, which help and errors do without; its errors come after its import
        lartpc = sys.modules.get("lartpc.errors")
        if lartpc is None or not isinstance(error, lartpc.LArTPCError):
            raise
        text, cause = str(error), error.__cause__
        if isinstance(error, lartpc.LibraryMissing) and isinstance(cause, ImportError):
            text = missing.line(sys.argv[1:], cause.name or "", otherwise=text) or text
        _end(text, code=2 if isinstance(error, lartpc.SettingsError) else 1)


def _end(text: str, *, code: int) -> NoReturn:
    sys.stderr.write("ssnet: " + " ".join(text.split()) + "\n")
    sys.exit(code)
