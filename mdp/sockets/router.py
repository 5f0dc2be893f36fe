"""The ROUTER socket of a broker."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable, Sequence
from typing import Any

import zmq

from ..errors import MDPError
from ..settings import Heartbeats
from ..wire import Frame, Frames
from .addresses import Address
from .endpoints import bind, keep_alive
from .gate import Gate
from .messages import NOW, SMALL_BYTES, buffer_of, receive_message, recv, send_message
from .unread import Unread

_MAX_RECEIVED = 256  # messages of a peer that wait to be read; libzmq does not count their bytes


class Router:
    """A ROUTER socket bound to all of a broker's endpoints."""

    def __init__(
        self,
        context: zmq.Context[Any],
        endpoints: Iterable[Address],
        *,
        max_frame_bytes: int,
        unread: Unread,
        heartbeats: Heartbeats,
        gate: Gate[Any] | None = None,
        everybody: Any = None,
    ) -> None:
        _seed_random()
        self._unread = unread
        self._gate = gate
        self.owner: Any = everybody
        """Whose key the last message came with; `everybody`, if there is no gate."""
        self.sent_bytes = 0  # of all frames, without what ZMTP and CURVE add
        socket = self._socket = context.socket(zmq.ROUTER)
        socket.linger = 500  # ms, for the last messages of a broker that stops
        socket.router_mandatory = True  # report that a peer is gone, instead of dropping
        socket.maxmsgsize = max_frame_bytes
        socket.backlog = 1024
        socket.rcvhwm = _MAX_RECEIVED
        keep_alive(socket, heartbeats)
        if gate is not None:
            gate.protect(socket)
        self.endpoints: list[str] = []
        for endpoint in endpoints:
            try:
                bind(socket, endpoint)
            except MDPError:
                self.close()
                raise
            self.endpoints.append(socket.last_endpoint.rstrip(b"\0").decode())

    def handle(self) -> Any:
        return self._socket

    def receive(self) -> Frames | None:
        """Return one message, the peer's address first; None if none has arrived."""
        try:
            if self._gate is not None:
                return self._receive_owned(self._gate)
            return receive_message(self._socket, [recv(self._socket, NOW)])
        except zmq.Again:
            return None

    def _receive_owned(self, gate: Gate[Any]) -> Frames:
        """Return the next message of a peer whose key is valid, and note the key's owner."""
        while True:
            name: zmq.Frame = recv(self._socket, NOW, False)
            self.owner = gate.owner(name)
            message = receive_message(self._socket, [name.bytes])
            if self.owner is not None:
                return message

    def send(self, frames: Sequence[Frame]) -> bool:
        """Send to the peer named by the first frame; False if it is gone or does not read."""
        try:
            if (size := sum(map(len, frames))) > SMALL_BYTES:
                is_sent = self._send_large(frames, size)
            else:
                send_message(self._socket, frames)
                is_sent = True
        except zmq.ZMQError as error:  # only the first frame can be refused
            if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                return False
            raise
        self.sent_bytes += size * is_sent
        return is_sent

    def _send_large(self, frames: Sequence[Frame], size: int) -> bool:
        peer = frames[0]
        assert isinstance(peer, bytes)
        if not self._unread.has_room(peer, size):
            return False
        if not self._unread.wants_tracker(peer, size):
            send_message(self._socket, frames)
            return True
        largest = max(frames, key=len)
        tracked = zmq.Frame(buffer_of(largest), track=True, copy=False)
        send_message(self._socket, [tracked if frame is largest else frame for frame in frames])
        self._unread.add(peer, tracked.tracker)
        return True

    def close(self) -> None:
        if self._gate is not None:
            self._gate.close(self._socket)
        self._socket.close()


def _seed_random() -> None:
    """Make the names that the ROUTER gives out unpredictable.

    libzmq counts them from `rand()`, which it does not seed: they would be the same in every
    broker, and a peer that claims the next one can end the process (docs/protocol.md).
    """
    with contextlib.suppress(AttributeError, OSError):  # a platform without C's library
        ctypes.CDLL(None).srand(ctypes.c_uint(int.from_bytes(os.urandom(4), "big")))
