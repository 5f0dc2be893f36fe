"""Room for requests in flight: so many, and so many bytes. Who would exceed either waits."""

from __future__ import annotations

import threading


class Window:
    """A request enters with its bytes, grows by its answer's, and leaves when that is written.

    Invariant: at most `requests` are inside, and another one enters only below `max_bytes`: the
    largest request fits in always, alone.
    """

    def __init__(self, *, requests: int, max_bytes: int) -> None:
        self._requests = requests
        self._max_bytes = max_bytes
        self._inside = 0
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def enter(self, nbytes: int) -> bool:
        """Wait for room; False if the window was closed."""
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
        """Nobody enters any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
