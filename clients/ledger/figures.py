"""A ledger's records to figures: spreads by stage, what workers did, the slowest events.

Pure, and in one pass: memory does not grow with the number of events.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .chunks import Chunk, Chunker
from .demand import Demand
from .records import TICK_S, UNKNOWN, End, Event, Named, Record, Run, Sized
from .spread import Spread

EVENT_STAGES = ("read", "chain", "pack", "room", "send", "turn", "check", "stitch", "write")
"""Of an event, one after the other; between `send` and `turn` its crops are out."""
CROP_STAGES = ("chain", "pack", "queued", "worker", "computed", "trip")
"""Of each plane's crops; `worker` is busy time, `computed` a part of it; `trip`: queued + worker"""
SLOWEST = 10
_TURNS = 4  # crops for each of a plane's workers: enough for one to be among those who get them


@dataclass
class Worker:
    """What one worker did, as far as this client knows."""

    plane: int
    name: str
    crops: int = 0
    busy_s: float = 0.0
    computed_s: float = 0.0
    first_s: float = np.inf
    """When its first crop came, from the beginning of the figures ..."""
    last_s: float = -np.inf
    """... and when its last one was answered."""
    crops_before: int = 0
    """Of the plane, before this worker's first one ..."""
    crops_until: int = 0
    """... and until its last one, that included."""


@dataclass(order=True)
class Slow:
    """An event that took long, its waiting for room and for its turn left out."""

    own_s: float
    entry: int
    rse: tuple[int, int, int] = field(compare=False)
    stage: str = field(compare=False)
    """The longest one."""
    stage_s: float = field(compare=False)
    plane: int | None = field(compare=False)
    """Of the crop that was answered last, where the stage is one of crops."""
    worker: str = field(compare=False)


@dataclass
class Figures:
    """Of one job: a run, and those that went on from where it was ended."""

    runs: list[Run] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    """How they ended; fewer than runs if one was killed, or goes on."""
    earlier: int = 0
    """Runs in the file before these, which began anew."""
    sizes: set[tuple[tuple[int, int], ...]] = field(default_factory=set)
    """Of the events' images; empty for a ledger of older software."""
    events: int = 0
    empty: int = 0
    crops: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    unsaid: int = 0
    """Crops whose worker did not say how long it was busy."""
    span_s: float = 0.0
    """From the first event's reading to the last one's writing, of all runs together."""
    stages: dict[str, Spread] = field(default_factory=dict)
    crop_stages: dict[tuple[int, str], Spread] = field(default_factory=dict)
    own: Spread = field(default_factory=Spread)
    reading_s: float = 0.0
    """What the thread that reads, cuts, packs and sends was at it."""
    writing_s: float = 0.0
    """What the thread that unpacks, stitches and writes was at it."""
    in_flight_s: float = 0.0
    """Of all events together, from sent to written."""
    workers: dict[Named, Worker] = field(default_factory=dict)
    demand: dict[int, Demand] = field(default_factory=dict)
    slowest: list[Slow] = field(default_factory=list)
    """The slowest one first."""

    first_sent_s: float = np.inf
    last_answered_s: float = -np.inf
    """Between these two the pools were in use."""

    @property
    def planes(self) -> list[int]:
        return sorted(self.demand)

    @property
    def pools_s(self) -> float:
        """For how long the pools were in use."""
        return max(self.last_answered_s - self.first_sent_s, 0.0)

    def workers_of(self, plane: int) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.plane == plane]

    def present_s(self, worker: Worker) -> float:
        """For how long a worker was there, of `pools_s`.

        Who had no crop while its plane had many was not there yet, or no more: brokers give a
        crop to whoever has waited longest.
        """
        many = _TURNS * len(self.workers_of(worker.plane))
        crops = self.crop_stages[worker.plane, "worker"].count
        late = worker.crops_before > many
        gone = crops - worker.crops_until > many
        first_s = worker.first_s if late else self.first_sent_s
        last_s = worker.last_s if gone else self.last_answered_s
        return max(last_s - first_s, worker.busy_s)


def figures(records: Iterable[Record]) -> Figures:
    """All figures of the last job in a ledger; none of events if there is no event."""
    tally = _Tally(0)
    for record in records:
        if isinstance(record, Run) and not record.done:
            tally = _Tally(tally.runs_seen)
        tally.take(record)
    return tally.close()


