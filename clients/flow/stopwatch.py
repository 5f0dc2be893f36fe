"""Measure time by stage. A stage belongs to one thread; stages of different threads overlap."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Sums up the seconds of each stage, and records every lap of the stages in `keep_laps`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """Seconds by stage; `all` is the time from the watch's creation to the last `finish`."""
        self._began_at = time.perf_counter()
        self._laps: dict[str, list[float]] = {}

    def finish(self) -> None:
        """Set `seconds["all"]` to the time since the watch's creation."""
        self.seconds["all"] = time.perf_counter() - self._began_at

    def keep_laps(self, *names: str) -> None:
        """Record the laps of these stages from now on, until they are taken."""
        self._laps.update({name: [] for name in names})

    def take_laps(self, name: str) -> list[float]:
        """Return the seconds of each lap since the last call. Call it in the stage's own thread."""
        laps, self._laps[name] = self._laps[name], []
        return laps

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started_at = time.perf_counter()
        try:
            yield
        finally:
            spent_s = time.perf_counter() - started_at
            self.seconds[name] = self.seconds.get(name, 0.0) + spent_s
            if name in self._laps:
                self._laps[name].append(spent_s)
