"""The clock, what a loop waits for, and how another thread wakes it."""

from __future__ import annotations

import math
import socket as os_socket
import time
from typing import Any, Protocol

import zmq

_MAX_WAIT_S = 86400.0  # libzmq counts milliseconds in a C long


def clock() -> float:
    """Return monotonic time in seconds; every `now` in this package comes from here."""
    return time.monotonic()


def unix_time() -> float:
    """Return the seconds since 1970, for display."""
    return time.time()


def pause(duration_s: float) -> None:
    """Sleep; only for loops that ask another program now and then."""
    time.sleep(duration_s)


def new_context(*, max_sockets: int = 1024) -> zmq.Context[Any]:
    context: zmq.Context[Any] = zmq.Context()
    context.max_sockets = max_sockets
    return context


class Pollable(Protocol):
    """An object that `Poll` can wait for."""

    def handle(self) -> Any: ...


class Wakeup:
    """Wakes a loop from a signal handler or another thread, and counts how often."""

    def __init__(self) -> None:
        self.count = 0
        self._in, self._out = os_socket.socketpair()
        self._in.setblocking(False)
        self._out.setblocking(False)

    def wake(self, *_: object) -> None:
        self.count += 1
        try:
            self._in.send(b"\0")
        except OSError:
            return  # the buffer is full, so the loop wakes anyway; or it is closed

    def clear(self) -> None:
        """Clear the wake-ups so far, so that a poll waits for the next one."""
        try:
            while self._out.recv(4096):
                continue
        except BlockingIOError:
            return

    def handle(self) -> int:
        return self._out.fileno()

    def wake_fd(self) -> int:
        """Return a descriptor: a byte written to it ends a poll, and is not counted."""
        return self._in.fileno()

    def close(self) -> None:
        self._in.close()
        self._out.close()


class Poll:
    """The handles that a loop waits for."""

    def __init__(self, *things: Pollable) -> None:
        self._poller = zmq.Poller()
        for thing in things:
            self.add(thing.handle())

    def add(self, handle: Any, *, writing: bool = False) -> None:
        self._poller.register(handle, zmq.POLLIN | zmq.POLLOUT if writing else zmq.POLLIN)

    def drop(self, handle: Any) -> None:
        if handle in self._poller:
            self._poller.unregister(handle)

    def wait(self, deadline: float) -> dict[Any, int]:
        """Return the ready handles, at the latest just after the deadline (it is rounded up)."""
        wait_s = min(deadline - clock(), _MAX_WAIT_S)
        wait_ms = max(0, math.ceil(wait_s * 1000))
        return dict(self._poller.poll(wait_ms))
