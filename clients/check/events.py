"""Which events an output must have, and which it has: as many, the same, in the same order."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lartpc import Reader

from ..files.checksums import Stamp
from ..files.entries import Names, repeats
from ..files.provenance import Input, Record
from .findings import Finding

_FOREIGN = "is not the input's"


def expected_entries(
    records: Sequence[Record], reader: Reader, given: Sequence[Stamp], finding: Finding
) -> range:
    """The input entries from the first to the last that the records say were scored; all of them
    where the given files are not the ones that they name, which `finding` says."""
    starts = np.cumsum([0, *reader.sizes]).tolist()
    entries: list[int] = []
    used: set[int] = set()
    for record in records:
        begin = 0
        own: set[int] = set()
        for each in record.inputs:
            index = _place(each, given, own)
            text = f"{each.path} of {each.stamp.bytes} bytes is none of the files given"
            finding.look(index is None, text)
            meant = range(max(record.start, begin), min(record.end, begin + each.entries))
            if index is not None:
                own.add(index)
                entries += [starts[index] + number - begin for number in meant]
            begin += each.entries
        used |= own
    for index, path in enumerate(reader.paths):
        finding.look(index not in used, f"the output was not made of {path}")
    if finding.bad:
        return range(len(reader))
    # a hole between two ranges is missing, and a range that was scored twice is there twice
    return range(min(entries, default=0), max(entries, default=-1) + 1)


def _place(one: Input, given: Sequence[Stamp], taken: set[int]) -> int | None:
    """Which of the given files it is: of equal ones the first that is not taken."""
    same = [index for index, stamp in enumerate(given) if stamp == one.stamp]
    return min(same, key=lambda index: index in taken, default=None)


class EventFindings:
    """Names of events, wanted and got."""

    def __init__(self, want: Names, got: Names) -> None:
        self.repeats = Finding("repeats", "no event twice in the inputs", checked=len(want))
        again = repeats(want)
        if again.more:
            self.repeats.warned = again.more
            self.repeats.first = f"{again.more} events come again, the first is {again.first}"
        often = "as often as there" if again.more else "each once"
        self.entries = Finding("entries", "as many as the input", checked=len(want))
        self.events = Finding("events", f"the input's (run, subrun, event), {often}")
        self.order = Finding("order", "the input's order")
        self._want, self._got = want, got
        self.entries.look(
            abs(len(want) - len(got)), f"want {len(want)} entries, got {len(got)}", of=0
        )
        self._compare()

    def _compare(self) -> None:
        want, got = self._want, self._got
        different, wanted, come = _counts(want, got)
        missing, more = (
            different[np.flatnonzero(short)] for short in (wanted > come, come > wanted)
        )
        bad = int(np.abs(wanted - come).sum())
        texts = []
        if len(missing):
            texts.append(f"{_shown(missing[0])} is missing")
        if len(more):
            twice = np.isin(more[0], want)
            texts.append(f"{_shown(more[0])} {'comes too often' if twice else _FOREIGN}")
        self.events.look(bad, ", ".join(texts), of=len(want))
        # what is missing, or too many, does not make the others stand wrong
        want, got = want[np.isin(want, got)], got[np.isin(got, want)]
        both = min(len(want), len(got))
        wrong = np.flatnonzero(want[:both] != got[:both])
        where = f"want {_shown(want[wrong[0]])}, got {_shown(got[wrong[0]])}" if len(wrong) else ""
        self.order.look(len(wrong), where, of=both)

    def partner(self) -> list[int]:
        """For each entry got, which of the wanted ones has its name; -1: none."""
        want, got = self._want, self._got
        if len(want) == len(got) and (want == got).all():
            return list(range(len(got)))
        places: defaultdict[bytes, deque[int]] = defaultdict(deque)
        for number, name in enumerate(want):
            places[bytes(name)].append(number)
        # an event that comes again in the output only is still held against its one entry
        return [_next(places[bytes(name)]) if bytes(name) in places else -1 for name in got]

    def all(self) -> list[Finding]:
        return [self.repeats, self.entries, self.events, self.order]


def _counts(want: Names, got: Names) -> tuple[Names, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The different events, and how often each is wanted and has come."""
    different, inverse = np.unique(np.concatenate([want, got]), return_inverse=True)
    inverse = inverse.ravel()
    wanted = np.bincount(inverse[: len(want)], minlength=len(different))
    come = np.bincount(inverse[len(want) :], minlength=len(different))
    return different, wanted, come


def _next(places: deque[int]) -> int:
    """The first of these, while there are several."""
    return places.popleft() if len(places) > 1 else places[0]


def _shown(name: np.void) -> str:
    return str(name.item())
