"""Find out whether a broker listens at an address, and why it does not answer."""

from __future__ import annotations

import errno
import os
import socket as os_socket
from typing import Any, NamedTuple

import zmq

from ..errors import MDPError
from . import addresses
from .addresses import A_BROKER_SERVES, NO_ANSWER, ClientKeys
from .descriptors import require_descriptors
from .gate import require_curve
from .loop import clock, new_context

_PROBE_S = 1.0
_NO_BROKER = f"accepts connections, {NO_ANSWER}"
_SIGNATURE = b"\xff" + bytes(7) + b"\x01\x7f\x03\x00"  # of ZMTP 3.0; the peer answers with more
_MECHANISM = slice(12, 32)  # in the greeting of ZMTP 3


def is_served(text: str) -> bool:
    """True if any process listens at an address, a broker or not."""
    address = addresses.parse(text)
    if address.path:
        return listens(address.path)
    try:
        os_socket.create_connection((address.host, address.port), _PROBE_S).close()
    except (OSError, UnicodeError):
        return False
    return True


def why_unreachable(text: str, keys: ClientKeys | None = None, timeout_s: float = 2.0) -> str:
    """Return why no broker answers at an address: which name, which errno, or what listens there.

    keys: those with which the broker did not answer; with them it tries a handshake, too. It blocks
    for `timeout_s` at most, and for the look-up of the host. Raises `SettingsError` for an address
    that is not one.
    """
    address = addresses.parse(text)
    probe = _Probe(text, keys, timeout_s, clock() + timeout_s)
    try:
        return _why(address, probe)
    except OSError as error:  # this process may open no more files
        return f"{text} cannot be tried: {error.strerror} (errno {error.errno})"


class _Probe(NamedTuple):
    text: str
    keys: ClientKeys | None
    timeout_s: float
    give_up_at: float

    def left_s(self) -> float:
        return max(0.01, self.give_up_at - clock())


def _why(address: addresses.Address, how: _Probe) -> str:
    if address.path:
        return _why_no_file(address.path, how)
    try:
        entries = os_socket.getaddrinfo(address.host, address.port, type=os_socket.SOCK_STREAM)
    except UnicodeError:
        return f"{address.host} is not a host's name: a part of it is empty or too long"
    except OSError as error:
        return f"{address.host} is not a known name (errno {error.errno})"
    reason = ""
    for family, kind, protocol, _, place in entries:
        shown = f"[{place[0]}]" if family == os_socket.AF_INET6 else place[0]
        with os_socket.socket(family, kind, protocol) as probe:
            probe.settimeout(how.timeout_s / len(entries))
            reason = _why_no_connection(probe, place, f"{shown}:{address.port}", how)
            if not reason:
                endpoint = f"tcp://{shown}:{address.port}"
                return _why_no_answer(probe, endpoint, f"{shown}:{address.port}", how)
    return reason


def _why_no_file(path: str, how: _Probe) -> str:
    name = f"\0{path[1:]}" if path.startswith("@") else path
    with os_socket.socket(os_socket.AF_UNIX) as probe:
        probe.settimeout(how.timeout_s)
        reason = _why_no_connection(probe, name, path, how)
        return reason or _why_no_answer(probe, how.text, path, how)


def _why_no_connection(probe: os_socket.socket, place: Any, shown: str, how: _Probe) -> str:
    try:
        probe.connect(place)
    except TimeoutError:
        return f"{shown} does not react within {how.timeout_s:g} s"
    except OSError as error:
        number = error.errno or 0
        if number == errno.ECONNREFUSED:
            return f"{shown} refuses the connection (errno {number})"
        return f"{shown} cannot be reached: {os.strerror(number)} (errno {number})"
    return ""


