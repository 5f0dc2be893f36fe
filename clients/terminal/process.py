"""What the process of an `ssnet` command does with its errors, and with names not in UTF-8."""

from __future__ import annotations

import functools
import io
import sys

from mdp.system import process

from . import missing

errors_reported = functools.partial(process.errors_reported, "ssnet", explain=missing.explain)
"""As in `mdp`; a missing library is named with the line that installs it."""


def show_any_name() -> None:
    """Write a file name that is not UTF-8 to stdout with escapes, as JSON and stderr do."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
