"""Fairness: who was served when, and for whom a client has waited."""

from __future__ import annotations

from collections import OrderedDict

from mdp import wire
from mdp.broker.state import Counters

from .calls import Violation

_ROUND = 2  # requests of another client between two of one: one a round, and one at its edge


class Turns:
    """Who was served when, in one service: a client waits for one round of the others.

    A request that a worker has lost comes first again, so each such loss may cost one turn more.
    """

    def __init__(self, counters: Counters, sample: int) -> None:
        self._counters = counters
        self._sample = sample
        self._served: list[bytes] = []  # owners, in the order in which they were served
        self._queued: dict[bytes, OrderedDict[bytes, None]] = {}  # by owner: its lanes
        self._head_since: dict[bytes, tuple[int, int]] = {}  # by owner: served and lost by then

    def queued(self, lane: bytes) -> None:
        owner = wire.owner(lane)
        lanes = self._queued.setdefault(owner, OrderedDict())
        if not lanes:
            self._begin(owner)
        lanes[lane] = None

    def over(self, lane: bytes) -> None:
        """Forget a request that is not queued any more, or is in the queue again."""
        owner = wire.owner(lane)
        lanes = self._queued.get(owner)
        if lanes and lane in lanes:
            del lanes[lane]
            self._begin(owner)

    def served(self, lane: bytes) -> None:
        owner = wire.owner(lane)
        lanes = self._queued.get(owner)
        if not lanes or lane not in lanes:
            self._served.append(owner[:1])  # tried again: it was its client's turn, out of order
            self._begin(owner)
            return
        if next(iter(lanes)) == lane and len(self._served) % self._sample == 0:
            self._check(owner)
        del lanes[lane]
        self._served.append(owner)
        self._begin(owner)

    def _begin(self, owner: bytes) -> None:
        """Note that another request of this client is now its oldest one."""
        self._head_since[owner] = len(self._served), self._counters.requeued

    def _check(self, owner: bytes) -> None:
        begin, lost = self._head_since[owner]
        served = self._served[begin:]
        most_allowed = _ROUND + self._counters.requeued - lost
        if len(served) <= most_allowed:
            return
        counts: dict[bytes, int] = {}
        for other in served:
            counts[other] = counts.get(other, 0) + 1
        interactive = owner[:1] == b"I"
        alike = {other: n for other, n in counts.items() if (other[:1] == b"I") == interactive}
        others = len(served) - sum(alike.values())
        most = max((n for other, n in alike.items() if len(other) > 1), default=0)
        if most > most_allowed:
            raise Violation(f"a client waited for {most} requests of one other client")
        turns = most_allowed + sum(alike.values())
        limit = turns if interactive else 9 * turns
        if others > limit:
            kind = "an interactive" if interactive else "a"
            raise Violation(f"{kind} client waited for {others} requests of the other priority")
