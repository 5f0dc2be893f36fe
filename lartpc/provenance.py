"""What a file says of its own making: texts, one of each making, that travel with the file.

A text is its maker's business; of one that is a JSON object `tick_order` is read here, if it has
one. In LArCV1 they are entries of a tree
`ssnet_provenance`, which LArCV does not read and `hadd` concatenates; in LArCV3 rows of a dataset
of that name. Refuses nothing but files of other formats.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

from .formats import format_of, module
from .image import TickOrder

NAME = "ssnet_provenance"
# LArCV1 skips every tree whose name does not end with _tree
RECORD = "record"
"""The tree's one branch: a `std::string`."""


def append(path: str | os.PathLike[str], records: Sequence[str]) -> None:
    """Add texts to a file that is closed, after those that it has. Not atomic: for a file that
    has its name not yet. Raises `ReadError`, `WriteError` and `LibraryMissing`."""
    if records:
        file = Path(path)
        module(format_of(file)).append_provenance(file, records)


def read(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The texts of a file, the oldest first; none where nobody left any. Raises `ReadError`."""
    opened = module(format_of(Path(path))).open_file(Path(path), "backward")
    try:
        texts: tuple[str, ...] = opened.provenance()
    finally:
        opened.close()
    return texts


def tick_orders(records: Sequence[str]) -> tuple[TickOrder, ...]:
    """The tick orders that these texts state, each once."""
    stated: dict[TickOrder, None] = {}
    for text in records:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            order = json.loads(text)["tick_order"]
            if order in get_args(TickOrder):
                stated[order] = None
    return tuple(stated)
