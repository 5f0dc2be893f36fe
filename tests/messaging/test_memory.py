"""What one peer can make a broker, or a client, hold in memory has a bound in bytes."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from mdp import Client, QueueFull
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Process,
    Processes,
    until,
    wait_for_workers,
)
from tests.support.raw_peer import RawPeer

OBEDIENT = "tests.faults.handlers:Obedient"
MIB = 1 << 20
SLOW_READER = """
import os, sys, time
from mdp import Client, ClientSettings, Heartbeats

endpoint, began, go_on, done = sys.argv[1:]
with Client(endpoint, ClientSettings(heartbeats=Heartbeats(0.2, 3))) as client:
    parts = client.stream("parts", [b"stream_bytes", b"600", b"1000000", os.devnull.encode()])
    numbers = [next(parts)[0]]
    open(began, "w").close()
    while not os.path.exists(go_on):
        time.sleep(0.01)
    numbers += [number for number, _ in parts]
    with open(done + ".new", "wb") as report:
        report.write(b" ".join(numbers))
    os.rename(done + ".new", done)
"""


class Peak:
    """The most memory that a process has while the block runs."""

    def __init__(self, process: Process) -> None:
        self.bytes = process.resident_bytes()
        self.earlier = self.bytes
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def growth_bytes(self) -> int:
        return self.bytes - self.earlier

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.bytes = max(self.bytes, self._process.resident_bytes())


def test_questions_with_many_names_are_answered_briefly(
    processes: Processes, endpoint: str
) -> None:
    processes.broker(endpoint, *QUICK)
    names = [os.urandom(16) for _ in range(3)]
    with RawPeer(endpoint) as peer:
        lost = peer.report(b"broker", *names, *[b"n" * 16_000] * 900)["lost"]
    assert lost == names


def test_a_peer_that_asks_much_and_reads_nothing_does_not_fill_the_broker(
    processes: Processes, endpoint: str
) -> None:
    broker = processes.broker(endpoint, *QUICK)
    names = [b"n" * 16_000] * 900
    with RawPeer(endpoint, reads=False) as peer, Peak(broker) as peak:
        sent = 0
        give_up_at = time.monotonic() + 8.0
        while sent < 100 and time.monotonic() < give_up_at:
            sent += peer.try_to_send(b"MDPC02", b"\x01", b"mmi.broker", *names)
            time.sleep(0.01)
        until(lambda: broker.popen.poll() is None, "the broker lives")
    assert sent > 20, "300 MB were to come"
    assert peak.growth_bytes < 200 * MIB  # a few messages of 14 MB are on their way


def test_reports_that_are_not_taken_have_a_bound_in_bytes(
    processes: Processes, endpoint: str
) -> None:
    broker = processes.broker(endpoint, *QUICK)
    with RawPeer(endpoint) as peer, RawPeer(endpoint, reads=False) as greedy:
        for number in range(1500):
            peer.ask(b"%d %s" % (number, b"x" * 240))
        until(lambda: len(peer.report(b"services")) == 1500, "a report has 400 kB")
        with Peak(broker) as peak:
            sent = 0
            give_up_at = time.monotonic() + 5.0
            while sent < 3000 and time.monotonic() < give_up_at:
                if greedy.try_to_send(b"MDPC02", b"\x01", b"mmi.services"):
                    sent += 1
                else:
                    time.sleep(0.001)
    assert sent > 500
    assert peak.growth_bytes < 250 * MIB


@pytest.mark.parametrize(("size", "frames"), [(1_000_000, 1), (100_000, 10)])
def test_large_answers_that_are_not_taken_have_a_bound_in_bytes(
    processes: Processes, endpoint: str, size: int, frames: int
) -> None:
    limits = ("--max-queue-bytes", str(100 * MIB), "--max-bytes", str(300 * MIB))
    broker = processes.broker(endpoint, *limits, *QUICK)
    order = [b"make", b"%d" % size, os.devnull.encode(), b"%d" % frames]
    processes.worker(endpoint, "obedient", OBEDIENT, "-n", "2", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 2)
        with RawPeer(endpoint, reads=False) as greedy, Peak(broker) as peak:
            for _ in range(900):
                while not greedy.try_to_send(b"MDPC02", b"\x01", b"obedient", *order):
                    time.sleep(0.001)
            until(lambda: client.services()["obedient"]["answered"] > 0, "it is served")
            until(
                lambda: (
                    not client.services()["obedient"]["queued"]
                    and not client.services()["obedient"]["busy"]
                ),
                "all of them are computed or cancelled",
            )
            assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]
    assert peak.growth_bytes < 250 * MIB


def test_requests_of_all_services_together_have_a_bound_in_bytes(
    processes: Processes, endpoint: str
) -> None:
    broker = processes.broker(endpoint, "--max-bytes", str(100 * MIB), *QUICK)
    with ExitStack() as stack, Client(endpoint, QUICK_CLIENT) as client:
        peak = stack.enter_context(Peak(broker))
        for number in range(16):
            peer = stack.enter_context(RawPeer(endpoint))
            peer.ask(b"nobody %d" % number, bytes(20 * MIB))
            peer.ask(b"mmi.services")
            answer = peer.receive()
            if answer is not None and b"MDP-ERROR" in answer:
                assert b"429" in answer
        assert sum(row["bytes"] for row in client.services().values()) <= 100 * MIB
        with pytest.raises(QueueFull):
            client.request("nobody at all", [bytes(45 * MIB)], tries=1, timeout_s=10.0)
    assert peak.growth_bytes < 250 * MIB


def test_one_client_leaves_bytes_for_the_others(processes: Processes, endpoint: str) -> None:
    processes.broker(endpoint, "--max-bytes", str(40 * MIB), *QUICK)
    with (
        RawPeer(endpoint) as greedy,
        RawPeer(endpoint) as modest,
        Client(endpoint, QUICK_CLIENT) as client,
    ):
        for _ in range(60):
            greedy.ask(b"nobody", bytes(MIB))
        assert greedy.receive() is not None  # one of them is refused
        modest.ask(b"nobody", bytes(MIB))
        assert modest.receive(within_s=0.5) is None  # it waits in the queue
        processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
        wait_for_workers(client, "echo", 1)
        body = [bytes(4 * MIB)]
        assert client.request("echo", body, tries=1) == body


def test_a_slow_reader_of_a_stream_holds_few_parts_and_gets_them_all(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    limits = ("--max-queue-bytes", str(100 * MIB), "--max-bytes", str(300 * MIB))
    broker = processes.broker(endpoint, *limits, *QUICK)
    processes.worker(endpoint, "parts", OBEDIENT, *QUICK)
    began, go_on, done = (tmp_path / name for name in ("began", "go on", "done"))
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "parts", 1)
    reader = processes.python("-c", SLOW_READER, endpoint, *map(str, (began, go_on, done)))
    until(began.exists, "the first part is read")
    with Peak(reader) as peak, Peak(broker) as of_broker:
        stalled_at = time.monotonic()
        until(lambda: time.monotonic() > stalled_at + 4.0, "the reader has stalled")
        go_on.touch()
        until(done.exists, "the reader has read all parts")
    assert done.read_bytes().split() == [b"%d" % number for number in range(600)]
    assert peak.growth_bytes < 150 * MIB
    assert of_broker.growth_bytes < 250 * MIB
