"""Mutated messages at a broker's socket, for some seconds: it goes on serving honest clients."""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import ExitStack

import pytest

from mdp import Client
from tests.support import fingerprinted
from tests.support.processes import Processes, counters, wait_for_workers
from tests.support.raw_peer import RawPeer

SECONDS = 6.0
FINGERPRINT = "what honest workers compute with"
MIB = 1 << 20
HEADERS = [b"", b"MDPC01", b"MDPW01", b"MDPC02", b"MDPW02"]
COMMANDS = [bytes([number]) for number in range(8)]
NAMES = [
    *(b"echo", b"fuzz", b"fuzz2", b"\xff\x00"),
    *(b"mmi.services", b"mmi.service", b"mmi.workers", b"mmi.broker"),
    *(
        b"mmi.cancel",
        b"mmi.crashed",
        b"mmi.fingerprint",
        b"mmi.retire",
        b"mmi.stop",
        b"mmi.unknown",
    ),
]
WORKERS = [[b"MDPW02"], [b"", b"MDPW02"], [b"", b"MDPW01"]]
CLIENTS = [[b"MDPC02", b"\x01"], [b"", b"MDPC01"], [b"", b"MDPC02", b"\x02"]]
LENGTHS = [0, 1, 2, 6, 16, 255, 256, 16_384, 16_385, 70_000]


class Fuzzer:
    """Makes messages: valid ones, and what becomes of them after a few mutations."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.tokens = [b"?"]
        """Under which requests came; replies to them are messages that a worker may send."""

    def message(self) -> list[bytes]:
        frames = self._valid()
        for _ in range(self._dice.choice([0, 1, 1, 2, 3])):
            frames = self._mutated(frames) if frames else [b""]
        return frames or [b""]

    def chance(self, share: float) -> bool:
        return self._dice.random() < share

    def choice(self, count: int) -> int:
        return self._dice.randrange(count)

    def _valid(self) -> list[bytes]:
        dice = self._dice
        body = [dice.randbytes(dice.choice([0, 1, 9, 300])) for _ in range(dice.randrange(4))]
        if dice.random() < 0.4:
            name = dice.choice(NAMES)
            lease = [b"lease=%g" % dice.uniform(-1, 2)] if name == b"mmi.broker" else []
            return [*dice.choice(CLIENTS), name, *body, *lease]
        head = dice.choice(WORKERS)
        if dice.random() < 0.3:
            return [*head, b"\x01", dice.choice([b"fuzz", b"fuzz2", dice.randbytes(5)])]
        if dice.random() < 0.3:
            return [*head, dice.choice([b"\x05", b"\x06", b"\x04"])]
        reply = dice.choice([b"\x03", b"\x04"])
        return [*head, reply, dice.choice(self.tokens), b"", *body]

    def _mutated(self, frames: list[bytes]) -> list[bytes]:
        dice, at = self._dice, self._dice.randrange(len(frames))
        frame = frames[at]
        changes: list[list[bytes]] = [
            [],
            [dice.choice(HEADERS + COMMANDS + NAMES), frame],
            [dice.choice(HEADERS + COMMANDS)],
            [dice.randbytes(dice.choice(LENGTHS))],
            [frame[: dice.randrange(len(frame) + 1)]],
            [bytes(byte ^ (1 << dice.randrange(8)) for byte in frame[:400])],
            [frame, frame],
            [frame, *[b"x"] * (dice.choice([3, 900, 1100, 1500]) if dice.random() < 0.05 else 1)],
        ]
        changed = [*frames[:at], *dice.choice(changes), *frames[at + 1 :]]
        return changed[at:] + changed[:at] if dice.random() < 0.05 else changed

    def take(self, frames: list[bytes]) -> None:
        """Keep the token of a request that a peer got."""
        tokens = [frame for frame in frames[:5] if len(frame) == 24]
        self.tokens = [*self.tokens[-20:], *tokens]


class Honest(threading.Thread):
    """Asks the echo all the time, and keeps the answers that are wrong."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(daemon=True)
        self.asked = 0
        self.wrong: list[object] = []
        self._endpoint = endpoint
        self._over = threading.Event()

    def run(self) -> None:
        with Client(self._endpoint) as client:
            while not self._over.wait(0.01):
                text = os.urandom(20)
                try:
                    answer = client.request("echo", [text], timeout_s=10.0, tries=2)
                except Exception as error:
                    self.wrong.append(error)
                    continue
                self.asked += 1
                if answer != [FINGERPRINT.encode(), text]:
                    self.wrong.append(answer)

    def close(self) -> None:
        self._over.set()
        self.join()


def attack(endpoint: str, fuzzer: Fuzzer) -> int:
    """Send for some seconds, from a few peers; return how many messages."""
    count = 0
    with ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(endpoint)) for _ in range(6)]
        peers += [stack.enter_context(RawPeer(endpoint, b"fuzz-%d" % n)) for n in range(6)]
        end_at = time.monotonic() + SECONDS
        while time.monotonic() < end_at:
            number = fuzzer.choice(len(peers))
            if count % 1500 == 1499:
                peers[number].close()
                peers[number] = stack.enter_context(RawPeer(endpoint))
            if peers[number].try_to_send(*fuzzer.message()):
                count += 1
            else:
                time.sleep(0.002)
            while fuzzer.chance(0.6) and peers[number].socket.poll(0):
                fuzzer.take(peers[number].socket.recv_multipart())
    return count


def test_mutated_messages_harm_neither_the_broker_nor_honest_peers(
    processes: Processes, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int.from_bytes(os.urandom(3), "big")
    print(f"seed {seed}")  # shown if the test fails
    monkeypatch.setenv(fingerprinted.VARIABLE, FINGERPRINT)  # or a fuzzer could join the service
    broker = processes.broker(endpoint)
    target = "tests.support.fingerprinted:Fingerprinted"
    worker = processes.worker(endpoint, "echo", target, "-n", "2")
    with Client(endpoint) as client:
        wait_for_workers(client, "echo", 2)
        earlier = broker.resident_bytes()
        honest = Honest(endpoint)
        honest.start()
        count = attack(endpoint, Fuzzer(seed))
        assert broker.popen.poll() is None, "the broker's process has ended"
        honest.close()
        assert count > 3000
        assert honest.wrong == []
        assert honest.asked > 50
        assert counters(client)["malformed"] > 100
        assert broker.resident_bytes() < earlier + 400 * MIB
        wait_for_workers(client, "echo", 2)
    assert broker.popen.poll() is None
    for process in (broker, worker):
        assert "Traceback" not in process.stderr
    assert len(broker.stderr) < 200_000
