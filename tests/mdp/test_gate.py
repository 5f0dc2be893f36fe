"""The gate of a broker's socket, with real sockets: known keys, unknown ones, and strangers."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import zmq

from mdp.settings import Heartbeats
from mdp.sockets import (
    Gate,
    Poll,
    Router,
    Unread,
    addresses,
    as_bytes,
    clock,
    new_context,
    new_key_pair,
)
from mdp.sockets import gate as module

BROKER = new_key_pair()
BOB, ANN = new_key_pair(), new_key_pair()


class Served:
    """A router with a gate, in the test's own thread; `bob` and `ann` are known."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.known = {BOB[0]: "bob", ANN[0]: "ann"}
        self.gate: Gate[str] = Gate(context, BROKER[1], self.known.get)
        self.router = Router(
            context,
            [addresses.parse("tcp://127.0.0.1:0", bind=True)],
            max_frame_bytes=1_000_000,
            unread=Unread(max_peer_bytes=10**6, max_bytes=10**7),
            heartbeats=Heartbeats(1.0, 3),
            gate=self.gate,
        )
        self.endpoint = self.router.endpoints[0]
        self.poll = Poll(self.router)
        for handle in self.gate.handles():
            self.poll.add(handle)
        self.got: list[tuple[str, list[bytes]]] = []

    def turn(self) -> None:
        self.poll.wait(clock() + 0.02)
        self.gate.work()
        while (message := self.router.receive()) is not None:
            self.got.append((self.router.owner, as_bytes(message[1:])))

    def until(self, condition: Callable[[], object], what: str, *, within_s: float = 10.0) -> None:
        give_up_at = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < give_up_at, what
            self.turn()

    def work_for(self, seconds: float) -> None:
        over_at = time.monotonic() + seconds
        while time.monotonic() < over_at:
            self.turn()


class Peer:
    """A DEALER that notes whether its connection stands."""

    def __init__(
        self,
        context: zmq.Context[Any],
        served: Served,
        keys: tuple[str, str] | None,
        *,
        broker: str = BROKER[0],
        reconnects: bool = False,
    ) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.sndtimeo = 5000
        if not reconnects:
            self.socket.reconnect_ivl = -1
        if keys is not None:
            self.socket.curve_serverkey = broker.encode()
            self.socket.curve_publickey, self.socket.curve_secretkey = (k.encode() for k in keys)
        events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        self.monitor = self.socket.get_monitor_socket(events)
        self.socket.connect(served.endpoint)

    def events(self) -> list[int]:
        """Return the events that have come since the last call."""
        found = []
        while self.monitor.poll(0):
            number, _ = struct.unpack("=hi", self.monitor.recv_multipart()[0])
            found.append(number)
        return found

    def is_in(self) -> bool:
        return zmq.EVENT_HANDSHAKE_SUCCEEDED in self.events()

    def is_out(self) -> bool:
        return zmq.EVENT_DISCONNECTED in self.events()

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close()


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    context = new_context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def served(context: zmq.Context[Any]) -> Iterator[Served]:
    served = Served(context)
    yield served
    served.router.close()


@pytest.fixture
def peers(context: zmq.Context[Any]) -> Iterator[Callable[..., Peer]]:
    made: list[Peer] = []

    def new(*arguments: Any, **options: Any) -> Peer:
        made.append(Peer(context, *arguments, **options))
        return made[-1]

    yield new
    for peer in made:
        peer.close()


Peers = Callable[..., Peer]


def test_each_message_comes_with_the_owner_of_its_key(served: Served, peers: Peers) -> None:
    bob, ann = peers(served, BOB), peers(served, ANN)
    for _ in range(3):
        bob.socket.send(b"from bob")
        ann.socket.send(b"from ann")
    served.until(lambda: len(served.got) == 6, "six messages")
    assert sorted(served.got) == [("ann", [b"from ann"])] * 3 + [("bob", [b"from bob"])] * 3
    assert served.gate.failed == 0


def test_two_connections_of_a_key_are_one_owner_and_end_apart(served: Served, peers: Peers) -> None:
    one, two = peers(served, BOB), peers(served, BOB)
    for peer in (one, two):
        peer.socket.send(b"x")
    served.until(lambda: len(served.got) == 2, "both have sent")
    one.close()
    one.close = lambda: None  # type: ignore[method-assign]
    two.socket.send(b"y")
    served.until(lambda: served.got[-1] == ("bob", [b"y"]), "the other goes on")


