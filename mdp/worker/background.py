"""Runs functions that may block in threads, and wakes a loop when they have returned."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from ..sockets import Wakeup


class Background:
    """Runs at most one function of each name at a time. The threads die with the process."""

    def __init__(self) -> None:
        self._wakeup = Wakeup()
        self._results: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._running: set[str] = set()

    def handle(self) -> int:
        return self._wakeup.handle()

    def start(self, name: str, function: Callable[[], Any]) -> bool:
        """Start a function, unless one of this name still runs. It must not raise."""
        if name in self._running:
            return False
        self._running.add(name)

        def run() -> None:
            self._results.put((name, function()))
            self._wakeup.wake()

        threading.Thread(target=run, name=name, daemon=True).start()
        return True

    def results(self) -> list[tuple[str, Any]]:
        """Return the names and results of the functions that have returned since the last call."""
        self._wakeup.clear()
        returned = []
        while not self._results.empty():
            name, result = self._results.get()
            self._running.discard(name)
            returned.append((name, result))
        return returned

    def close(self) -> None:
        self._wakeup.close()
