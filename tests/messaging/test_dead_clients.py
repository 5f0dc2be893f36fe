"""A client that died is not computed for; a peer that has no heartbeats is left alone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from mdp import Client
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    counters,
    held,
    until,
    wait_for_workers,
)
from tests.support.raw_peer import RawPeer

OBEDIENT = "tests.faults.handlers:Obedient"
WINDOW = 64
FULL_WINDOW = """
import sys
from mdp import Client, ClientSettings, Heartbeats

client = Client(sys.argv[1], ClientSettings(heartbeats=Heartbeats(0.2, 3)))
body = [b"note_and_sleep", b"x", sys.argv[2].encode(), b"0.3"]
futures = [client.submit("slow", body) for _ in range(int(sys.argv[3]))]
futures[-1].result()
"""


def computed(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def serve(processes: Processes, endpoint: str) -> None:
    processes.broker(endpoint, *QUICK)
    processes.worker(endpoint, "slow", OBEDIENT, "-n", "2", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "slow", 2)


def test_requests_of_a_killed_client_are_cancelled(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    serve(processes, endpoint)
    log = tmp_path / "log"
    script = ("-c", FULL_WINDOW, endpoint, str(log), str(WINDOW))
    with Client(endpoint, QUICK_CLIENT) as client:
        dead = processes.python(*script)
        until(lambda: held(client, "slow") > WINDOW // 2, "its requests have come")
        until(lambda: computed(log) >= 4, "some of them are computed")
        dead.send(signal.SIGKILL)
        until(lambda: held(client, "slow") == 0, "the broker cancels them")
        cancelled_after = computed(log)
        assert cancelled_after < WINDOW - 10
        assert counters(client)["cancelled"] > 10
        body = [b"note_and_sleep", b"x", os.devnull.encode(), b"0.5"]
        assert client.request("slow", body) == [b"x"]
        assert computed(log) == cancelled_after


def test_a_client_that_lives_keeps_its_requests_longer_than_a_lease(
    processes: Processes, endpoint: str
) -> None:
    serve(processes, endpoint)
    body = [b"note_and_sleep", b"x", os.devnull.encode(), b"0.25"]
    with Client(endpoint, QUICK_CLIENT) as client:
        began_at = time.monotonic()
        futures = [client.submit("slow", body) for _ in range(WINDOW // 2)]
        assert [future.result() for future in futures] == [[b"x"]] * (WINDOW // 2)
        assert time.monotonic() - began_at > 3.0  # five times liveness * interval
        assert counters(client)["cancelled"] == 0


def test_a_peer_without_heartbeats_gets_all_its_answers(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    serve(processes, endpoint)
    log = tmp_path / "log"
    with RawPeer(endpoint) as peer:
        for number in range(30):
            peer.ask(b"slow", b"note_and_sleep", b"%d" % number, bytes(log), b"0.2")
        answers = [peer.receive() for _ in range(30)]
    assert all(answers)
    texts = {answer[-1] for answer in answers if answer}
    assert texts == {b"%d" % number for number in range(30)}
    assert computed(log) == 30
