"""Which products and events a file has, and its provenance, read without its images."""

from __future__ import annotations

import base64
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lartpc import RSE, ReadError
from lartpc.files.format_modules import module
from lartpc.files.formats import container_of
from lartpc.files.reader import OneFile

from ..files.entries import Names, names

_READ = ("image2d", "partroi")
"""The kinds of products whose entries can be read; of others only the number is compared."""


class Content(NamedTuple):
    """What a file holds, without its images."""

    products: frozenset[str]
    events: Names
    """(run, subrun, event) of each entry."""
    texts: tuple[str, ...]
    """The provenance records."""


def content_of(path: Path, *, is_known: bool = False) -> Content:
    """Read which products and events a file has. Raises `ReadError` if its products differ.

    `is_known`: its checksum is right, so the events are read from one product, and only the
    numbers of entries of the others are compared.
    A reader would also look for the tick order in the images, which takes ten times as long.
    """
    file: OneFile = module(container_of(path)).open_file(path, "backward")
    with closing(file):
        listed = sorted(file.names(), key=lambda name: name[0] not in _READ)
        events = names(())
        for number, (kind, producer) in enumerate(listed):
            if kind in _READ and not (is_known and number):
                file.entries(kind, producer)  # raises for a product that is damaged
                its_events = names(map(RSE._make, file.rses(kind, producer).tolist()))
                same = not number or np.array_equal(its_events, events)
                events = its_events
            else:
                same = file.product(kind, producer).entries == len(events)
            if not same:
                raise ReadError(f"want the same events throughout {path}, {producer} has others")
        products = frozenset(f"{kind}_{producer}" for kind, producer in listed)
        return Content(products, events, file.provenance())


def packed(events: Names) -> str:
    """Return the names of events as text."""
    return base64.b64encode(events.tobytes()).decode()


def unpacked(text: str) -> Names:
    """Return the names of events that `packed` made into text; none for a malformed text."""
    nothing = names(())
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), nothing.dtype)
    except ValueError:
        return nothing
