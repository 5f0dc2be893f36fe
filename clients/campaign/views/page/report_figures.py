"""The figures of a campaign's page: rates over time, failures by reason and host, slow files. Pure.

Long lists are cut, since the page of a campaign with 100,000 files must stay small; each list keeps
how many there were.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Generic, NamedTuple, TypeVar

from ..reasons import Kind, Kinds

MOST_BINS = 120
_LENGTHS_S = (
    *(1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0),
    *(7200.0, 14400.0, 43200.0, 86400.0),
)
_SLOWER = 1.2  # times the median: less is no slow file
_EXAMPLES = 3

T = TypeVar("T")


class Part(NamedTuple, Generic[T]):
    """The first of many rows."""

    rows: Sequence[T]
    total: int

    @property
    def more(self) -> int:
        return self.total - len(self.rows)


class Try(NamedTuple):
    """One try of a file."""

    file: int
    began_at: float
    ended_at: float
    host: str
    outcome: str
    reason: str
    events: int


class FailedEvent(NamedTuple):
    """An event that is empty in an output."""

    file: int
    path: str
    entry: int
    run: int
    subrun: int
    event: int
    plane: int | None
    code: int
    reason: str
    host: str


class Timed(NamedTuple):
    """A file that was scored, and how long that took."""

    number: int
    path: str
    host: str
    events: int
    seconds: float


# Rates over time.


@dataclass(frozen=True)
class Bin:
    """A stretch of time."""

    began_at: float
    events: float
    files: float
    failed: int
    """Tries that ended in it without scoring their file."""


@dataclass(frozen=True)
class Rates:
    """What was done over time, in stretches of equal length."""

    length_s: float
    bins: Sequence[Bin]

    @property
    def most_events_per_s(self) -> float:
        return max((one.events for one in self.bins), default=0.0) / self.length_s


def rates(tries: Iterable[Try]) -> Rates:
    """Return the events and files over time; those of a try are spread over its time."""
    chosen = [one for one in tries if 0 < one.began_at <= one.ended_at]
    if not chosen:
        return Rates(_LENGTHS_S[0], ())
    first = min(one.began_at for one in chosen)
    last = max(one.ended_at for one in chosen)
    length = _length(last - first)
    start = math.floor(first / length) * length
    number = int((last - start) // length) + 1
    events, files, failed = [0.0] * number, [0.0] * number, [0] * number
    for one in chosen:
        end = int((one.ended_at - start) // length)
        if one.outcome != "done":
            failed[end] += 1
            continue
        files[end] += 1
        _spread(events, one, start=start, length=length)
    rows = zip(events, files, failed, strict=True)
    return Rates(length, [Bin(start + k * length, *row) for k, row in enumerate(rows)])


def _length(span_s: float) -> float:
    for length in _LENGTHS_S:
        if span_s / length <= MOST_BINS - 1:
            return length
    days = math.ceil(span_s / 86400.0 / (MOST_BINS - 1))
    return 86400.0 * days


def _spread(events: list[float], one: Try, *, start: float, length: float) -> None:
    began, ended = (one.began_at - start) / length, (one.ended_at - start) / length
    first, last = int(began), int(ended)
    if first == last:
        events[first] += one.events
        return
    for k in range(first, last + 1):
        events[k] += one.events * (min(ended, k + 1) - max(began, k)) / (ended - began)


# Failures by reason.


@dataclass
class ReasonRow:
    """Failures of one kind."""

    kind: Kind
    hosts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    """Some of the files."""
    planes: Counter[int] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)

    @property
    def text(self) -> str:
        return self.kind.text

    @property
    def count(self) -> int:
        return self.kind.count


class Reasons:
    """Counts failures by the kind of their reason."""

    def __init__(self) -> None:
        self._kinds = Kinds()
        self._rows: dict[str, ReasonRow] = {}

    def add(
        self,
        reason: str,
        *,
        host: str,
        path: str,
        entry: int | None = None,
        plane: int | None = None,
        code: int = 0,
    ) -> None:
        kind = self._kinds.add(reason or "no reason given", path)
        example = path if entry is None else f"{path} entry {entry}"
        row = self._rows.get(kind.kind)
        if row is None:
            row = self._rows[kind.kind] = ReasonRow(kind)
        row.hosts[host] += 1
        if len(row.examples) < _EXAMPLES and example not in row.examples:
            row.examples.append(example)
        if plane is not None:
            row.planes[plane] += 1
        if code:
            row.codes[code] += 1

    def part(self, most: int) -> Part[ReasonRow]:
        """Return the most frequent kinds."""
        rows = sorted(self._rows.values(), key=lambda row: (-row.count, row.kind.kind))
        return Part(rows[:most], len(rows))


# Slow files.


class SlowFile(NamedTuple):
    """A file that took longer for an event than the others."""

    file: Timed
    event_s: float
    times: float
    """How many times the median of all files that is."""


@dataclass(frozen=True)
class Pace:
    """How long an event takes, over all files."""

    median_s: float
    """Seconds for an event; 0: nothing was scored."""
    tenth_s: float
    """One file of ten is faster."""
    ninth_s: float
    """One file of ten is slower."""
    slow: Part[SlowFile]


def pace(files: Iterable[Timed], *, most: int) -> Pace:
    """Return the pace of the files, and the slowest of them."""
    timed = [(one.seconds / one.events, one) for one in files if one.events and one.seconds > 0]
    if not timed:
        return Pace(0.0, 0.0, 0.0, Part((), 0))
    times = sorted(event_s for event_s, _ in timed)
    usual = median(times)
    slow = [SlowFile(one, event_s, event_s / usual) for event_s, one in timed]
    slow = [one for one in slow if one.times > _SLOWER]
    shown = heapq.nlargest(most, slow, key=lambda one: one.times)
    last = len(times) - 1
    return Pace(usual, times[last // 10], times[last - last // 10], Part(shown, len(slow)))


# Failed events by the host of their worker.


class WorkerHost(NamedTuple):
    """A host whose workers failed events."""

    host: str
    events: int
    share: float
    """Of all failed events, 0 to 1."""
    files: int


def worker_hosts(events: Iterable[FailedEvent], *, most: int) -> Part[WorkerHost]:
    """Count failed events by the host of the worker; an event that failed twice counts once."""
    by_host: dict[str, set[tuple[int, int]]] = defaultdict(set)
    every: set[tuple[int, int]] = set()
    for one in events:
        every.add((one.file, one.entry))
        if one.host:
            by_host[one.host].add((one.file, one.entry))
    rows = [
        WorkerHost(host, len(failed), len(failed) / len(every), len({file for file, _ in failed}))
        for host, failed in by_host.items()
    ]
    rows.sort(key=lambda row: (-row.events, row.host))
    return Part(rows[:most], len(rows))
