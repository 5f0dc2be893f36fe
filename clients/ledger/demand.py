"""How many requests were in flight, and for how long, to see if workers lacked requests. Pure."""

from __future__ import annotations

import heapq
from collections import defaultdict


class Demand:
    """Takes a plane's requests in the order in which they were sent; its memory does not grow."""

    def __init__(self) -> None:
        self._seconds: defaultdict[int, float] = defaultdict(float)  # by requests in flight
        self._answers: list[float] = []  # a heap: when the requests in flight are answered
        self._now_s: float | None = None

    def add(self, sent_s: float, answered_s: float) -> None:
        self._answer(until_s=sent_s)
        self._go_to(sent_s)
        heapq.heappush(self._answers, answered_s)

    def _answer(self, *, until_s: float) -> None:
        while self._answers and self._answers[0] <= until_s:
            self._go_to(self._answers[0])
            heapq.heappop(self._answers)

    def _go_to(self, now_s: float) -> None:
        if self._now_s is not None:
            self._seconds[len(self._answers)] += now_s - self._now_s
        self._now_s = now_s

    def wanting(self, workers: float, *, of_s: float) -> float:
        """The share of the workers' time, 0 to 1, in which there was no request for them.

        of_s: for how long they were there; without requests in flight where no request covers it.
        """
        self._answer(until_s=float("inf"))
        idle_s = workers * max(of_s - sum(self._seconds.values()), 0.0)
        for in_flight, spent_s in self._seconds.items():
            idle_s += max(workers - in_flight, 0) * spent_s
        return idle_s / (of_s * workers) if of_s else 0.0
