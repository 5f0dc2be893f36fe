"""Entries of input files: which of them are meant, and where each is from."""

from __future__ import annotations

import logging
from typing import NamedTuple

from lartpc import RSE, Event, Reader
from mdp import SettingsError

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """Where an event comes from."""

    number: int
    """Counted over all input files."""
    rse: RSE
    where: str
    """File and entry, for people: `run7.root entry 41`."""


def read_entry(reader: Reader, number: int) -> tuple[Entry, Event]:
    """The event of an entry number, and where it is from."""
    path, local = reader.locate(number)
    event = reader[number]
    return Entry(number, event.rse, f"{path} entry {local}"), event


def check_range(start: int, end: int | None) -> None:
    """Raise `SettingsError` for a range that holds no entry."""
    if start < 0 or (end is not None and end <= start):
        raise SettingsError(f"want 0 <= start < end, got {start} and {end}")


def entry_range(start: int, end: int | None, entries: int) -> range:
    """The entries from `start` to before `end` (None: to the last) of files that hold so many."""
    if start >= entries > 0:
        raise SettingsError(f"want a start below {entries}, the number of entries, got {start}")
    if end is not None and end > entries:
        log.warning("there are only %d entries, not %d", entries, end)
    return range(*slice(start, end).indices(entries))