def _why_no_answer(probe: os_socket.socket, endpoint: str, shown: str, how: _Probe) -> str:
    """Return why the process that accepts the connection does not answer as a broker."""
    greeting = _greeting(probe, how)
    if greeting is None:
        return f"{shown} {_NO_BROKER}"
    if not greeting:
        return (
            f"{shown} accepts connections and closes them at once: this is another service, or a"
            " tunnel whose far end does not listen"
        )
    if not greeting.startswith(b"\xff"):
        return f"{shown} is served by another service, which does not speak ZeroMQ"
    mechanism = greeting[_MECHANISM].rstrip(b"\0")
    serves, keys = f"{A_BROKER_SERVES}{shown}", how.keys
    if mechanism == b"CURVE" and keys is None:
        return (
            f"{serves} asks for a key, but this process has none: give the broker's contact"
            " file (--broker @FILE), or set MDP_KEYS=FILE"
        )
    if mechanism == b"CURVE" and keys is not None:
        why = _why_keys_fail(endpoint, keys, how)
        return f"{serves}{why}" if why else f"{shown} accepts the key of {_file(keys)}, {NO_ANSWER}"
    if keys is not None and mechanism == b"NULL":
        return (
            f"{serves} has no keys, but {_file(keys)} has keys: the file is old, or this is"
            f" another broker; for this one, --broker {how.text}{_without(keys)}"
        )
    return f"{shown} {_NO_BROKER}"


def _why_keys_fail(endpoint: str, keys: ClientKeys, how: _Probe) -> str:
    """Return why the handshake fails, to be read after `the broker at HOST:PORT`; else empty."""
    file = _file(keys)
    try:
        event = _handshake(endpoint, keys, how)
    except (MDPError, zmq.ZMQError) as error:
        return f" asks for a key, but the handshake cannot be tried with {file}: {error}"
    if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
        return ""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        name = f"{keys.name!r}" if keys.name else f"{keys.public[:8]}..."
        return (
            f" does not know the key {name} of {file}: it was revoked, or belongs to another"
            " broker; ask the broker's owner for a new one (`mdp keys new NAME`)"
        )
    if event:
        return (
            f" has another key than {file} has: the file is old, or this is another broker; ask"
            " the broker's owner for its contact file"
        )
    return f" does not finish a handshake with {file} within {how.timeout_s:g} s"


def _handshake(endpoint: str, keys: ClientKeys, how: _Probe) -> int:
    """Return the event that ends a handshake; 0 if none comes in time."""
    from zmq.utils.monitor import recv_monitor_message  # here: it imports asyncio

    require_curve()
    require_descriptors()
    context = new_context()
    socket = context.socket(zmq.DEALER)
    try:
        monitor = socket.get_monitor_socket(_HANDSHAKE_ENDS, "inproc://handshake")
        socket.ipv6 = endpoint.startswith("tcp://[")
        socket.curve_serverkey = keys.broker.encode()
        socket.curve_publickey = keys.public.encode()
        socket.curve_secretkey = keys.secret.encode()
        socket.connect(endpoint)
        if not monitor.poll(int(1000 * how.left_s())):
            return 0
        return int(recv_monitor_message(monitor)["event"])
    finally:
        socket.disable_monitor()
        context.destroy(linger=0)


_HANDSHAKE_ENDS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


def _greeting(probe: os_socket.socket, how: _Probe) -> bytes | None:
    """Return how the peer greets, empty if it closes the connection; None if it is silent."""
    received = b""
    give_up_at = clock() + how.left_s() / 2  # the handshake needs the rest
    try:
        probe.sendall(_SIGNATURE)
        while len(received) < _MECHANISM.stop:
            probe.settimeout(max(0.01, give_up_at - clock()))
            if not (part := probe.recv(64)):
                return received
            received += part
            if not received.startswith(b"\xff"):
                return received
    except TimeoutError:
        return received or None
    except OSError:  # it was reset
        return received
    return received


def _file(keys: ClientKeys) -> str:
    return keys.source or "your contact file"


def _without(keys: ClientKeys) -> str:
    return "" if keys.source.startswith("@") else " without MDP_KEYS"


def listens(path: str) -> bool:
    """True if a process serves this socket file."""
    name = f"\0{path[1:]}" if path.startswith("@") else path  # @: Linux's abstract names
    with os_socket.socket(os_socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(name)
        except OSError:
            return False
    return True
