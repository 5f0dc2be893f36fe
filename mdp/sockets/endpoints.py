"""Connect and bind sockets, and have idle connections checked."""

from __future__ import annotations

import errno
import os
import socket as os_socket
from typing import NamedTuple

import zmq

from ..errors import MDPError, SettingsError
from ..settings import Heartbeats
from . import addresses
from .addresses import Address, ClientKeys
from .gate import require_curve
from .reach import listens

_MAX_KEEPALIVE_S = 32767  # of Linux
_PROBES, _PATIENCE = 2, 30  # heartbeat intervals: between probes; until a connection is ended
_MAX_TTL_MS = 6_553_500  # it is sent in 16 bits, in tenths of a second
_MAX_MILLISECONDS = 1 << 30


class Target(NamedTuple):
    """An endpoint to connect to, whether the socket must use IPv6, and the keys, if any."""

    endpoint: str
    ipv6: bool
    keys: ClientKeys | None = None


def target(text: str, keys: ClientKeys | None = None) -> Target:
    """Parse an address to connect to, and look up its host. Raises `SettingsError`."""
    address = addresses.parse(text)
    return Target(address.text, _only_ipv6(address), keys)


def _only_ipv6(address: Address) -> bool:
    """True if the host has no IPv4 address. IPv4 comes first: most brokers are bound to it."""
    if address.path:
        return False
    if address.ip is not None:
        return address.ip.version == 6
    try:
        entries = os_socket.getaddrinfo(address.host, address.port, type=os_socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: a part of the name is empty or too long
        return False  # not known yet; libzmq repeats the look-up until it succeeds
    return os_socket.AF_INET not in {family for family, *_ in entries}


def tcp_family(address: Address) -> os_socket.AddressFamily:
    """Return the family of a socket that is to be bound to a TCP address."""
    is_ipv6 = address.ip is not None and address.ip.version == 6
    return os_socket.AF_INET6 if is_ipv6 else os_socket.AF_INET


def connect(socket: zmq.Socket[bytes], to: Target) -> None:
    """Connect a socket. Raises `MDPError` if libzmq refuses the endpoint."""
    socket.ipv6 = to.ipv6
    if to.keys is not None:
        require_curve()
        socket.curve_serverkey = to.keys.broker.encode()
        socket.curve_publickey = to.keys.public.encode()
        socket.curve_secretkey = to.keys.secret.encode()
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


def bind(socket: zmq.Socket[bytes], address: Address) -> None:
    """Bind. Raises `SettingsError` for another machine's host, `MDPError` for a port in use."""
    # libzmq would unlink an ipc file that is in use, and so cut off the broker that serves it
    if address.path and listens(address.path):
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
