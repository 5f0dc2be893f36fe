"""Provenance records: texts in a file that say how it was made, one for each step.

The program that writes a record defines its content. This module reads one thing from it:
`tick_order`, if the text is a JSON object that has it. In LArCV1 the records are entries of a tree
`ssnet_provenance`, which LArCV ignores and `hadd` concatenates; in LArCV3 they are rows of a
dataset of that name. Refuses files of other formats.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

from .errors import WriteError
from .formats import format_of, module
from .image import TickOrder

NAME = "ssnet_provenance"
# LArCV1 skips every tree whose name does not end with _tree
RECORD = "record"
"""The only branch of the tree, a `std::string`."""


def append(path: str | os.PathLike[str], records: Sequence[str]) -> None:
    """Append records to a closed file.

    This is not atomic, so use it only before the file is renamed into place. Raises `ReadError`,
    `WriteError` and `LibraryMissing`.
    """
    if records:
        file = Path(path)
        for record in records:
            _check_text(record)
        module(format_of(file)).append_provenance(file, records)


def read(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the records of a file, the oldest first; empty if it has none. Raises `ReadError`."""
    opened = module(format_of(Path(path))).open_file(Path(path), "backward")
    try:
        texts: tuple[str, ...] = opened.provenance()
    finally:
        opened.close()
    return texts


def _check_text(record: str) -> None:
    try:
        record.encode()
    except UnicodeEncodeError as error:
        raise WriteError(f"want provenance that UTF-8 can encode: {error}") from None


def tick_orders(records: Sequence[str]) -> tuple[TickOrder, ...]:
    """Return the tick orders that these records state, without repetitions."""
    stated: dict[TickOrder, None] = {}
    for text in records:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            order = json.loads(text)["tick_order"]
            if order in get_args(TickOrder):
                stated[order] = None
    return tuple(stated)
