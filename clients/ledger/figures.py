"""A ledger's records to figures: spreads by stage, what workers did, the slowest events.

Pure, and in one pass: memory does not grow with the number of events.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .demand import Demand
from .records import EVENT_NUMBERS, TICK_S, UNKNOWN, End, Event, Named, Record, Run
from .spread import Seconds, Spread

EVENT_STAGES = ("read", "chain", "pack", "room", "send", "turn", "check", "stitch", "write")
"""Of an event, one after the other; between `send` and `turn` its crops are out."""
CROP_STAGES = ("chain", "pack", "queued", "worker", "computed", "trip")
"""Of each plane's crops; `worker` is busy time, `computed` a part of it; `trip`: queued + worker"""
SLOWEST = 10
_AT_ONCE = 4096  # events that are counted together
_FIELDS = {name: column for column, name in enumerate(Event._fields)}

Numbers = npt.NDArray[np.int64]


@dataclass
class Worker:
    """What one worker did, as far as this client knows."""

    plane: int
    name: str
    crops: int = 0
    busy_s: float = 0.0
    computed_s: float = 0.0
    first_s: float = np.inf
    """When its first crop and its last one came, from the beginning of the figures."""
    last_s: float = -np.inf

    def present_s(self, span_s: float) -> float:
        """For how long it was there: as many times from crop to crop as it had crops."""
        if self.crops < 2:
            return span_s
        whole_s = (self.last_s - self.first_s) * self.crops / (self.crops - 1)
        return min(max(whole_s, self.busy_s), span_s)


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
    workers: dict[tuple[int, str], Worker] = field(default_factory=dict)
    demand: dict[int, Demand] = field(default_factory=dict)
    slowest: list[Slow] = field(default_factory=list)
    """The slowest one first."""

    @property
    def planes(self) -> list[int]:
        return sorted(self.demand)


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
        self._waiting: list[Event] = []
        self._named: list[Named] = []
        self._start_s = 0.0  # of the run, in figures' time
        self._end_s = 0.0
        self._first_began_s: float | None = None

    @property
    def runs_seen(self) -> int:
        return self.made.earlier + len(self.made.runs)

    def take(self, record: Record) -> None:
        if isinstance(record, Event):
            self._waiting.append(record)
            if len(self._waiting) >= _AT_ONCE:
                self._fold()
        elif isinstance(record, Named):
            self._named.append(record)
        elif isinstance(record, End):
            self.made.ends.append(record.how)
        else:
            self._end_run()
            self.made.runs.append(record)

    def close(self) -> Figures:
        self._end_run()
        return self.made

    def _end_run(self) -> None:
        """The next run's times go on where this one's end."""
        self._fold()
        for demand in self.made.demand.values():
            demand.close()
        self._named = []
        self._first_began_s = None
        self._start_s = self.made.span_s = self._end_s

    def _fold(self) -> None:
        events, self._waiting = self._waiting, []
        if not events:
            return
        numbers = np.array([event[:EVENT_NUMBERS] for event in events], np.int64)
        if self._first_began_s is None:
            self._first_began_s = numbers[0, _FIELDS["began"]] * TICK_S
        shift_s = self._start_s - self._first_began_s
        chunk = _Chunk(events, numbers, shift_s)
        self._end_s = max(self._end_s, float((chunk.began + chunk.time("written")).max()))
        self._count(chunk)
        self._count_crops(chunk)
        self._keep_slowest(chunk)

    def _count(self, chunk: _Chunk) -> None:
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

    def _count_crops(self, chunk: _Chunk) -> None:
        made = self.made
        made.bytes_out += int(chunk.column("bytes_out").sum())
        made.bytes_in += int(chunk.column("bytes_in").sum())
        known = chunk.column("busy") != UNKNOWN
        made.unsaid += int((~known).sum())
        planes = chunk.column("plane")
        for plane in np.unique(planes):
            own = planes == plane
            made.demand.setdefault(int(plane), Demand()).add(chunk.sent[own], chunk.answered[own])
            for stage in CROP_STAGES:
                seconds = chunk.crop_time(stage)[own & known]
                made.crop_stages.setdefault((int(plane), stage), Spread()).add(seconds)
        self._count_workers(chunk, known)

    def _count_workers(self, chunk: _Chunk, known: npt.NDArray[np.bool_]) -> None:
        numbers = chunk.column("worker")
        began = chunk.answered - chunk.crop_time("worker")
        for number in np.unique(numbers[(numbers != UNKNOWN) & known]):
            own = (numbers == number) & known
            named = self._named[number]
            worker = self.made.workers.setdefault(tuple(named), Worker(*named))
            worker.crops += int(own.sum())
            worker.busy_s += float(chunk.crop_time("worker")[own].sum())
            worker.computed_s += float(chunk.crop_time("computed")[own].sum())
            worker.first_s = min(worker.first_s, float(began[own].min()))
            worker.last_s = max(worker.last_s, float(began[own].max()))

    def _keep_slowest(self, chunk: _Chunk) -> None:
        own = chunk.own()
        candidates = np.argsort(own)[::-1][:SLOWEST]
        slow = [self._slow(chunk.events[k], float(own[k])) for k in candidates]
        self.made.slowest = heapq.nlargest(SLOWEST, [*self.made.slowest, *slow])

    def _slow(self, event: Event, own_s: float) -> Slow:
        stages = {name: getattr(event, name) for name in _OWN_STAGES}
        plane, worker = None, ""
        if event.plane:
            last = max(range(len(event.sent)), key=lambda k: event.sent[k] + event.trip[k])
            busy = max(event.busy[last], 0)
            stages |= {"queued": event.trip[last] - busy, "worker": busy}
        stage = max(stages, key=lambda name: stages[name])
        if stage in ("queued", "worker"):
            plane = event.plane[last]
            worker = self._named[event.worker[last]].name if event.worker[last] >= 0 else ""
        rse = (event.run, event.subrun, event.event)
        return Slow(own_s, event.entry, rse, stage, stages[stage] * TICK_S, plane, worker)


