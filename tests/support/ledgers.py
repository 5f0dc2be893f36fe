"""Made-up runs: a reader, pools of workers and a writer, simulated event by event."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clients.ledger.records import (
    TICK_S,
    CropTimes,
    EventTimes,
    Record,
    RunEnd,
    RunStart,
    WorkerName,
)

PLANES = (0, 1, 2)


@dataclass
class MadeUp:
    """What a run would be like; all times in seconds, the same for each event."""

    events: int = 200
    read_s: float = 0.001
    write_s: float = 0.001
    way_s: float = 0.0
    """To a worker and back; it can take no other crop meanwhile, and is not busy."""
    window: int = 8
    by_turns: bool = False
    """The client reads only while it has nothing to write: one interpreter, at its worst."""
    crops: int = 1
    """Of each event on each plane."""
    workers: Mapping[int, Sequence[float]] = field(
        default_factory=lambda: {plane: [0.01] for plane in PLANES}
    )
    """By plane: of each of its workers how long a crop takes."""

    @property
    def facts(self) -> RunStart:
        pools = tuple((plane, len(seconds)) for plane, seconds in self.workers.items())
        return RunStart(
            "out.root", ("in.root",), 1.7e9, "h", "croi", self.events, 0, self.window, 1, pools
        )

    def records(self) -> list[Record]:
        named = [
            WorkerName(plane, f"node{plane}:{number}")
            for plane, seconds in self.workers.items()
            for number in range(len(seconds))
        ]
        return [self.facts, *named, *self._events(named), RunEnd("done")]

    def _events(self, named: Sequence[WorkerName]) -> list[EventTimes]:
        free = {p: [(0.0, k) for k in range(len(each_s))] for p, each_s in self.workers.items()}
        written: list[float] = []
        events, read_at = [], 0.0
        for number in range(self.events):
            began_at = read_at
            made_at = began_at + self.read_s
            oldest = number - self.window  # the one whose leaving makes room
            entered_at = max(made_at, written[oldest]) if oldest >= 0 else made_at
            crops = []
            for plane in self.workers:
                for _ in range(self.crops):
                    since, k = heapq.heappop(free[plane])
                    busy = self.workers[plane][k]
                    done = max(since, entered_at) + busy + self.way_s
                    heapq.heappush(free[plane], (done, k))
                    crops.append(
                        (plane, named.index(WorkerName(plane, f"node{plane}:{k}")), done, busy)
                    )
            taken_at = max([entered_at, *(done for _, _, done, _ in crops), *written[-1:]])
            written.append(taken_at + self.write_s)
            read_at = max(entered_at, written[-1]) if self.by_turns else entered_at
            events.append(
                self._event(number, began_at, made_at, entered_at, taken_at, written[-1], crops)
            )
        return events

    def _event(
        self,
        number: int,
        began_at: float,
        made_at: float,
        entered_at: float,
        taken_at: float,
        written_at: float,
        crops: Sequence[tuple[int, int, float, float]],
    ) -> EventTimes:
        return EventTimes(
            entry=number,
            run=1,
            subrun=number // 100,
            event=number,
            began=ticks(began_at),
            read=ticks(self.read_s),
            chain=0,
            pack=0,
            room=ticks(entered_at - made_at),
            asked=ticks(entered_at - began_at),
            taken=ticks(taken_at - began_at),
            check=0,
            stitch=0,
            write=ticks(self.write_s),
            written=ticks(written_at - began_at),
            crops=tuple(
                CropTimes(
                    plane=plane,
                    worker=worker,
                    cut=0,
                    packed=0,
                    sent=ticks(entered_at - began_at),
                    trip=ticks(done - entered_at),
                    busy=ticks(busy),
                    computed=ticks(busy),
                    bytes_out=100,
                    bytes_in=200,
                )
                for plane, worker, done, busy in crops
            ),
        )


def ticks(seconds: float) -> int:
    return round(seconds / TICK_S)
