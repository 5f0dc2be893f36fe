"""Mutated messages of a hostile broker to the cores of client and worker: none raises."""

from __future__ import annotations

import itertools
import logging
import os
import random
import time
from collections.abc import Callable, Iterator

import msgpack
import pytest
import zmq

from mdp import ClientSettings, WorkerSettings
from mdp.client.lane import ClientRequest, CloseLane, Failed, FinalReply, Lanes, OpenLane, Step
from mdp.sockets import as_bytes
from mdp.wire import Frame
from mdp.worker.host import Child, Host

SECONDS = 3.0
PIECES = [
    *(b"", b"MDPC02", b"MDPW02", b"MDPC01", b"\x01", b"\x02", b"\x03", b"\x04", b"\x05", b"\x06"),
    *(b"service", b"mmi.broker", b"mmi.cancel", b"mmi.fingerprint", b"mmi.retire", b"mmi.stop"),
    *(b"200", b"409", b"413", b"501", b"503", b"500", b"MDP-ERROR", b"9" * 5000, b"\xff"),
    *(b"grace", b"now", b"lease=1"),
]
TOKEN = b"0123456789abcdef"


class Hostile:
    """Makes the messages of a broker that means ill."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def pause_s(self) -> float:
        return self._dice.random() * 0.3

    def chance(self, share: float) -> bool:
        return self._dice.random() < share

    def lane(self, names: list[bytes]) -> bytes:
        return self._dice.choice([*names, b"?"])

    def to_client(self) -> list[Frame]:
        dice = self._dice
        service = dice.choice([b"service", b"mmi.broker", b"mmi.cancel"])
        error = [b"MDP-ERROR", dice.choice([b"404", b"413", b"429", b"502", b"999"]), b"why"]
        body = dice.choice([self._body(), self._body(), [b"200", self._report()], error])
        head = [b"MDPC02", dice.choice([b"\x02", b"\x03"]), service]
        return self._mutated([*head, *body])

    def to_worker(self) -> list[Frame]:
        command = self._dice.choice(
            [
                [b"MDPW02", b"\x02", self._dice.choice([TOKEN, os.urandom(16)]), b""],
                [b"MDPW02", b"\x05"],
                [b"MDPW02", b"\x06"],
                [b"MDPC02", b"\x03", b"mmi.fingerprint"],
                [b"MDPC02", b"\x03", b"mmi.retire"],
                [b"MDPC02", b"\x03", b"mmi.stop", TOKEN],
            ]
        )
        return self._mutated([*command, *self._body()])

    def _body(self) -> list[bytes]:
        dice = self._dice
        return [
            dice.choice(PIECES) if dice.random() < 0.6 else self._report()
            for _ in range(dice.randrange(4))
        ]

    def _report(self) -> bytes:
        """Msgpack, or what looks like it."""
        dice = self._dice
        lost: list[object] = [[os.urandom(16)], None, 5, [[]], [{}], "abc", {}]
        report = {"instance": dice.choice("ab"), "lost": dice.choice(lost), "max_bytes": 1}
        report["settings"] = dice.choice([{}, None, {"max_queue_bytes": "many"}, {"x": [1]}])
        report["max_bytes"] = dice.choice([1, -1, None, "many", [1], 2.5, 1 << 63])
        packed: bytes = msgpack.packb(report)
        kinds: list[bytes] = [
            packed,
            bytes(byte ^ dice.randrange(256) if dice.random() < 0.1 else byte for byte in packed),
            b"\x91" * dice.choice([10, 600, 5000, 20_000]),  # lists in lists
            b"\xdd\xff\xff\xff\xff" + b"\xc0" * 20,  # a list of 4 G
            b"\xc9\xff\xff\xff\xff\x01abc",
            b"\x81\xc7\x0c\xff" + dice.randbytes(12) + b"\x01",  # a time as a key
            dice.randbytes(dice.choice([0, 3, 60, 17_000])),
        ]
        return dice.choice(kinds)

    def _mutated(self, frames: list[bytes]) -> list[Frame]:
        dice = self._dice
        for _ in range(dice.randrange(3)):
            at = dice.randrange(len(frames) + 1)
            changes: list[list[bytes]] = [
                [],
                [dice.choice(PIECES)],
                [dice.choice(PIECES), *frames[at : at + 1]],
                [dice.randbytes(dice.choice([0, 1, 300, 17_000]))],
            ]
            frames = [*frames[:at], *dice.choice(changes), *frames[at + 1 :]]
        return [zmq.Frame(frame) if len(frame) > 16_384 else frame for frame in frames]


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    seed = int.from_bytes(os.urandom(3), "big")
    print(f"the seed is {seed}")
    logging.disable(logging.CRITICAL)
    yield Hostile(seed)
    logging.disable(logging.NOTSET)


def for_some_seconds(turn: Callable[[float], None], hostile: Hostile) -> int:
    """Call `turn` with a time that goes on, and return how often."""
    end_at = time.monotonic() + SECONDS
    now, count = 0.0, 0
    while time.monotonic() < end_at:
        now += hostile.pause_s()
        turn(now)
        count += 1
    return count


def test_a_clients_core_outlives_whatever_a_broker_sends(hostile: Hostile) -> None:
    numbers = itertools.count(1)
    lanes = Lanes(ClientSettings(timeout_s=50, tries=2), lambda: b"L%016d" % next(numbers))
    ended = {FinalReply: 0, Failed: 0}
    opened: set[bytes] = set()

    def follow(steps: list[Step]) -> None:
        for step in steps:
            match step:
                case OpenLane(lane):
                    opened.add(lane)
                case CloseLane(lane):
                    opened.discard(lane)
                case FinalReply(_, body):
                    as_bytes(body)
                    ended[FinalReply] += 1
                case Failed():
                    ended[Failed] += 1

    def turn(now: float) -> None:
        while len(lanes.in_flight) < 3:
            call = ClientRequest(b"service", [b"x"], None, timeout_s=50, tries=2)
            follow(lanes.submit(call, now))
        follow(lanes.tick(now))
        follow(lanes.receive(hostile.lane(sorted(opened)), hostile.to_client(), now))

    assert for_some_seconds(turn, hostile) > 1000
    assert min(ended.values()) > 10


def test_a_workers_core_outlives_whatever_a_broker_sends(hostile: Hostile) -> None:
    host = Host(b"service", WorkerSettings(), name="worker")
    worked = 0

    def new(now: float) -> Host:
        host = Host(b"service", WorkerSettings(), name="worker")
        host.tick(now)
        host.ready(now, b"fingerprint")
        return host

    def turn(now: float) -> None:
        nonlocal host, worked
        host.receive(hostile.to_worker(), now)
        host.tick(now)
        if host.child is Child.BUSY and hostile.chance(0.5):
            worked += 1
            host.answered(host._number, [b"answer"], final=True, now=now)
        if host.ended or host.child not in (Child.IDLE, Child.BUSY):
            host = new(now)

    assert for_some_seconds(turn, hostile) > 1000
    assert worked > 10
