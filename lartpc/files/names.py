"""Names of producers. Refuses names that a ROOT tree or an HDF5 group cannot have."""

from __future__ import annotations

import re

from ..errors import ImageError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def check_name(name: str) -> None:
    """Raise `ImageError` unless both formats can hold this name."""
    if not _NAME.fullmatch(name):
        raise ImageError(
            f"want a name of letters, digits, _, - and ., up to 200 of them, got {name[:250]!r}"
        )
