"""Peers that misbehave at full speed, while others are served and the memory stays bounded."""

from __future__ import annotations

import itertools
import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from mdp import Client
from tests.support import keys
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    counters,
    until,
    wait_for_workers,
)

MIB = 1 << 20
PARTS = 3000
"""Of 10 kB: about 1,600 wait in sockets and in the kernel for a client that does not read."""


@contextmanager
def _flood(endpoint: str, messages: Iterator[list[bytes]]) -> Iterator[None]:
    """Send without end, and never read."""
    stop = threading.Event()

    def send() -> None:
        with keys.new_context() as context, context.socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.rcvhwm = 1
            socket.sndtimeo = 50
            socket.connect(endpoint)
            while not stop.is_set():
                try:
                    socket.send_multipart(next(messages))
                except zmq.Again:
                    continue

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _requests_that_nobody_reads() -> Iterator[list[bytes]]:
    return itertools.repeat([b"MDPC02", b"\x01", b"flooded", bytes(10_000)])


WHOLE = [
    [b"", b"MDPC01", b"calm", b"body"],
    [b"", b"MDPW01", b"\x01", b"calm"],
    [b"", b"MDPW01", b"\x03", b"token", b"", b"body"],
    [b"MDPC02", b"\x01", b"calm", b"body"],
    [b"MDPW02", b"\x04", b"token", b"", b"body"],
    [b"", b"MDPC02", b"\x02", b"calm", b"body"],
]


def _garbage() -> Iterator[list[bytes]]:
    dice = random.Random(7)
    while True:
        yield [dice.randbytes(dice.randrange(40)) for _ in range(dice.randrange(1, 9))]
        whole = dice.choice(WHOLE)
        yield whole[: dice.randrange(1, 3)]  # a command that breaks off
        yield [b"", dice.choice([b"MDPC01", b"MDPW01", b"MDPC02", b"MDPW02"]), *_some(dice)]
        yield [b"MDPC02", b"\x01", dice.randbytes(10_000), b"a service of 10 kB"]
        if dice.random() < 0.02:
            yield [b"MDPC02", b"\x01", b"calm", *itertools.repeat(b"x", 10_000)]


def _some(dice: random.Random) -> list[bytes]:
    return [bytes([dice.randrange(256)]) for _ in range(dice.randrange(3))]


def _ask_calmly(client: Client) -> None:
    texts = [b"calm request %d" % number for number in range(100)]
    answers = client.map("calm", ([text] for text in texts))
    assert list(answers) == [[text] for text in texts]


@pytest.fixture
def broker_options() -> list[str]:
    return [*QUICK, "--max-queue", "200"]


def test_a_client_that_never_reads_harms_neither_the_others_nor_the_memory(
    processes: Processes, endpoint: str, broker_options: list[str]
) -> None:
    broker = processes.broker(endpoint, *broker_options)
    for service in ("flooded", "calm"):
        processes.worker(endpoint, service, "mdp.echo:Echo", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        for service in ("flooded", "calm"):
            wait_for_workers(client, service, 1)
        earlier = broker.resident_bytes()
        with _flood(endpoint, _requests_that_nobody_reads()):
            _ask_calmly(client)
            until(lambda: counters(client)["accepted"] > 20_000, "200 MB came in")
            assert counters(client)["unreachable"] > 0  # it does not read, and that was noticed
            _ask_calmly(client)
            assert broker.resident_bytes() < earlier + 60 * MIB
        assert client.services()["calm"]["answered"] == 200


def test_a_peer_that_floods_garbage_harms_neither_the_others_nor_the_memory(
    processes: Processes, endpoint: str, broker_options: list[str]
) -> None:
    broker = processes.broker(endpoint, *broker_options)
    processes.worker(endpoint, "calm", "mdp.echo:Echo", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "calm", 1)
        earlier = broker.resident_bytes()
        with _flood(endpoint, _garbage()):
            _ask_calmly(client)
            until(lambda: counters(client)["malformed"] > 10_000, "much garbage came in")
            _ask_calmly(client)
            assert broker.resident_bytes() < earlier + 60 * MIB
    assert "Traceback" not in broker.stderr
    assert len(broker.stderr) < 20_000  # bytes: the log is throttled


def test_a_client_that_stalls_gets_each_part_of_a_long_stream_once_and_in_order(
    processes: Processes, endpoint: str, broker_options: list[str], tmp_path: Path
) -> None:
    processes.broker(endpoint, *broker_options)
    processes.worker(endpoint, "long", "tests.faults.handlers:Obedient", "-n", "2", *QUICK)
    note, stall_now, stalled = (tmp_path / name for name in ("note", "stall now", "stalled"))
    with Client(endpoint, QUICK_CLIENT) as client, Client(endpoint, QUICK_CLIENT) as witness:
        wait_for_workers(witness, "long", 2)
        earlier = counters(witness)["unreachable"]

        def stall(_: object) -> None:
            """In the client's own thread, so it reads nothing meanwhile."""
            stalled.touch()
            until(lambda: counters(witness)["unreachable"] > earlier, "its answers pile up")

        alarm = client.submit("long", [b"wait_for", b"", os.fsencode(note), os.fsencode(stall_now)])
        alarm.add_done_callback(stall)
        parts = client.stream(
            "long", [b"stream_bytes", b"%d" % PARTS, b"10000", os.fsencode(stalled)]
        )
        numbers = [next(parts)[0]]
        stall_now.touch()
        numbers += [number for number, _ in parts]
    assert numbers == [b"%d" % number for number in range(PARTS)]
