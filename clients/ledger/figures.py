"""The records of a ledger as figures: times by stage, what workers did, the slowest events. Pure.

One pass over the records; the memory does not grow with the number of events.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from .demand import Demand
from .records import (
    TICK_S,
    UNKNOWN,
    CropTimes,
    EventTimes,
    ImageSizes,
    Record,
    RunEnd,
    RunStart,
    WorkerName,
    continued,
)
from .spread import Spread

EVENT_STAGES = ("read", "chain", "pack", "room", "send", "turn", "check", "stitch", "write")
"""An event's stages, in order; between `send` and `turn` its crops are with the workers."""
_WORK = ("read", "chain", "pack", "check", "stitch", "write")
CROP_STAGES = {
    "chain": "cut",
    "pack": "packed",
    "queued": "queued",
    "worker": "busy",
    "computed": "computed",
    "trip": "trip",
}
"""A crop's stages, each with its field of `CropTimes`; `trip` is `queued` plus `worker`."""
SLOWEST = 10
_TURNS = 4  # crops for each worker of a plane: among so many, each worker gets at least one


@dataclass
class WorkerFigures:
    """What one worker did for this client."""

    plane: int
    name: str
    first_s: float
    """When it began its first crop."""
    crops_before: int
    """How many crops of the plane were answered before `first_s`."""
    last_s: float = -math.inf
    """When its last crop was answered."""
    crops_until: int = 0
    """How many crops of the plane were answered until `last_s`."""
    crops: int = 0
    busy_s: float = 0.0
    computed_s: float = 0.0


class SlowEvent(NamedTuple):
    """An event that took long, not counting its waits for room and for its turn."""

    worked_s: float
    entry: int
    rse: tuple[int, int, int]
    stage: str
    """The longest stage of the event."""
    stage_s: float
    plane: int | None
    """The plane of the crop that was answered last, if the longest stage is one of that crop."""
    worker: str


