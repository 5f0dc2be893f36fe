"""The provenance of a file: one text for each time it was made, which travels with the file.

The text belongs to the program that wrote it. Where it is a JSON object with a `tick_order`,
`open_reader` reads that. Raises `ReadError` for files of other formats.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .format_modules import module
from .formats import format_of


def append(path: str | os.PathLike[str], records: Sequence[str]) -> None:
    """Add texts to a closed file, after those that it has.

    This is not atomic: use it before the file gets its final name. Raises `ReadError`,
    `WriteError` and `LibraryMissing`.
    """
    if records:
        file = Path(path)
        module(format_of(file)).append_provenance(file, records)


def read(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The texts of a file, the oldest first; empty if it has none. Raises `ReadError`."""
    opened = module(format_of(Path(path))).open_file(Path(path), "backward")
    try:
        texts: tuple[str, ...] = opened.provenance()
    finally:
        opened.close()
    return texts
