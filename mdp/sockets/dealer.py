"""The DEALER socket of a worker, or of a lane of a client."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import Any

import zmq

from ..errors import MDPError
from ..settings import Heartbeats
from ..wire import Frame, Frames
from .descriptors import no_descriptors
from .endpoints import Target, connect, keep_alive, ping
from .messages import receive_message, send_message

log = logging.getLogger(__name__)

_NEVER_MS = 1_000_000_000  # 11 days; libzmq adds up to as much again, below 2**31
_CONNECT_MS = 1000  # after which libzmq begins again: the kernel would take minutes
_monitors = itertools.count()  # to name the monitors of a context


class Dealer:
    """A DEALER socket connected to a broker, under a name that it chooses.

    It has no limit of queued messages, so it never drops or refuses one: it carries one request, or
    one answer, at a time. Raises `MDPError` if no socket can be opened.

    max_unread: messages that libzmq queues to be read; further ones wait at the sender. With such a
    limit the socket does not ping (see `ping`); None: no limit.
    watch: `monitor()` is ready when the connection has broken. libzmq connects again by itself, but
    what was on its way is lost, in both directions, and neither peer would notice.
    reconnects: False: after the end of its connection the socket connects to nobody any more, so
    that it never gets to another broker at the same address. What it has received can still be
    read; what is sent reaches nobody.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        to: Target,
        *,
        name: bytes,
        linger_s: float,
        heartbeats: Heartbeats,
        max_unread: int | None = None,
        watch: bool = False,
        reconnects: bool = True,
    ) -> None:
        try:
            socket = self._socket = context.socket(zmq.DEALER)
        except zmq.ZMQError as error:
            raise no_descriptors(error) from None
        socket.routing_id = name
        socket.linger = int(linger_s * 1000)
        socket.sndhwm = 0
        socket.connect_timeout = _CONNECT_MS
        if not reconnects:
            # not -1: libzmq would then drop what has arrived and was not read yet
            socket.reconnect_ivl = _NEVER_MS
        keep_alive(socket, heartbeats)
        if max_unread is None and not watch:  # a session that is watched has heartbeats of its own
            ping(socket, heartbeats)
        else:
            socket.rcvhwm = max_unread or 0
        self._monitor: zmq.Socket[bytes] | None = None
        try:
            if watch:
                self._monitor = _monitor_of(socket)
            connect(socket, to)
        except MDPError:
            self.close(linger_s=0)
            raise

    def handle(self) -> Any:
        return self._socket

    def monitor(self) -> Any:
        """Return a handle that is ready when the connection has broken; only with `watch`."""
        return self._monitor

    def receive(self) -> Frames | None:
        """Return one message; None if none has arrived. Raises `MDPError` for a broken socket."""
        try:
            return receive_message(self._socket, [])
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            raise MDPError(f"cannot read from the socket: {error.strerror}") from None

    def send(self, frames: Sequence[Frame]) -> None:
        """Send one message. Raises `MDPError` for a broken socket.

        After a broker has refused its key, the socket has no connection, and makes no other one:
        what is sent reaches nobody. The broker's silence shows it, as that of a dead broker does.
        """
        try:
            send_message(self._socket, frames)
        except zmq.Again:
            log.debug("dropped a message: the socket has no connection, and makes no other one")
        except zmq.ZMQError as error:
            raise MDPError(f"cannot write to the socket: {error.strerror}") from None

    def close(self, *, linger_s: float | None = None) -> None:
        """Close after what was sent has left, or after `linger_s`; None: as given at the start."""
        if self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(0)
        self._socket.close(None if linger_s is None else int(linger_s * 1000))


def _monitor_of(socket: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    """Return a socket that receives a message when a connection of `socket` ends."""
    address = f"inproc://monitor-{next(_monitors)}"
    try:
        return socket.get_monitor_socket(zmq.EVENT_DISCONNECTED, address)
    except zmq.ZMQError as error:
        raise no_descriptors(error) from None
