"""A peer that sends whatever a test wants: one DEALER socket, without any rules."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import msgpack
import zmq

from tests.support import keys

_PAUSE_S = 0.001


class RawPeer:
    """A DEALER socket. Without a name it gets one from the broker's ROUTER socket."""

    def __init__(
        self,
        endpoint: str,
        name: bytes = b"",
        *,
        reads: bool = True,
        context: zmq.Context[Any] | None = None,
    ) -> None:
        self._context = keys.new_context() if context is None else context
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.sndhwm = 0 if reads else 1
        if not reads:
            self.socket.rcvhwm = 1
            self.socket.rcvbuf = 4096
        if name:
            self.socket.routing_id = name
        self.socket.connect(endpoint)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._context.destroy(linger=0)

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def try_to_send(self, *frames: bytes) -> bool:
        """False if nothing more fits into the queues on the way."""
        try:
            self.socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def ask(self, service: bytes, *body: bytes) -> None:
        self.send(b"MDPC02", b"\x01", service, *body)

    def ready(self, service: bytes) -> None:
        self.send(b"MDPW02", b"\x01", service)

    def disconnect(self) -> None:
        self.send(b"MDPW02", b"\x06")

    def receive(self, *, within_s: float = 10.0) -> list[bytes] | None:
        """The next message; None if none comes in this time."""
        if not self.socket.poll(int(1000 * within_s)):
            return None
        return self.socket.recv_multipart()

    def report(self, name: bytes, *body: bytes) -> dict[str, Any]:
        """Ask for a report of the broker; nothing else may be on the way to this peer."""
        self.ask(b"mmi." + name, *body)
        answer = self.receive()
        assert answer is not None, f"no answer to mmi.{name!r}"
        unpacked: dict[str, Any] = msgpack.unpackb(answer[-1])
        return unpacked


@contextmanager
def flood(endpoint: str, messages: Iterator[list[bytes]], *, reads: bool = True) -> Iterator[None]:
    """Send these messages as fast as they go, in a thread, until the block is over."""
    stop = threading.Event()

    def send() -> None:
        with RawPeer(endpoint, reads=reads) as peer:
            peer.socket.sndhwm = 1000
            for message in messages:
                while not peer.try_to_send(*message) and not stop.is_set():
                    time.sleep(_PAUSE_S)
                while reads and peer.socket.poll(0):
                    peer.socket.recv_multipart()
                if stop.is_set():
                    return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
