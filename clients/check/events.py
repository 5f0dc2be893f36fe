"""Compare the events of an output with the expected ones: number, names and order."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lartpc import Reader

from ..files.checksums import FileChecksum
from ..files.entries import Names, repeats
from ..files.provenance import Input, Record
from .findings import Finding

_FOREIGN = "is not the input's"


def expected_entries(
    records: Sequence[Record], reader: Reader, given: Sequence[FileChecksum], finding: Finding
) -> range:
    """Return the range of input entries, first to last, that the records say were scored.

    `given`: the checksums of the inputs. If they are not the files that the records name, `finding`
    gets the differences, and all entries are returned.
    """
    starts = np.cumsum([0, *reader.sizes]).tolist()
    entries: list[int] = []
    used: set[int] = set()
    for record in records:
        begin = 0
        used_by_record: set[int] = set()
        for file in record.inputs:
            index = _place(file, given, used_by_record)
            text = f"{file.path} of {file.checksum.bytes} bytes is not one of the files given"
            finding.look(index is None, text)
            scored = range(max(record.start, begin), min(record.end, begin + file.entries))
            if index is not None:
                used_by_record.add(index)
                entries += [starts[index] + number - begin for number in scored]
            begin += file.entries
        used |= used_by_record
    for index, path in enumerate(reader.paths):
        finding.look(index not in used, f"the output was not made from {path}")
    if finding.bad:
        return range(len(reader))
    # so entries between two ranges count as missing, and a range scored twice as coming too often
    return range(min(entries, default=0), max(entries, default=-1) + 1)


def _place(file: Input, given: Sequence[FileChecksum], taken: set[int]) -> int | None:
    """Return the index of the given file with this checksum; prefer one that is not taken."""
    same = [index for index, checksum in enumerate(given) if checksum == file.checksum]
    return min(same, key=lambda index: index in taken, default=None)


class EventFindings:
    """Compares the (run, subrun, event) of the wanted events with those that an output has."""

    def __init__(self, want: Names, got: Names) -> None:
        self.repeats = Finding("repeats", "no event twice in the inputs", checked=len(want))
        again = repeats(want)
        if again.more:
            self.repeats.warned = again.more
            self.repeats.first = f"{again.more} events come again, the first is {again.first}"
        times = "as often as there" if again.more else "each once"
        self.entries = Finding("entries", "as many as the input", checked=len(want))
        self.events = Finding("events", f"the input's (run, subrun, event), {times}")
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
        # missing or surplus events do not put the others in the wrong order
        want, got = want[np.isin(want, got)], got[np.isin(got, want)]
        both = min(len(want), len(got))
        wrong = np.flatnonzero(want[:both] != got[:both])
        where = f"want {_shown(want[wrong[0]])}, got {_shown(got[wrong[0]])}" if len(wrong) else ""
        self.order.look(len(wrong), where, of=both)

    def partner(self) -> list[int]:
        """Return, for each entry of the output, the index of the wanted event, or -1."""
        want, got = self._want, self._got
        if len(want) == len(got) and (want == got).all():
            return list(range(len(got)))
        places: defaultdict[bytes, deque[int]] = defaultdict(deque)
        for number, name in enumerate(want):
            places[bytes(name)].append(number)
        # an event that is repeated only in the output is still compared with its one entry
        return [_next(places[bytes(name)]) if bytes(name) in places else -1 for name in got]

    def all(self) -> list[Finding]:
        """Return all findings about events."""
        return [self.repeats, self.entries, self.events, self.order]


def _counts(want: Names, got: Names) -> tuple[Names, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The distinct events, how often each is wanted, and how often the output has it."""
    different, inverse = np.unique(np.concatenate([want, got]), return_inverse=True)
    inverse = inverse.ravel()
    wanted = np.bincount(inverse[: len(want)], minlength=len(different))
    come = np.bincount(inverse[len(want) :], minlength=len(different))
    return different, wanted, come


def _next(places: deque[int]) -> int:
    """Take the first place; the last one is not removed, and may be used several times."""
    return places.popleft() if len(places) > 1 else places[0]


def _shown(name: np.void) -> str:
    return str(name.item())
