"""Where the time goes, by stage. A stage belongs to one thread; stages of two threads overlap."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up the seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started_at = time.perf_counter()
        try:
            yield
        finally:
            spent_s = time.perf_counter() - started_at
            self.seconds[name] = self.seconds.get(name, 0.0) + spent_s
