"""What waits for a call's answer: a future, or an iterator over its parts.

The client's thread calls `on_part`, `on_done` and `on_failed`. While `is_full` is true after a
part, it does not read the call's lane, until the listener calls `resume`.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from typing import NamedTuple, Protocol

from ..errors import MDPError

MAX_PARTS, MAX_PART_BYTES = 16, 64 << 20


class Listener(Protocol):
    @property
    def is_full(self) -> bool: ...

    def on_part(self, body: list[bytes]) -> None: ...

    def on_done(self, body: list[bytes]) -> None: ...

    def on_failed(self, error: MDPError) -> None: ...


class Promise:
    """The listener of a call that sets a future."""

    is_full = False

    def __init__(self) -> None:
        self.future: Future[list[bytes]] = Future()
        self._parts: list[bytes] = []

    def on_part(self, body: list[bytes]) -> None:
        self._parts += body

    def on_done(self, body: list[bytes]) -> None:
        with contextlib.suppress(InvalidStateError):  # cancelled a moment ago
            self.future.set_result(self._parts + body)

    def on_failed(self, error: MDPError) -> None:
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)


class Part(NamedTuple):
    """A part of an answer."""

    body: list[bytes]
    is_final: bool


class Parts:
    """The listener of a call whose parts another thread, or an event loop, iterates over.

    It is full when `MAX_PARTS` parts, or parts of `MAX_PART_BYTES`, wait for that thread, and calls
    `resume`, in that thread, when half of them are taken.
    """

    def __init__(self) -> None:
        self.resume: Callable[[], object] = bool  # does nothing, until the caller sets it
        self.notify: Callable[[], object] = bool  # called when `next_waiting` has something new
        self._events: queue.SimpleQueue[Part | MDPError] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = self._waiting_bytes = 0
        self._is_stopped = False  # the client's thread has seen that it is full

    @property
    def is_full(self) -> bool:
        with self._lock:
            if self._waiting >= MAX_PARTS or self._waiting_bytes >= MAX_PART_BYTES:
                self._is_stopped = True
            return self._is_stopped

    def on_part(self, body: list[bytes]) -> None:
        with self._lock:
            self._waiting += 1
            self._waiting_bytes += sum(map(len, body))
        self._put(Part(body, False))

    def on_done(self, body: list[bytes]) -> None:
        self._put(Part(body, True))

    def on_failed(self, error: MDPError) -> None:
        self._put(error)

    def _put(self, event: Part | MDPError) -> None:
        self._events.put(event)
        with contextlib.suppress(RuntimeError):  # the event loop that waited is closed
            self.notify()

    def __iter__(self) -> Iterator[list[bytes]]:
        is_final = False
        while not is_final:
            part = self._taken(self._events.get())
            is_final = part.is_final
            yield part.body

    def next_waiting(self) -> Part | None:
        """Return the next part if it has arrived, else None. Raises the error of the call."""
        try:
            return self._taken(self._events.get_nowait())
        except queue.Empty:
            return None

    def _taken(self, event: Part | MDPError) -> Part:
        if isinstance(event, MDPError):
            raise event
        if not event.is_final:
            self._take(event.body)
        return event

    def _take(self, body: list[bytes]) -> None:
        with self._lock:
            self._waiting -= 1
            self._waiting_bytes -= sum(map(len, body))
            has_room = self._waiting <= MAX_PARTS // 2
            has_room = has_room and self._waiting_bytes <= MAX_PART_BYTES // 2
            if not (self._is_stopped and has_room):
                return
            self._is_stopped = False
        self.resume()
