"""The gate of a broker with keys: it lets in who has a known key (CURVE, ZAP), and nobody else.

libzmq does the handshakes and encrypts. It asks the gate about each client's key (ZAP, RFC 27);
`zmq.auth.Authenticator` speaks ZAP, in the broker's own loop, so that no thread or process of its
own can die apart from the broker. Each connection gets an id of its own, which libzmq gives with
every message that comes through it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket as os_socket
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import zmq
from zmq.auth.base import Authenticator

from ..errors import MDPError

_DOMAIN = "mdp"
_A_TURN = 256  # handshakes and events at once, so that strangers do not hold up the loop
_HANDSHAKE_MS = 10_000  # then libzmq ends a connection that has not shown a key
_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)

_MOST_IDS = 65536

K = TypeVar("K")
V = TypeVar("V")


def new_key_pair() -> tuple[str, str]:
    """Return a new public and secret key, in Z85. Raises `MDPError` without CURVE."""
    require_curve()
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def require_curve() -> None:
    """Raise `MDPError` if this libzmq was built without CURVE."""
    if not zmq.has("curve"):
        raise MDPError(
            "this libzmq has no CURVE, so no keys: pip install pyzmq (its wheels have it)"
        )


class Gate(Generic[K]):
    """secret: the broker's secret key. find: returns the owner of a public key (Z85), or None."""

    def __init__(
        self, context: zmq.Context[Any], secret: str, find: Callable[[str], K | None]
    ) -> None:
        require_curve()
        self.failed = 0
        """Connections that were refused: unknown keys, no keys, bytes that are no handshake."""
        self.hung_up = 0
        """Connections that ended before they had shown a key; our own probes do so, too."""
        self.unknown: list[tuple[str, str]] = []
        """(public key, address) of unknown keys, to be logged; the first of a turn."""
        self._secret = secret.encode()
        self._find = find
        self._connections: dict[str, tuple[K, int]] = {}  # by id: owner and descriptor
        self._ids: dict[int, str] = {}  # by descriptor, so that an id ends with its connection
        self._next_owner: K | None = None
        self._next_id = 0
        self._pending: dict[str, K] = {}  # let in, but no message has come yet
        self._former: dict[str, K] = {}  # over, but messages of theirs may still come
        self._address = ""
        self._auth = _Authenticator(context, self)
        self._auth.configure_curve_callback(_DOMAIN, self)
        self._auth.start()
        self._monitor: zmq.Socket[bytes] | None = None

    # Called by `Router`.

    def protect(self, socket: zmq.Socket[bytes]) -> None:
        """Ask for keys at all endpoints that the socket binds from now on."""
        socket.curve_server = True
        socket.curve_secretkey = self._secret
        socket.zap_domain = _DOMAIN.encode()
        socket.handshake_ivl = _HANDSHAKE_MS
        self._monitor = socket.get_monitor_socket(_FAILED, "inproc://mdp-gate")

    def handles(self) -> list[Any]:
        return [self._auth.zap_socket, self._monitor]

    def owner(self, frame: zmq.Frame) -> K | None:
        """Return whose connection a message came through, by its first frame; None: revoked."""
        number: Any = frame.get("User-Id")
        known = self._connections.get(number)
        if known is not None:
            return known[0]
        owner = self._pending.pop(number, None)
        if owner is None:
            return self._former_owner(number, _descriptor(frame))
        descriptor = _descriptor(frame)
        earlier = self._connections.pop(self._ids.get(descriptor, ""), None)
        if earlier is not None:  # its connection is over, but messages of it may still come
            _put(self._former, self._ids[descriptor], earlier[0])
        self._ids[descriptor] = number
        self._connections[number] = owner, descriptor
        return owner

    def work(self) -> None:
        """Answer the questions of libzmq that have come, and count failed handshakes."""
        for _ in range(_A_TURN):
            try:
                question = self._auth.zap_socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._address = question[3].decode("ascii", "replace") if len(question) > 3 else ""
            _run(self._auth.handle_zap_message(question))
        for _ in range(_A_TURN):
            assert self._monitor is not None
            try:
                event = self._monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            if _has_hung_up(event):
                self.hung_up += 1
            else:
                self.failed += 1

    def end(self, owner: K) -> None:
        """End all connections of an owner."""
        for number, pending in list(self._pending.items()):
            if pending == owner:
                del self._pending[number]  # its first message ends the connection
        for number, (known, descriptor) in list(self._connections.items()):
            if known == owner:
                del self._connections[number]
                del self._ids[descriptor]
                self._shut(descriptor)
        for number, former in list(self._former.items()):
            if former == owner:
                del self._former[number]

    def _former_owner(self, number: str, descriptor: int) -> K | None:
        """Return the owner of a connection that is over; end one whose key was revoked."""
        former = self._former.get(number)
        if former is None and descriptor not in self._ids:  # else it is another peer's by now
            self._shut(descriptor)
        return former

    def close(self, socket: zmq.Socket[bytes]) -> None:
        if self._monitor is not None:
            socket.disable_monitor()
            self._monitor.close(0)
        self._auth.stop()

    def _shut(self, descriptor: int) -> None:
        """End a connection: libzmq has no call for that.

        If libzmq has closed the descriptor and opened another connection with it meanwhile, that
        connection ends, and its peer connects again.
        """
        try:
            copy = os.dup(descriptor)
        except OSError:
            return  # it is closed already
        try:
            with os_socket.socket(fileno=copy) as connection:
                connection.shutdown(os_socket.SHUT_RDWR)
        except OSError:  # the number belongs to a file by now, or the peer has closed it
            with contextlib.suppress(OSError):
                os.close(copy)

    # Called by the authenticator.

    def callback(self, domain: str, key: bytes) -> bool:
        """Return whether a client's public key is known."""
        self._next_owner = self._find(key.decode())
        if self._next_owner is None and len(self.unknown) < _A_TURN:
            self.unknown.append((key.decode(), self._address))
        return self._next_owner is not None

    def new_id(self) -> str:
        """Return an id for the connection that is being let in."""
        assert self._next_owner is not None
        self._next_id += 1
        number = str(self._next_id)
        _put(self._pending, number, self._next_owner)
        return number


class _Authenticator(Authenticator):
    def __init__(self, context: zmq.Context[Any], gate: Gate[Any]) -> None:
        super().__init__(context, log=logging.getLogger("mdp.zap"))
        self._gate = gate

    def curve_user_id(self, client_public_key: bytes) -> str:
        return self._gate.new_id()


def _put(ids: dict[str, V], number: str, value: V) -> None:
    """Add an id to a dictionary of bounded size, which then forgets the oldest one."""
    ids[number] = value
    if len(ids) > _MOST_IDS:
        del ids[next(iter(ids))]


def _run(question: Any) -> None:
    """Run a coroutine that never waits."""
    try:
        question.send(None)
    except StopIteration:
        return
    raise AssertionError("the authenticator waits")


def _descriptor(frame: zmq.Frame) -> int:
    number: Any = frame.get("__fd")
    return int(number)


def _has_hung_up(frames: list[bytes]) -> bool:
    """True if the event is that a peer just hung up, as our own probes do (`is_served`)."""
    from zmq.utils.monitor import parse_monitor_message  # here: it imports asyncio

    event = parse_monitor_message(frames)
    is_unclear = event["event"] == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    return is_unclear and event["value"] in _HUNG_UP


_HUNG_UP = (errno.EPIPE, errno.ECONNRESET)
