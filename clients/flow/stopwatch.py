"""Measure time by stage. A stage belongs to one thread; stages of different threads overlap."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Lap(NamedTuple):
    """One passage through a stage: two instants of this process's monotonic clock."""

    began_at: float
    ended_at: float

    @property
    def seconds(self) -> float:
        return self.ended_at - self.began_at


class Stopwatch:
    """Sums up the seconds of each stage, and records every lap of the stages in `keep_laps`."""

    now = staticmethod(time.perf_counter)

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """Seconds by stage; `all` is the time from the watch's creation to the last `finish`."""
        self._began_at = self.now()
        self._laps: dict[str, list[Lap]] = {}

    def finish(self) -> None:
        """Set `seconds["all"]` to the time since the watch's creation."""
        self.seconds["all"] = self.now() - self._began_at

    def keep_laps(self, *names: str) -> None:
        """Record the laps of these stages from now on, until they are taken."""
        self._laps.update({name: [] for name in names})

    def take_laps(self, name: str) -> list[Lap]:
        """Return the laps since the last call; only for the stage's own thread."""
        laps, self._laps[name] = self._laps[name], []
        return laps

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began_at = self.now()
        try:
            yield
        finally:
            ended_at = self.now()
            self.seconds[name] = self.seconds.get(name, 0.0) + ended_at - began_at
            if name in self._laps:
                self._laps[name].append(Lap(began_at, ended_at))
