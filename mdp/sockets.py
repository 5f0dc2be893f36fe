"""The clock, and all sockets except the load generator's. This file does not depend on MDP.

Sending and receiving never block, except at the child's end of its stream. Frames of more than
`SMALL_BYTES` are forwarded by reference and never copied; a smaller frame is copied, because that
costs less than a reference.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import resource
import socket as os_socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import zmq
from zmq.backend import Socket as _Backend

from . import addresses, pipe
from .addresses import Address
from .errors import MDPError, SettingsError
from .settings import Heartbeats
from .unread import Unread
from .wire import MAX_FRAMES, Frame, Frames

Stream = os_socket.socket
SMALL_BYTES = 16384
_ZERO_COPY_BYTES = 65536  # when sending Python's bytes: below this, libzmq's copy is cheaper

_MAX_KEEPALIVE_S = 32767  # of Linux

# The methods of pyzmq's compiled core: its Python layer would cost as much time again.
_recv: Any = _Backend.recv
_send: Any = _Backend.send
_MAX_WAIT_S = 86400.0  # libzmq counts milliseconds in a C long
_PROBE_S = 1.0
_PROBES, _PATIENCE = 2, 30  # heartbeat intervals: between probes; until a connection is ended
_MAX_RECEIVED = 256  # messages of a peer that wait to be read; libzmq does not count their bytes
_MAX_TTL_MS = 6_553_500  # it is sent in 16 bits, in tenths of a second
_MAX_MILLISECONDS = 1 << 30
_CONNECT_MS = 1000  # after which libzmq begins again: the kernel would take minutes
CONTEXT_DESCRIPTORS = 16  # a context with its threads and one connected socket opens 10
_UNLIMITED, _USUALLY_OPEN = 1 << 20, 32  # descriptors
_NOW = int(zmq.NOBLOCK)  # as plain integers: combining enum flags costs as much as a frame
_NOW_MORE = int(zmq.NOBLOCK) | int(zmq.SNDMORE)


_monitors = itertools.count()  # to name the monitors of a context


def clock() -> float:
    """Return monotonic time in seconds; every `now` in this package comes from here."""
    return time.monotonic()


def unix_time() -> float:
    """Return the seconds since 1970, for display."""
    return time.time()


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


def receive_message(socket: zmq.Socket[bytes], message: Frames) -> Frames:
    """Append the frames of one message to `message`. Raises `zmq.Again` if there is none."""
    more = True
    while more:
        frame: Any = _recv(socket, _NOW, False)
        if len(message) <= MAX_FRAMES:  # the limit and one more, so that the core refuses it
            message.append(frame.bytes if len(frame) <= SMALL_BYTES else frame)
        more = frame.more
    return message


def send_message(socket: zmq.Socket[bytes], frames: Sequence[Frame]) -> None:
    last = len(frames) - 1
    for frame in frames[:last]:
        _send(socket, frame, _NOW_MORE, len(frame) < _ZERO_COPY_BYTES)
    frame = frames[last]
    _send(socket, frame, _NOW, len(frame) < _ZERO_COPY_BYTES)


class Target(NamedTuple):
    """An endpoint to connect to, and whether the socket must use IPv6."""

    endpoint: str
    ipv6: bool


def target(text: str) -> Target:
    """Parse an address to connect to, and look up its host. Raises `SettingsError`."""
    address = addresses.parse(text)
    return Target(address.text, _only_ipv6(address))


def _only_ipv6(address: Address) -> bool:
    """True if the host has no IPv4 address. IPv4 comes first: most brokers are bound to it."""
    if address.path:
        return False
    if address.ip is not None:
        return address.ip.version == 6
    try:
        entries = os_socket.getaddrinfo(address.host, address.port, type=os_socket.SOCK_STREAM)
    except OSError:
        return False  # not known yet; libzmq repeats the look-up until it succeeds
    return os_socket.AF_INET not in {family for family, *_ in entries}


def connect(socket: zmq.Socket[bytes], to: Target) -> None:
    """Connect a socket. Raises `MDPError` if libzmq refuses the endpoint."""
    socket.ipv6 = to.ipv6
    try:
        socket.connect(to.endpoint)
    except zmq.ZMQError as error:
        raise MDPError(f"cannot connect to {to.endpoint!r}: {error.strerror}") from None


def keep_alive(socket: zmq.Socket[bytes], heartbeats: Heartbeats) -> None:
    """Have the kernel probe an idle connection, so that no firewall or NAT forgets it."""
    every_s = min(max(1, round(_PROBES * heartbeats.interval_s)), _MAX_KEEPALIVE_S)
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle = socket.tcp_keepalive_intvl = every_s
    socket.tcp_keepalive_cnt = _PATIENCE // _PROBES


def ping(socket: zmq.Socket[bytes], heartbeats: Heartbeats) -> None:
    """Have libzmq ping the broker, also through a relay that only forwards bytes.

    A connection without an answer is ended late, because the heartbeats of MDP notice a loss much
    earlier; this only frees its memory, here and at the broker (`heartbeat_ttl`).

    libzmq 4.3.5 aborts the process if a socket that pings has reached its limit of received
    messages when the connection ends. So such a socket has no limit, and the broker does not ping.
    """
    socket.rcvhwm = 0
    socket.heartbeat_ivl = _milliseconds(_PROBES * heartbeats.interval_s)
    patience = _milliseconds(_PATIENCE * heartbeats.interval_s)
    socket.heartbeat_timeout = patience
    socket.heartbeat_ttl = min(patience, _MAX_TTL_MS)


def _milliseconds(seconds: float) -> int:
    return max(1, min(round(1000 * seconds), _MAX_MILLISECONDS))


def descriptor_limit() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def free_descriptors() -> int:
    """Return how many more files this process may open; an estimate where there is no /proc."""
    try:
        opened = len(os.listdir("/proc/self/fd"))
    except OSError:
        opened = _USUALLY_OPEN
    return descriptor_limit() - opened


def require_descriptors(count: int = CONTEXT_DESCRIPTORS) -> None:
    """Raise `MDPError` if this process may not open `count` more files.

    libzmq aborts the process if the creation of a context finds too few.
    """
    opened: list[int] = []
    try:
        for _ in range(count):
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        raise no_descriptors(error) from None
    finally:
        for descriptor in opened:
            os.close(descriptor)


def no_descriptors(error: OSError | zmq.ZMQError) -> MDPError:
    """Return the error of a socket that could not be opened, with what the user can do."""
    reason = error.strerror or str(error)
    if error.errno not in (errno.EMFILE, errno.ENFILE):
        return MDPError(f"cannot open a socket: {reason}")
    return MDPError(
        f"cannot open a socket: {reason} (`ulimit -n` is {descriptor_limit()}): close the clients"
        " that are not needed, or allow fewer requests in flight"
    )


def is_served(text: str) -> bool:
    """True if any process listens at an address, a broker or not."""
    address = addresses.parse(text)
    if address.path:
        return _listens(address.path)
    try:
        os_socket.create_connection((address.host, address.port), _PROBE_S).close()
    except OSError:
        return False
    return True


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
    ) -> None:
        self._unread = unread
        socket = self._socket = context.socket(zmq.ROUTER)
        socket.linger = 500  # ms, for the last messages of a broker that stops
        socket.router_mandatory = True  # report that a peer is gone, instead of dropping
        socket.maxmsgsize = max_frame_bytes
        socket.backlog = 1024
        socket.rcvhwm = _MAX_RECEIVED
        keep_alive(socket, heartbeats)
        self.endpoints: list[str] = []
        for endpoint in endpoints:
            try:
                _bind(socket, endpoint)
            except MDPError:
                self.close()
                raise
            self.endpoints.append(socket.last_endpoint.rstrip(b"\0").decode())

    def handle(self) -> Any:
        return self._socket

    def receive(self) -> Frames | None:
        """Return one message, the peer's address first; None if none has arrived."""
        try:
            return receive_message(self._socket, [_recv(self._socket, _NOW)])
        except zmq.Again:
            return None

    def send(self, frames: Sequence[Frame]) -> bool:
        """Send to the peer named by the first frame; False if it is gone or does not read."""
        try:
            if (size := sum(map(len, frames))) > SMALL_BYTES:
                return self._send_large(frames, size)
            send_message(self._socket, frames)
        except zmq.ZMQError as error:  # only the first frame can be refused
            if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                return False
            raise
        return True

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
        self._socket.close()


