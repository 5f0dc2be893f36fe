"""Deadlines of many things; the next one is found without a look at all of them. Pure."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_MOST_STALE = 64


class Deadlines(Generic[T]):
    """A heap with at most one deadline for each thing.

    An entry of the heap whose deadline was changed or dropped is stale, and is skipped. The heap is
    made anew when most of its entries are stale, so its size stays in proportion to the things.
    """

    def __init__(self) -> None:
        self._due: dict[T, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = itertools.count()  # equal deadlines: the first that was set comes first

    def __len__(self) -> int:
        return len(self._due)

    def set(self, thing: T, at: float) -> None:
        """Set the thing's deadline, in place of an earlier one."""
        key = at, next(self._numbers)
        self._due[thing] = key
        heapq.heappush(self._heap, (*key, thing))
        if len(self._heap) > 2 * len(self._due) + _MOST_STALE:
            self._heap = [(*key, thing) for thing, key in self._due.items()]
            heapq.heapify(self._heap)

    def drop(self, thing: T) -> None:
        """Forget the thing's deadline, if it has one."""
        self._due.pop(thing, None)

    def next(self) -> float:
        """Return the earliest deadline; infinity if there is none."""
        self._skip_stale()
        return self._heap[0][0] if self._heap else math.inf

    def pop_due(self, now: float) -> list[T]:
        """Remove the things whose deadline has come, and return them, the earliest first."""
        due = []
        while self.next() <= now:
            _, _, thing = heapq.heappop(self._heap)
            del self._due[thing]
            due.append(thing)
        return due

    def _skip_stale(self) -> None:
        while self._heap:
            at, number, thing = self._heap[0]
            if self._due.get(thing) == (at, number):
                return
            heapq.heappop(self._heap)
