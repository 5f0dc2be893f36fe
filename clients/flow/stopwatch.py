"""Where the time goes, by stage. A stage belongs to one thread; stages of two threads overlap."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up the seconds of each stage, and keeps the laps of those that somebody takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """By stage; `all` is the time from the watch's making to the last `finish`."""
        self._began_at = time.perf_counter()
        self._laps: dict[str, list[float]] = {}

    def finish(self) -> None:
        """Note the time in all, up to now."""
        self.seconds["all"] = time.perf_counter() - self._began_at

    def keep_laps(self, *names: str) -> None:
        """From now on, until they are taken."""
        self._laps.update({name: [] for name in names})

    def take_laps(self, name: str) -> list[float]:
        """Seconds of each lap since the last taking; for the stage's own thread."""
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
