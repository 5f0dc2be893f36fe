"""What each worker did in the last two minutes, as segments of a lane. Pure.

A lane belongs to one worker. It is a row of segments, one for each time in which the state did not
change; the last one has no end while the worker is there.

| state | meaning |
|---|---|
| busy | it holds a request |
| idle | it waits for one |
| leaving | it gets no more requests, and ends |
| left | it is gone, and was leaving before |
| lost | it is gone, and no look had found it leaving |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mdp.commands.operate.selection import job_of, process_of

WINDOW_S = 120.0
"""How far the lanes reach into the past."""
MOST_LANES = 1000
_GONE = ("left", "lost")

Row = Mapping[str, Any]


@dataclass
class Segment:
    """A time in which the state of one worker did not change."""

    number: int
    lane: int
    state: str
    begin: float
    """Unix time, as all times here."""
    end: float | None = None
    """None: it lasts."""

    def as_list(self) -> list[Any]:
        return [self.number, self.lane, self.state, round(self.begin, 2), self.end]


@dataclass
class Lane:
    """A worker that is there, or was there in the last two minutes."""

    number: int
    service: str
    address: str
    """The short name of the worker, by which operators name it."""
    process: str
    """`host:pid`; empty if the worker has not said it."""
    job: str
    segments: list[Segment] = field(default_factory=list)

    @property
    def last(self) -> Segment:
        return self.segments[-1]

    @property
    def is_gone(self) -> bool:
        return self.last.state in _GONE

    def as_dict(self) -> dict[str, Any]:
        named = {"number": self.number, "service": self.service, "address": self.address}
        return {**named, "process": self.process, "job": self.job}


@dataclass
class Changes:
    """What one look has changed, for pages that have seen all looks before it."""

    opened: list[Segment] = field(default_factory=list)
    closed: list[Segment] = field(default_factory=list)
    has_other_lanes: bool = False
    """Lanes were added or removed."""


class Lanes:
    """The lanes of all workers. `left_out`: workers that have no lane, since there are too many."""

    def __init__(self, *, most: int = MOST_LANES) -> None:
        self.left_out = 0
        self._most = most
        self._lanes: dict[str, Lane] = {}
        self._last = 0
        self._looked_at: float | None = None

    def see(self, workers: Iterable[Row], now: float) -> Changes:
        """Take the rows of `mmi.workers`."""
        changes = Changes()
        present = _named(workers)
        self._forget(present, now, changes)
        self.left_out = 0
        for key, row in present.items():
            lane = self._lanes.get(key)
            if lane is None:
                if len(self._lanes) >= self._most:
                    self.left_out += 1
                    continue
                lane = self._add(key, row)
                changes.has_other_lanes = True
            self._go_on(lane, _state_of(row), self._since(row, now), changes)
        for key, lane in self._lanes.items():
            if key not in present and not lane.is_gone:
                state = "left" if lane.last.state == "leaving" else "lost"
                self._go_on(lane, state, now, changes)
        self._looked_at = now
        return changes

    @property
    def ordered(self) -> list[Lane]:
        """Return the lanes by service, host and process."""
        return sorted(self._lanes.values(), key=lambda one: (one.service, one.process, one.address))

    @property
    def segments(self) -> list[Segment]:
        return [segment for lane in self._lanes.values() for segment in lane.segments]

    def _add(self, key: str, row: Row) -> Lane:
        lane = Lane(self._next(), row["service"], row["address"], process_of(row), job_of(row))
        self._lanes[key] = lane
        return lane

    def _since(self, row: Row, now: float) -> float:
        """Return when the state began, at the earliest just after the last look."""
        if self._looked_at is None or row["busy_s"] is None:
            return now
        return max(now - float(row["busy_s"]), self._looked_at)

    def _go_on(self, lane: Lane, state: str, at: float, changes: Changes) -> None:
        if lane.segments:
            if lane.last.state == state:
                return
            lane.last.end = round(at, 2)
            changes.closed.append(lane.last)
        lane.segments.append(Segment(self._next(), lane.number, state, at))
        changes.opened.append(lane.last)

    def _forget(self, present: Mapping[str, Row], now: float, changes: Changes) -> None:
        """Remove what lies before the window, and lanes of workers that left before it."""
        first = now - WINDOW_S
        for key, lane in list(self._lanes.items()):
            lane.segments = [one for one in lane.segments if one.end is None or one.end > first]
            if key not in present and lane.is_gone and lane.last.begin <= first:
                del self._lanes[key]
                changes.has_other_lanes = True

    def _next(self) -> int:
        self._last += 1
        return self._last


def _named(workers: Iterable[Row]) -> dict[str, Row]:
    """Return the workers by name; several that have no name of their own get numbers."""
    named: dict[str, Row] = {}
    for row in sorted(workers, key=lambda row: (row["service"], process_of(row), row["address"])):
        key, count = row["address"], 1
        while key in named:
            count += 1
            key = f"{row['address']} {count}"
        named[key] = row
    return named


def _state_of(row: Row) -> str:
    if row.get("retired"):
        return "leaving"
    return "idle" if row["busy_s"] is None else "busy"


def message(lanes: Sequence[Lane] | None, changes: Changes, left_out: int) -> dict[str, Any]:
    """Return the changes for a page. lanes: None if they are those that the page has."""
    return {
        "lanes": None if lanes is None else [lane.as_dict() for lane in lanes],
        "opened": [segment.as_list() for segment in changes.opened],
        "closed": [[segment.number, segment.end] for segment in changes.closed],
        "left_out": left_out,
    }
