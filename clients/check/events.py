"""Which events an output must have, and which it has: as many, the same, in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from lartpc import RSE, Reader

from ..provenance import Input, Record
from ..stamps import Stamp
from .findings import Finding

_RSE = np.dtype([(name, "<u8") for name in RSE._fields])
Names = npt.NDArray[np.void]
"""(run, subrun, event) of each entry: 24 bytes, so that a million fit anywhere."""


def names(reader: Reader, entries: Iterable[int]) -> Names:
    """Of these entries, in their order."""
    return np.array([tuple(reader.rse(entry)) for entry in entries], _RSE)


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
        self.entries = Finding("entries", "as many as the input", checked=len(want))
        self.events = Finding("events", "the input's (run, subrun, event), each once")
        self.order = Finding("order", "the input's order")
        self._want, self._got = want, got
        self.entries.look(
            abs(len(want) - len(got)), f"want {len(want)} entries, got {len(got)}", of=0
        )
        self._compare()

    def _compare(self) -> None:
        want, got = self._want, self._got
        missing, more = np.setdiff1d(want, got), np.setdiff1d(got, want)
        twice = len(got) - len(np.unique(got)) - (len(want) - len(np.unique(want)))
        bad = len(missing) + len(more) + max(twice, 0)
        text = ", ".join(
            f"{_shown(some[0])} {what}"
            for some, what in ((missing, "is missing"), (more, "is not the input's"))
            if len(some)
        )
        self.events.look(bad, text or f"{twice} events come more than once", of=len(want))
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
        places = {bytes(name): number for number, name in enumerate(want)}
        return [places.get(bytes(name), -1) for name in got]

    def all(self) -> list[Finding]:
        return [self.entries, self.events, self.order]


def _shown(name: np.void) -> str:
    return str(name.item())