@dataclass
class Figures:
    """The figures of one job: a run, and the runs that resumed it."""

    earlier: int = 0
    """Runs in the file before these, which belong to other jobs."""
    runs: list[RunStart] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    """How the runs ended; fewer than `runs` if one was killed or goes on."""
    sizes: set[tuple[tuple[int, int], ...]] = field(default_factory=set)
    """(rows, cols) of each plane's image."""
    events: int = 0
    empty: int = 0
    """Events without crops."""
    crops: int = 0
    untimed: int = 0
    """Crops whose worker did not send how long it was busy."""
    bytes_out: int = 0
    bytes_in: int = 0
    span_s: float = 0.0
    """From the beginning of the first event to the end of the last one, without gaps."""
    reading_s: float = 0.0
    """For how long the client's first thread was reading, cutting, packing and sending."""
    writing_s: float = 0.0
    """For how long the client's second thread was unpacking, stitching and writing."""
    in_flight_s: float = 0.0
    """The time from sent to written, summed over all events."""
    stages: dict[str, Spread] = field(default_factory=lambda: defaultdict(Spread))
    worked: Spread = field(default_factory=Spread)
    """The times of events, not counting their waits for room and for their turn."""
    crop_stages: dict[tuple[int, str], Spread] = field(default_factory=lambda: defaultdict(Spread))
    """The times of crops, by plane and stage."""
    demand: dict[int, Demand] = field(default_factory=lambda: defaultdict(Demand))
    """The requests in flight, by plane."""
    workers: dict[WorkerName, WorkerFigures] = field(default_factory=dict)
    slowest: list[SlowEvent] = field(default_factory=list)
    """The slowest events, the slowest of them first."""
    first_sent_s: float = math.inf
    last_answered_s: float = -math.inf
    names: list[WorkerName] = field(default_factory=list)
    """The workers of the last run; its crops name a worker by the index in this list."""
    _timed: Counter[int] = field(default_factory=Counter)
    """How many crops had a worker that sent how long it was busy, by plane."""

    @property
    def planes(self) -> list[int]:
        return sorted(self.demand)

    @property
    def pools_s(self) -> float:
        """How long the pools were in use: from the first request to the last answer."""
        return max(self.last_answered_s - self.first_sent_s, 0.0)

    def workers_of(self, plane: int) -> list[WorkerFigures]:
        return [worker for worker in self.workers.values() if worker.plane == plane]

    def present_s(self, worker: WorkerFigures) -> float:
        """How long a worker was there during `pools_s`.

        The broker gives a crop to the worker that has waited longest. So a worker without a crop
        while its plane had many was not there yet, or not any more.
        """
        many = _TURNS * len(self.workers_of(worker.plane))
        is_late = worker.crops_before > many
        is_gone = self.crop_stages[worker.plane, "worker"].count - worker.crops_until > many
        first_s = worker.first_s if is_late else self.first_sent_s
        last_s = worker.last_s if is_gone else self.last_answered_s
        return max(last_s - first_s, worker.busy_s)

    def add(self, record: Record) -> None:
        match record:
            case EventTimes():
                self._add_event(record)
            case WorkerName():
                self.names.append(record)
            case ImageSizes():
                self.sizes.add(record.shapes)
            case RunStart():
                self.runs.append(record)
                self.names = []
            case RunEnd():
                self.ends.append(record.how)

    def close(self) -> None:
        """Close all histograms of durations, so that they can be read."""
        for spread in (self.worked, *self.stages.values(), *self.crop_stages.values()):
            spread.close()

    def _add_event(self, event: EventTimes) -> None:
        turn, worked_s = event.turn, (event.written - event.room - event.turn) * TICK_S
        self.events += 1
        self.empty += not event.crops
        self.span_s = max(self.span_s, (event.began + event.written) * TICK_S)
        self.reading_s += (event.asked - event.room) * TICK_S
        self.writing_s += (event.written - event.taken) * TICK_S
        self.in_flight_s += (event.written - event.asked) * TICK_S
        for stage in EVENT_STAGES:
            self.stages[stage].add((turn if stage == "turn" else getattr(event, stage)) * TICK_S)
        self.worked.add(worked_s)
        if len(self.slowest) < SLOWEST or worked_s > self.slowest[-1].worked_s:
            self.slowest = heapq.nlargest(SLOWEST, [*self.slowest, self._slow(event, worked_s)])
        for crop in event.crops:
            self._add_crop(crop, (event.began + crop.sent) * TICK_S)

    def _add_crop(self, crop: CropTimes, sent_s: float) -> None:
        answered_s = sent_s + crop.trip * TICK_S
        self.crops += 1
        self.bytes_out += crop.bytes_out
        self.bytes_in += crop.bytes_in
        self.first_sent_s = min(self.first_sent_s, sent_s)
        self.last_answered_s = max(self.last_answered_s, answered_s)
        self.demand[crop.plane].add(sent_s, answered_s)
        self._timed[crop.plane] += crop.busy != UNKNOWN
        if crop.busy == UNKNOWN:
            self.untimed += 1
            return
        for stage, name in CROP_STAGES.items():
            self.crop_stages[crop.plane, stage].add(getattr(crop, name) * TICK_S)
        if crop.worker != UNKNOWN:
            self._add_worker(crop, answered_s)

    def _add_worker(self, crop: CropTimes, answered_s: float) -> None:
        name, busy_s = self.names[crop.worker], crop.busy * TICK_S
        answered = self._timed[crop.plane]
        if name not in self.workers:
            self.workers[name] = WorkerFigures(*name, answered_s - busy_s, answered - 1)
        worker = self.workers[name]
        worker.last_s = max(worker.last_s, answered_s)
        worker.crops_until = answered
        worker.crops += 1
        worker.busy_s += busy_s
        worker.computed_s += crop.computed * TICK_S

    def _slow(self, event: EventTimes, worked_s: float) -> SlowEvent:
        ticks = {name: getattr(event, name) for name in _WORK}
        plane, worker = None, ""
        if event.crops:
            last = max(event.crops, key=lambda crop: crop.sent + crop.trip)
            busy = max(last.busy, 0)
            ticks |= {"queued": last.trip - busy, "worker": busy}
        stage = max(ticks, key=lambda name: ticks[name])
        if stage in ("queued", "worker"):
            plane = last.plane
            worker = self.names[last.worker].name if last.worker != UNKNOWN else ""
        rse = (event.run, event.subrun, event.event)
        return SlowEvent(worked_s, event.entry, rse, stage, ticks[stage] * TICK_S, plane, worker)


def figures(records: Iterable[Record]) -> Figures:
    """The figures of the last job in a ledger."""
    job = Figures()
    for record in continued(records):
        if isinstance(record, RunStart) and not record.done:
            job = Figures(earlier=job.earlier + len(job.runs))
        job.add(record)
    job.close()
    return job
