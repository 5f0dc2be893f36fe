"""Entries of input files: their range, their file, and the events that come more than once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lartpc import RSE, Event, ImageError, Reader, ReadError
from lartpc.image import INVALID_INDEX
from mdp import SettingsError
from services.planes import PLANES, ranges

log = logging.getLogger(__name__)

_RSE = np.dtype([(name, "<u8") for name in RSE._fields])
_MASK = (1 << 64) - 1
Names = npt.NDArray[np.void]
"""(run, subrun, event) of each entry: 24 bytes each, so that a million take 24 MB."""


class Entry(NamedTuple):
    """The entry that an event comes from."""

    number: int
    """The entry number, counted from 0 over all input files."""
    rse: RSE
    where: str
    """File and entry as text: `run7.root entry 41`."""


def read_entry(reader: Reader, number: int) -> tuple[Entry, Event]:
    """Read the event of an entry number. Raises `ReadError`."""
    path, local = reader.locate(number)
    event = reader[number]
    return Entry(number, event.rse, f"{path} entry {local}"), event


def names(rses: Iterable[RSE]) -> Names:
    """Return the names of these events as an array, in their order."""
    return np.array([tuple(number & _MASK for number in rse) for rse in rses], _RSE)


class Repeats(NamedTuple):
    """The events, by (run, subrun, event), that come more than once."""

    more: int
    """The number of repeated entries: all entries except the first of each event."""
    first: str
    """One such event and how often it comes, as text; empty if there is none."""


def repeats(events: Names) -> Repeats:
    """Find the events that have several entries."""
    different, inverse, counts = np.unique(events, return_inverse=True, return_counts=True)
    more = len(events) - len(different)
    if not more:
        return Repeats(0, "")
    again = np.flatnonzero(counts[inverse.ravel()] > 1)
    name = events[again[0]]
    return Repeats(more, f"{name.item()}, {int(np.count_nonzero(events == name))} times")


def warn_of_repeats(reader: Reader, order: Iterable[int]) -> None:
    """Log one warning if the inputs hold events more than once."""
    more, first = repeats(names(_readable_names(reader, order)))
    if more:
        log.warning(
            "%d events come again in the inputs, the first is %s: each is scored every time",
            more,
            first,
        )


def _readable_names(reader: Reader, order: Iterable[int]) -> Iterator[RSE]:
    for number in order:
        try:
            yield reader.rse(number)
        except ReadError as error:  # reading the entry raises it again
            log.debug("%s", error)


def check_range(start: int, end: int | None) -> None:
    """Raise `SettingsError` for a range without entries."""
    if start < 0 or (end is not None and end <= start):
        raise SettingsError(f"want 0 <= start < end, got {start} and {end} (--start, --end)")


def entry_range(start: int, end: int | None, entries: int) -> range:
    """Return the entries from `start` up to, but not including, `end` (None: to the last one).

    `entries`: how many the files hold. Raises `SettingsError` for a start beyond the last entry.
    """
    if start >= entries > 0:
        raise SettingsError(f"want a start below {entries}, the number of entries, got {start}")
    if end is not None and end > entries:
        log.warning("there are only %d entries, not %d", entries, end)
    return range(*slice(start, end).indices(entries))


def check_planes(got: Sequence[int], want: Sequence[int], *, skip_others: bool = False) -> None:
    """Raise `ImageError` unless there is one image of each wanted plane, or no image at all.

    Images of planes that are not wanted are skipped, but planes outside of `PLANES` are refused
    unless `skip_others`.
    """
    others = set(got if skip_others else PLANES) - set(want)
    if got and sorted(plane for plane in got if plane not in others) != sorted(want):
        more = sorted(set(got) - {INVALID_INDEX}) != sorted(got)
        hint = "--planes" if more else f"--planes {ranges(got)} scores all of them"
        nowhere = f"; {INVALID_INDEX} means that none is set" if INVALID_INDEX in got else ""
        raise ImageError(
            f"want one image of each plane {list(want)} or none, got {list(got)}{nowhere} ({hint})"
        )
