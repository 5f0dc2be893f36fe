"""Heartbeats, silence and DISCONNECT in each dialect."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from mdp import Client
from tests.interop.peers import DIALECTS, start_worker
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    counters,
    until,
    wait_for_workers,
)

SILENCE_S = 0.6  # 3 x 0.2 s


def _ages(client: Client) -> dict[str, float]:
    return {
        worker["dialect"]: worker["since_s"] for worker in client.management("workers")["workers"]
    }


def test_idle_workers_of_all_dialects_keep_their_broker_and_are_kept(served: str) -> None:
    with Client(served, QUICK_CLIENT) as client:
        earlier, asked_at = _ages(client), time.monotonic()
        assert len(earlier) == len(DIALECTS)
        until(lambda: min(_ages(client).values()) > 4 * SILENCE_S, "all have been kept for long")
        later, passed_s = _ages(client), time.monotonic() - asked_at
        for dialect, age in earlier.items():  # a second READY would make its worker young again
            assert later[dialect] == pytest.approx(age + passed_s, abs=SILENCE_S)
        assert counters(client)["workers_lost"] == 0


def test_workers_of_all_dialects_come_back_after_a_restart(
    processes: Processes, endpoint: str
) -> None:
    broker = processes.broker(endpoint, *QUICK)
    workers = {name: start_worker(processes, endpoint, name, name) for name in DIALECTS}
    with Client(endpoint, QUICK_CLIENT) as client:
        for name in DIALECTS:
            wait_for_workers(client, name, 1)
        broker.send(signal.SIGTERM)  # each is sent DISCONNECT, in its own dialect
        assert broker.exit_code() == 0
        for name in ("MDP/0.1", "majortomo"):
            workers[name].wait_until_it_says("the broker sent DISCONNECT")
        broker = processes.broker(endpoint, *QUICK)
        for name in DIALECTS:
            wait_for_workers(client, name, 1)
        broker.send(signal.SIGKILL)  # nobody is told
        broker.wait_until_nothing_is_left()
        processes.broker(endpoint, *QUICK)
        for name in DIALECTS:
            wait_for_workers(client, name, 1)
            assert client.request(name, [b"reverse", b"abc"]) == [b"cba"]


@pytest.mark.parametrize("dialect", ["MDP/0.1", "majortomo"])
def test_a_worker_silent_while_it_computes_loses_its_request_and_its_late_reply_goes_nowhere(
    processes: Processes, endpoint: str, tmp_path: Path, dialect: str
) -> None:
    processes.broker(endpoint, *QUICK)
    for _ in range(2):
        start_worker(processes, endpoint, dialect, "slow")
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "slow", 2)
        body = [b"dawdle", b"abc", os.fsencode(tmp_path / "note"), b"1.5"]
        assert list(client.stream("slow", body)) == [[b"cba"]]
        assert counters(client)["requeued"] == 1
        until(lambda: counters(client)["dead_tokens"], "its late reply came")
        wait_for_workers(client, "slow", 2)
        texts = [b"request %d" % number for number in range(20)]
        answers = list(client.map("slow", ([b"reverse", text] for text in texts)))
        assert answers == [[text[::-1]] for text in texts]