_OWN_STAGES = ("read", "chain", "pack", "check", "stitch", "write")


class _Chunk:
    """Events as arrays: one number an event, or one a crop; seconds, instants in figures' time."""

    def __init__(self, events: Sequence[Event], numbers: Numbers, shift_s: float) -> None:
        self.events = events
        self._numbers = numbers
        self.crops_each = np.array([len(event.plane) for event in events], np.int64)
        self.began: Seconds = self.time("began") + shift_s
        self._columns: dict[str, Numbers] = {}
        began = np.repeat(self.began, self.crops_each)
        self.sent: Seconds = began + self.column("sent") * TICK_S
        self.answered: Seconds = self.sent + self.column("trip") * TICK_S

    def time(self, name: str) -> Seconds:
        return _seconds(self._numbers[:, _FIELDS[name]])

    def column(self, name: str) -> Numbers:
        """Of all crops, event by event."""
        if name not in self._columns:
            column = _FIELDS[name]
            flat = itertools.chain.from_iterable(event[column] for event in self.events)  # type: ignore[misc]
            self._columns[name] = np.fromiter(flat, np.int64, int(self.crops_each.sum()))
        return self._columns[name]

    def crop_time(self, stage: str) -> Seconds:
        """Of crops whose worker said how long it took; a stage of `CROP_STAGES`."""
        name = {"chain": "cut", "pack": "packed", "worker": "busy"}.get(stage, stage)
        if stage == "queued":
            return _positive(_seconds(self.column("trip") - self.column("busy")))
        return _seconds(self.column(name))

    def last_answer(self) -> Seconds:
        """Of each event, since it began; when it was asked, for one without crops."""
        last = self.time("asked")
        ends = _seconds(self.column("sent") + self.column("trip"))
        np.maximum.at(last, np.repeat(np.arange(len(last)), self.crops_each), ends)
        return last

    def stage(self, name: str) -> Seconds:
        """One of `EVENT_STAGES`."""
        if name == "turn":
            return self.turn()
        if name == "send":
            before = np.sum([self.time(n) for n in ("read", "chain", "pack", "room")], axis=0)
            return _positive(self.time("asked") - before)
        return self.time(name)

    def turn(self) -> Seconds:
        """From the last answer until the events before it were written."""
        return _positive(self.time("taken") - self.last_answer())

    def own(self) -> Seconds:
        """Of each event, its waiting for room and for its turn left out."""
        return self.time("written") - self.time("room") - self.turn()


def _seconds(ticks: Numbers) -> Seconds:
    return np.asarray(ticks * TICK_S, np.float64)


def _positive(seconds: Seconds) -> Seconds:
    """Differences of stamps that were rounded."""
    return np.asarray(np.maximum(seconds, 0), np.float64)
