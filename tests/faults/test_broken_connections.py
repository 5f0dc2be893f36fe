"""A worker whose connection breaks: what was on its way is lost, and its request is not."""

from __future__ import annotations

import os
from pathlib import Path

from mdp import Client
from mdp.sockets.link import Link
from tests.faults.notes import holder
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    counters,
    free_port,
    wait_for_workers,
)

OBEDIENT = "tests.faults.handlers:Obedient"


def test_a_request_whose_answer_was_lost_with_the_connection_is_answered(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    """Without a new session the heartbeats would go on, and nobody would miss the answer."""
    processes.broker(endpoint, *QUICK)
    note, release = tmp_path / "note", tmp_path / "release"
    with (
        Link(f"tcp://127.0.0.1:{free_port()}", endpoint) as link,
        Client(endpoint, QUICK_CLIENT) as client,
    ):
        worker = processes.worker(link.endpoint, "obedient", OBEDIENT, "--verbose", *QUICK)
        wait_for_workers(client, "obedient", 1)
        future = client.submit(
            "obedient", [b"wait_for", b"abc", os.fsencode(note), os.fsencode(release)]
        )
        holder(note)
        mend = link.silence()
        release.touch()
        worker.wait_until_it_says("answered after")
        link.drop()
        mend()
        assert future.result(timeout=20) == [b"cba"]
        assert counters(client)["requeued"] == 1
        wait_for_workers(client, "obedient", 1)
        assert worker.stderr.count("the connection to the broker broke") == 1
        assert "broker is silent" not in worker.stderr


def test_a_worker_that_waited_for_its_broker_is_ready_once_and_nothing_broke(
    processes: Processes, endpoint: str
) -> None:
    worker = processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
    worker.wait_until_it_says("broker is silent")
    processes.broker(endpoint, *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]
        assert (counters(client)["requeued"], counters(client)["workers_lost"]) == (0, 0)
    assert "connection to the broker broke" not in worker.stderr
