"""Limit requests in flight, by count and by bytes; `enter` blocks at either limit."""

from __future__ import annotations

import threading


class InFlightLimit:
    """The requests in flight and their bytes.

    A request enters with its own bytes, grows by its answer's bytes, and leaves when the answer is
    written. Invariant: at most `requests` are inside, and a request enters only if it does not
    exceed `max_bytes`. An empty window accepts a request of any size.
    """

    def __init__(self, *, requests: int, max_bytes: int) -> None:
        self._requests = requests
        self._max_bytes = max_bytes
        self._inside = 0
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def enter(self, nbytes: int) -> bool:
        """Wait for room and return True, or return False if the window was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(nbytes))
            if not self._closed:
                self._inside += 1
                self._bytes += nbytes
            return not self._closed

    def _has_room(self, nbytes: int) -> bool:
        fits = self._bytes + nbytes <= self._max_bytes
        return self._inside == 0 or (fits and self._inside < self._requests)

    def grow(self, nbytes: int) -> None:
        with self._changed:
            self._bytes += nbytes

    def leave(self, nbytes: int) -> None:
        with self._changed:
            self._inside -= 1
            self._bytes -= nbytes
            self._changed.notify_all()

    def close(self) -> None:
        """Let no request enter any more, and wake those that wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