def test_messages_of_a_connection_that_is_over_keep_their_owner(
    served: Served, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the next connection has the same descriptor, and the gate hears of it first."""
    descriptors: list[int] = []

    def descriptor(frame: zmq.Frame) -> int:
        descriptors.append(module_descriptor(frame))
        return descriptors[-1]

    module_descriptor = module._descriptor
    monkeypatch.setattr(module, "_descriptor", descriptor)
    bob = peers(served, BOB)
    served.until(bob.is_in, "bob is in")
    for number in range(3):
        bob.socket.send(b"%d" % number)
    time.sleep(0.2)  # libzmq has read them
    bob.close()
    bob.close = lambda: None  # type: ignore[method-assign]
    time.sleep(0.2)
    ann = peers(served, ANN)
    ann.socket.send(b"3")
    for _ in range(10):
        served.gate.work()  # and the router receives nothing
        time.sleep(0.05)
    served.until(lambda: len(served.got) == 4, "all have come")
    owners = {content: owner for owner, [content] in served.got}
    assert owners == {b"0": "bob", b"1": "bob", b"2": "bob", b"3": "ann"}
    assert len(set(descriptors)) == 1, "the test is to reuse a descriptor"


STRANGERS = {
    "unknown key": (new_key_pair(), BROKER[0]),
    "no key": (None, BROKER[0]),
    "wrong broker's key": (BOB, new_key_pair()[0]),
}


@pytest.mark.parametrize("stranger", list(STRANGERS))
def test_a_stranger_sends_nothing_and_is_counted_once(
    served: Served, peers: Peers, stranger: str
) -> None:
    keys, broker = STRANGERS[stranger]
    peer = peers(served, keys, broker=broker)
    with suppress(zmq.Again):  # its connection has failed already
        peer.socket.send(b"x", zmq.NOBLOCK)
    gate = served.gate
    served.until(lambda: gate.failed or gate.hung_up, "the stranger is counted")
    served.work_for(0.3)
    assert gate.failed + gate.hung_up == 1
    assert gate.failed or stranger == "no key"  # which libzmq may end at either side
    assert served.got == []
    assert not peer.is_in()
    unknown = [public for public, _ in served.gate.unknown]
    assert unknown == ([keys[0]] if stranger == "unknown key" and keys else [])
    bob = peers(served, BOB)
    bob.socket.send(b"y")
    served.until(lambda: served.got, "bob comes in")


@pytest.mark.parametrize(
    "data",
    [os.urandom(500), b"GET / HTTP/1.1\r\n\r\n", b"\xff" + bytes(8) + b"\x7f\x03" + bytes(500)],
    ids=["random", "http", "ZMTP 3 with zeros"],
)
def test_bytes_of_no_peer_are_counted_or_end_and_nothing_comes_in(
    served: Served, peers: Peers, data: bytes
) -> None:
    host, port = served.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.settimeout(0.0)
        raw.sendall(data)

        def is_ended() -> bool:
            try:
                return raw.recv(1000) == b""
            except BlockingIOError:
                return False
            except ConnectionError:
                return True

        bob = peers(served, BOB)
        bob.socket.send(b"y")
        served.until(lambda: served.got, "bob comes in")
        served.until(is_ended, "the connection is ended", within_s=20.0)
    assert served.got == [("bob", [b"y"])]
    assert served.gate.failed <= 1


def test_revoking_ends_the_connections_of_a_key_and_drops_what_they_have_sent(
    served: Served, peers: Peers
) -> None:
    bob, ann = peers(served, BOB), peers(served, ANN)
    for peer in (bob, ann):
        peer.socket.send(b"x")
    served.until(lambda: len(served.got) == 2, "both are in")
    bob.events()
    bob.socket.send(b"late")
    del served.known[BOB[0]]
    time.sleep(0.2)  # the late message waits in the broker's socket
    served.gate.end("bob")
    served.until(bob.is_out, "bob's connection ends")
    ann.socket.send(b"y")
    served.until(lambda: len(served.got) == 3, "ann goes on")
    assert served.got[-1] == ("ann", [b"y"])
    assert all(body != [b"late"] for _, body in served.got)


def test_a_revoked_connection_that_has_sent_nothing_ends_with_its_first_message(
    served: Served, peers: Peers
) -> None:
    bob = peers(served, BOB)
    served.until(bob.is_in, "the handshake is over")
    del served.known[BOB[0]]
    served.gate.end("bob")
    bob.socket.send(b"x")
    served.until(bob.is_out, "bob's connection ends")
    served.work_for(0.1)
    assert served.got == []


def test_a_revoked_key_cannot_connect_again_and_a_valid_one_can(
    served: Served, peers: Peers
) -> None:
    bob = peers(served, BOB, reconnects=True)
    bob.socket.send(b"x")
    served.until(lambda: served.got, "bob is in")
    served.gate.end("bob")  # the key stays valid
    bob.socket.send(b"y")

    def send_again() -> bool:
        bob.socket.send(b"z")
        return ("bob", [b"z"]) in served.got

    served.until(send_again, "bob comes back")
    del served.known[BOB[0]]
    served.gate.end("bob")
    count = len(served.got)
    served.until(lambda: served.gate.failed, "bob is refused")
    served.work_for(0.3)
    assert len(served.got) == count


def test_what_the_gate_remembers_is_bounded(
    served: Served, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_IDS", 5)
    for number in range(20):
        silent = peers(served, BOB)
        served.until(silent.is_in, "it is in, and has sent nothing")
        silent.close = lambda: None  # type: ignore[method-assign]
        Peer.close(silent)
        served.gate.end("bob" if number % 2 else "nobody")
    for _ in range(20):
        peer = peers(served, ANN)
        peer.socket.send(b"x")
        served.until(lambda: served.got.pop() if served.got else None, "it is in")
        Peer.close(peer)
        peer.close = lambda: None  # type: ignore[method-assign]
    gate = served.gate
    served.work_for(0.1)
    assert len(gate._pending) <= 5
    assert len(gate._former) <= 5
    assert len(gate._connections) == len(gate._ids) <= 20


def test_public_keys_of_strangers_that_are_remembered_are_bounded(served: Served) -> None:
    for number in range(2000):
        assert not served.gate.callback("mdp", b"%040d" % number)
    assert len(served.gate.unknown) <= 256
