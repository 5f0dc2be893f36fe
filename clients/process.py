"""What every `ssnet` command's process does with its errors, and with names that are no UTF-8."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from mdp import MDPError, SettingsError

_PACKAGES = {
    "matplotlib": "matplotlib",
    "uproot": "'ssnetserver[client]'",
    "awkward": "'ssnetserver[client]'",
    "h5py": "'ssnetserver[client]'",
    "numpy": "'ssnetserver[client]'",
    "zstandard": "'ssnetserver[client]'",
    "torch": "'ssnetserver[train]'",
    "google": "'ssnetserver[worker]'",
}
"""Optional modules, and what to install for them."""


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
        package = _PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        _end(f"this needs {error.name}: pip install {package}", code=1)
    except Exception as error:
        # lartpc needs numpy, which help and errors do without; its errors come after its import
        lartpc = sys.modules.get("lartpc.errors")
        if lartpc is None or not isinstance(error, lartpc.LArTPCError):
            raise
        _end(str(error), code=2 if isinstance(error, lartpc.SettingsError) else 1)


def _end(text: str, *, code: int) -> NoReturn:
    sys.stderr.write("ssnet: " + " ".join(text.split()) + "\n")
    sys.exit(code)
