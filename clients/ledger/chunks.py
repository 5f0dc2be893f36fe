"""A ledger's events, many at once, as arrays. Pure: nothing is counted here.

Times of runs that went on from one another follow each other without the gaps between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from .records import EVENT_NUMBERS, TICK_S, Event, Named, Record, Run
from .spread import Seconds

AT_ONCE = 4096
"""Events of a chunk."""
_FIELDS = {name: column for column, name in enumerate(Event._fields)}

Numbers = npt.NDArray[np.int64]


class Chunker:
    """Takes records, gives chunks."""

    def __init__(self) -> None:
        self.end_s = 0.0
        """When the last event so far was written, from the first one's reading."""
        self._waiting: list[Event] = []
        self._named: list[Named] = []
        self._shift_s: float | None = None

    def take(self, record: Record) -> Iterator[Chunk]:
        """The chunks that a record makes whole; a run's facts end the run before."""
        if isinstance(record, Event):
            self._waiting.append(record)
            if len(self._waiting) >= AT_ONCE:
                yield from self._chunk()
        elif isinstance(record, Named):
            self._named.append(record)
        elif isinstance(record, Run):
            yield from self.close()

    def close(self) -> Iterator[Chunk]:
        """What is left of the run."""
        yield from self._chunk()
        self._named, self._shift_s = [], None

    def _chunk(self) -> Iterator[Chunk]:
        if not self._waiting:
            return
        events, self._waiting = self._waiting, []
        if self._shift_s is None:
            self._shift_s = self.end_s - events[0].began * TICK_S
        chunk = Chunk(events, self._named, self._shift_s)
        self.end_s = max(self.end_s, float((chunk.began + chunk.time("written")).max()))
        yield chunk


def chunks(records: Iterable[Record]) -> Iterator[Chunk]:
    """Of one job's records."""
    chunker = Chunker()
    for record in records:
        yield from chunker.take(record)
    yield from chunker.close()


class Chunk:
    """Events as arrays: one number an event, or one a crop; seconds, instants in figures' time."""

    def __init__(self, events: Sequence[Event], named: Sequence[Named], shift_s: float) -> None:
        self.events = events
        self.named = named
        """The run's workers so far, as `worker` numbers them."""
        self._numbers = np.array([event[:EVENT_NUMBERS] for event in events], np.int64)
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