def _bind(socket: zmq.Socket[bytes], address: Address) -> None:
    """Bind. Raises `SettingsError` for another machine's host, `MDPError` for a port in use."""
    # libzmq would unlink an ipc file that is in use, and so cut off the broker that serves it
    if address.path and _listens(address.path):
        raise MDPError(f"cannot bind {address.text}: another process serves it already")
    # with * libzmq falls back to IPv4 where the machine has no IPv6
    socket.ipv6 = address.host == "*" or (address.ip is not None and address.ip.version == 6)
    try:
        socket.bind(address.text)
    except zmq.ZMQError as error:
        if error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):
            host = f"want an address or a network interface of this machine, got {address.host!r}"
            raise SettingsError(f"cannot bind {address.text}: {host}") from None
        raise MDPError(f"cannot bind {address.text}: {os.strerror(error.errno or 0)}") from None


def _listens(path: str) -> bool:
    """True if a process serves this socket file."""
    name = f"\0{path[1:]}" if path.startswith("@") else path  # @: Linux's abstract names
    with os_socket.socket(os_socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(name)
        except OSError:
            return False
    return True


class Dealer:
    """A DEALER socket connected to a broker, under a name that it chooses.

    It has no limit of queued messages, so it never drops or refuses one: it carries one request, or
    one answer, at a time. Raises `MDPError` if no socket can be opened.

    max_unread: messages that libzmq queues to be read; further ones wait at the sender. With such a
    limit the socket does not ping (see `ping`); None: no limit.
    watch: `monitor()` is ready when the connection has broken. libzmq connects again by itself, but
    what was on its way is lost, in both directions, and neither peer would notice.
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
    ) -> None:
        try:
            socket = self._socket = context.socket(zmq.DEALER)
        except zmq.ZMQError as error:
            raise no_descriptors(error) from None
        socket.routing_id = name
        socket.linger = int(linger_s * 1000)
        socket.sndhwm = 0
        socket.connect_timeout = _CONNECT_MS
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
        try:
            send_message(self._socket, frames)
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


class Channel:
    """A host's end of the stream to its child. It takes whole messages and never blocks."""

    def __init__(self) -> None:
        self._stream, self.childs_end = os_socket.socketpair()
        self._stream.setblocking(False)
        self._decoder = pipe.Decoder()
        self._outbox: deque[memoryview] = deque()
        self.at_end = False  # the child closed its end

    def handle(self) -> int:
        return self._stream.fileno()

    @property
    def is_full(self) -> bool:
        """True if bytes wait to be written, because the child has not read enough."""
        return bool(self._outbox)

    def send(self, frames: Sequence[Frame]) -> None:
        self._outbox.extend(pipe.encode([buffer_of(frame) for frame in frames]))
        self.flush()

    def flush(self) -> None:
        try:
            while self._outbox:
                sent = self._stream.send(self._outbox[0])
                rest = self._outbox.popleft()[sent:]
                if rest:
                    self._outbox.appendleft(rest)
        except BlockingIOError:
            return
        except OSError:
            self._outbox.clear()  # the child died; the sentinel of its process reports that

    def messages(self) -> Iterator[list[bytes]]:
        """Yield the child's messages that have arrived."""
        while not self.at_end:
            try:
                count = self._stream.recv_into(self._decoder.space())
            except BlockingIOError:
                return
            except OSError:
                count = 0
            if count == 0:
                self.at_end = True
                return
            message = self._decoder.advance(count)
            if message is not None:
                yield message

    def close(self) -> None:
        self._stream.close()
        self.childs_end.close()


class ChildEnd:
    """The child's end of the stream to its host. It blocks: the child has nothing else to do."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._decoder = pipe.Decoder()

    def send(self, frames: Sequence[Any]) -> None:
        try:
            for piece in pipe.encode(frames):
                self._stream.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(1)  # the host is gone, so nothing can be reported

    def receive(self) -> list[bytes] | None:
        """Return the next message; None when the host has closed its end."""
        while True:
            try:
                count = self._stream.recv_into(self._decoder.space())
            except ConnectionResetError:
                return None
            if count == 0:
                return None
            message = self._decoder.advance(count)
            if message is not None:
                return message


def buffer_of(frame: Frame) -> Any:
    """Return a frame's bytes without copying them."""
    return frame.buffer if isinstance(frame, zmq.Frame) else frame


def as_bytes(body: Sequence[Frame]) -> list[bytes]:
    """Return the frames as bytes, as users get them."""
    return [frame if isinstance(frame, bytes) else bytes(buffer_of(frame)) for frame in body]