class _Tally:
    def __init__(self, earlier: int) -> None:
        self.made = Figures(earlier=earlier)
        self._chunker = Chunker()

    @property
    def runs_seen(self) -> int:
        return self.made.earlier + len(self.made.runs)

    def take(self, record: Record) -> None:
        for chunk in self._chunker.take(record):
            self._fold(chunk)
        if isinstance(record, End):
            self.made.ends.append(record.how)
        elif isinstance(record, Sized):
            self.made.sizes.add(record.shapes)
        elif isinstance(record, Run):
            self._close_demand()
            self.made.runs.append(record)

    def close(self) -> Figures:
        for chunk in self._chunker.close():
            self._fold(chunk)
        self._close_demand()
        self.made.span_s = self._chunker.end_s
        return self.made

    def _close_demand(self) -> None:
        for demand in self.made.demand.values():
            demand.close()

    def _fold(self, chunk: Chunk) -> None:
        self._count(chunk)
        self._count_crops(chunk)
        self._keep_slowest(chunk)

    def _count(self, chunk: Chunk) -> None:
        made = self.made
        made.events += len(chunk.events)
        made.empty += int((chunk.crops_each == 0).sum())
        made.crops += int(chunk.crops_each.sum())
        for stage in EVENT_STAGES:
            made.stages.setdefault(stage, Spread()).add(chunk.stage(stage))
        made.own.add(chunk.own())
        made.reading_s += float((chunk.time("asked") - chunk.time("room")).sum())
        made.writing_s += float((chunk.time("written") - chunk.time("taken")).sum())
        made.in_flight_s += float((chunk.time("written") - chunk.time("asked")).sum())

    def _count_crops(self, chunk: Chunk) -> None:
        made = self.made
        made.bytes_out += int(chunk.column("bytes_out").sum())
        made.bytes_in += int(chunk.column("bytes_in").sum())
        known = chunk.column("busy") != UNKNOWN
        made.unsaid += int((~known).sum())
        made.first_sent_s = min(made.first_sent_s, float(chunk.sent.min(initial=np.inf)))
        made.last_answered_s = max(made.last_answered_s, float(chunk.answered.max(initial=-np.inf)))
        planes = chunk.column("plane")
        for plane in np.unique(planes):
            own = planes == plane
            made.demand.setdefault(int(plane), Demand()).add(chunk.sent[own], chunk.answered[own])
            for stage in CROP_STAGES:
                seconds = chunk.crop_time(stage)[own & known]
                made.crop_stages.setdefault((int(plane), stage), Spread()).add(seconds)
            self._count_workers(chunk, int(plane), own & known)

    def _count_workers(self, chunk: Chunk, plane: int, own: npt.NDArray[np.bool_]) -> None:
        """`own`: the crops of the plane whose workers said how long they took."""
        before = self.made.crop_stages[plane, "worker"].count - int(own.sum())
        numbers, answered = chunk.column("worker")[own], chunk.answered[own]
        busy, computed = chunk.crop_time("worker")[own], chunk.crop_time("computed")[own]
        for number in np.unique(numbers[numbers != UNKNOWN]):
            places = np.flatnonzero(numbers == number)
            named = chunk.named[number]
            worker = self.made.workers.get(named)
            if worker is None:
                worker = Worker(named.plane, named.name)
                worker.first_s = float((answered - busy)[places].min())
                worker.crops_before = before + int(places[0])
                self.made.workers[named] = worker
            worker.crops += len(places)
            worker.busy_s += float(busy[places].sum())
            worker.computed_s += float(computed[places].sum())
            worker.last_s = max(worker.last_s, float(answered[places].max()))
            worker.crops_until = before + int(places[-1]) + 1

    def _keep_slowest(self, chunk: Chunk) -> None:
        own = chunk.own()
        candidates = np.argsort(own)[::-1][:SLOWEST]
        slow = [_slow(chunk.events[k], chunk.named, float(own[k])) for k in candidates]
        self.made.slowest = heapq.nlargest(SLOWEST, [*self.made.slowest, *slow])


_OWN_STAGES = ("read", "chain", "pack", "check", "stitch", "write")


def _slow(event: Event, named: Sequence[Named], own_s: float) -> Slow:
    stages = {name: getattr(event, name) for name in _OWN_STAGES}
    plane, worker = None, ""
    if event.plane:
        last = max(range(len(event.sent)), key=lambda k: event.sent[k] + event.trip[k])
        busy = max(event.busy[last], 0)
        stages |= {"queued": event.trip[last] - busy, "worker": busy}
    stage = max(stages, key=lambda name: stages[name])
    if stage in ("queued", "worker"):
        plane = event.plane[last]
        worker = named[event.worker[last]].name if event.worker[last] >= 0 else ""
    rse = (event.run, event.subrun, event.event)
    return Slow(own_s, event.entry, rse, stage, stages[stage] * TICK_S, plane, worker)
