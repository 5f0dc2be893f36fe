"""How long it takes until answers come again after a fault. Pure: times are arguments."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.faults.plan import PLANES, Fault, Kind, Part, Sort

BROKER_DIED: Sort = (Kind.kill, Part.broker)


@dataclass
class _Wait:
    sort: Sort
    at: float
    mended_at: float
    planes: set[int]


@dataclass
class Recovery:
    """A fault is over when each plane that it hit has answered a question asked after it."""

    times_s: dict[Sort, list[float]] = field(default_factory=dict)
    faults: dict[Sort, int] = field(default_factory=dict)
    troubles: list[tuple[Sort, float, float]] = field(default_factory=list)
    """Each fault that is over: when it began, and when it was mended and recovered from."""
    _waits: list[_Wait] = field(default_factory=list)

    def fault(self, fault: Fault, now: float) -> None:
        sort = (fault.kind, fault.part)
        self.faults[sort] = self.faults.get(sort, 0) + 1
        planes = set(PLANES) if fault.plane is None else {fault.plane}
        self._waits.append(_Wait(sort, now, now + fault.length_s, planes))

    def answer(self, plane: int, *, asked_at: float, now: float) -> None:
        for wait in self._waits:
            if asked_at >= wait.at:
                wait.planes.discard(plane)
                if not wait.planes:
                    self.times_s.setdefault(wait.sort, []).append(now - wait.at)
                    self.troubles.append((wait.sort, wait.at, max(now, wait.mended_at)))
        self._waits = [wait for wait in self._waits if wait.planes]

    @property
    def waiting(self) -> int:
        """Faults after which not all has come again, so far."""
        return len(self._waits)


def summary(times_s: Iterable[float]) -> tuple[float, float] | None:
    """Median and maximum; None of nothing."""
    times = list(times_s)
    return (median(times), max(times)) if times else None


@dataclass(frozen=True)
class Restart:
    """A broker's death, the next one's start, and the first answer that any plane gave then."""

    died_at: float
    serves_at: float
    answered_at: float

    @property
    def outage_s(self) -> float:
        return self.serves_at - self.died_at

    @property
    def answer_s(self) -> float:
        return self.answered_at - self.serves_at


class Restarts:
    """From the moment that a new broker serves to the first answer that any plane gives."""

    def __init__(self) -> None:
        self.all: list[Restart] = []
        """Of the brokers that answered."""
        self._died_at = -math.inf
        self._serves_since: float | None = None
        self._answers: deque[float] = deque(maxlen=1000)  # a new broker is heard of a moment later

    def death(self, now: float) -> None:
        """Of the broker that served."""
        self._died_at = now

    def broker(self, now: float) -> None:
        """A new one serves since then. One that answered nothing in its life is not counted."""
        self._serves_since = now
        for answered_at in self._answers:
            self._on_answer(answered_at)

    def answer(self, now: float) -> None:
        self._answers.append(now)
        self._on_answer(now)

    def _on_answer(self, now: float) -> None:
        if self._serves_since is not None and now >= self._serves_since:
            self.all.append(Restart(self._died_at, self._serves_since, now))
            self._serves_since = None

    def undisturbed(
        self, troubles: Sequence[tuple[Sort, float, float]], *, before_s: float
    ) -> list[Restart]:
        """Those restarts during and shortly before which nothing else went wrong.

        `troubles`: when each fault began and was over. Deaths of brokers are what is measured.
        """
        return [
            restart
            for restart in self.all
            if not any(
                began < restart.answered_at and over > restart.serves_at - before_s
                for sort, began, over in troubles
                if sort != BROKER_DIED
            )
        ]
