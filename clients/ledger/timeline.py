"""When a run's time went where: the state of its events and the work of its workers, in bins. Pure.

As many bins as a picture has columns, whether they hold ten events or a million.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from .chunks import Chunk, Numbers, chunks
from .figures import Figures
from .records import UNKNOWN, Event, Record, Run
from .spread import Seconds

STATES = ("read", "cut", "room", "out", "turn", "stitch", "write")
"""What an event is at: being read; cut, packed and sent; waiting for room; with the workers and
their queues; waiting for its turn; unpacked and stitched; written."""


_THREADS = {"read": 0, "cut": 0, "stitch": 1, "write": 1}


class Bins:
    """Add intervals of time to rows; of each bin the mean number of them that were going on."""

    def __init__(self, rows: int, *, span_s: float, bins: int) -> None:
        self.width_s = span_s / bins
        self._shape = (rows, bins + 2)  # one for what ends with the span, one for what comes after
        self._partial = np.zeros(rows * (bins + 2))
        self._whole = np.zeros(rows * (bins + 2))

    def add(self, rows: Numbers | int, starts: Seconds, ends: Seconds) -> None:
        """`rows`: of each interval its row, or the one of all of them."""
        for instants, sign in ((starts, 1.0), (ends, -1.0)):
            last = self._shape[1] - 2
            bins = np.clip(np.floor(instants / self.width_s), 0, last).astype(np.int64)
            flat = np.asarray(rows, np.int64) * self._shape[1] + bins
            np.add.at(self._partial, flat, sign * ((bins + 1) - instants / self.width_s))
            np.add.at(self._whole, flat + 1, sign)

    def values(self) -> Seconds:
        """(rows, bins)."""
        partial, whole = (each.reshape(self._shape) for each in (self._partial, self._whole))
        made = partial + np.cumsum(whole, axis=1)
        return np.asarray(np.clip(made[:, :-2], 0, None), np.float64)


class Timeline:
    """A job's: `states` (by `STATES`, state_bins): events, and `lanes` (workers, lane_bins) and
    `threads` (the one that reads and the one that writes, lane_bins): from 0 to 1.
    """

    def __init__(
        self, records: Iterable[Record], figures: Figures, *, state_bins: int, lane_bins: int
    ) -> None:
        self.span_s = figures.span_s
        self.workers = sorted(figures.workers)
        """Plane and name of each lane's worker."""
        states = Bins(len(STATES), span_s=self.span_s, bins=state_bins)
        threads = Bins(2, span_s=self.span_s, bins=lane_bins)
        lanes = Bins(len(self.workers), span_s=self.span_s, bins=lane_bins)
        row_of = {worker: row for row, worker in enumerate(self.workers)}
        for chunk in chunks(last_job(records, figures)):
            for row, (starts, ends) in enumerate(event_states(chunk)):
                states.add(row, starts, ends)
                if STATES[row] in _THREADS:
                    threads.add(_THREADS[STATES[row]], starts, ends)
            known = (chunk.column("worker") != UNKNOWN) & (chunk.column("busy") != UNKNOWN)
            rows = np.array([row_of[each] for each in chunk.named], np.int64)
            ends = chunk.answered[known]
            starts = ends - chunk.crop_time("worker")[known]
            lanes.add(rows[chunk.column("worker")[known]], starts, ends)
        self.states = states.values()
        self.lanes = np.clip(lanes.values(), 0, 1)
        self.threads = np.clip(threads.values(), 0, 1)


def event_states(chunk: Chunk) -> Iterator[tuple[Seconds, Seconds]]:
    """Of each of `STATES`, when the events came to it and left it."""
    began, asked, taken = chunk.began, chunk.time("asked"), chunk.time("taken")
    read = chunk.time("read")
    room = chunk.time("room")
    made = asked - room - chunk.stage("send")
    written = chunk.time("written")
    stitched = np.minimum(taken + chunk.time("check") + chunk.time("stitch"), written)
    last = chunk.last_answer()
    zero = np.zeros_like(began)
    cuts = (zero, read, made, made + room, last, np.maximum(last, taken), stitched, written)
    for start, end in itertools.pairwise(cuts):
        yield began + start, began + np.maximum(start, end)


def last_job(records: Iterable[Record], figures: Figures) -> Iterator[Record]:
    """What the figures are of; a run that goes on may have added more events since."""
    runs, events = 0, 0
    for record in records:
        runs += isinstance(record, Run)
        if figures.earlier < runs <= figures.earlier + len(figures.runs):
            events += isinstance(record, Event)
            if events > figures.events:
                return
            yield record
