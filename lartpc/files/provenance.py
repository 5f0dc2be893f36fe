"""Provenance records: texts in a file that say how it was made, one for each step.

The program that writes a record defines its content. `open_reader` reads one thing from it:
`tick_order`, if the text is a JSON object that has it. Refuses files of other formats.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .format_modules import module
from .formats import container_of
from .provenance_texts import check_encodable


def append(path: str | os.PathLike[str], records: Sequence[str]) -> None:
    """Append records to a closed file.

    This is not atomic, so use it only before the file is renamed into place. Raises `ReadError`,
    `WriteError` and `LibraryMissing`.
    """
    if records:
        file = Path(path)
        check_encodable(records)
        module(container_of(file)).append_provenance(file, records)


def read(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the records of a file, the oldest first; empty if it has none. Raises `ReadError`."""
    opened = module(container_of(Path(path))).open_file(Path(path), "backward")
    try:
        texts: tuple[str, ...] = opened.provenance()
    finally:
        opened.close()
    return texts
