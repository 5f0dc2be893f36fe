"""Simulated time: events are carried out in the order of their instants. Nothing ever sleeps."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

Action = Callable[..., object]


class Line(NamedTuple):
    """One line of the trace: when, which part of the site, what it did."""

    at: float
    who: str
    what: str

    def __str__(self) -> str:
        return f"{self.at:10.4f} s  {self.who:<12} {self.what}"


class Timeline:
    """The simulated clock and the events to come.

    Two events at the same instant happen in the order in which they were planned, so a run depends
    on its seed only. `traced` keeps the latest lines of the trace; without it nothing is kept.
    """

    def __init__(self, *, traced: bool = False, lines: int = 20000) -> None:
        self.now = 0.0
        self.traced = traced
        self.trace: deque[Line] = deque(maxlen=lines)
        self._events: list[tuple[float, int, Action, tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def at(self, instant: float, action: Action, *values: Any) -> None:
        """Plan an action; an instant in the past counts as now."""
        instant = max(instant, self.now)
        heapq.heappush(self._events, (instant, next(self._numbers), action, values))

    def after(self, seconds: float, action: Action, *values: Any) -> None:
        self.at(self.now + seconds, action, *values)

    def step(self) -> bool:
        """Carry out the next event; False if there is none."""
        if not self._events:
            return False
        self.now, _, action, values = heapq.heappop(self._events)
        action(*values)
        return True

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace. Call it only if `traced`, because texts cost time."""
        self.trace.append(Line(self.now, who, what))
