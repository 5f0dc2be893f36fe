"""A firewall forgets connections in which no byte passes for a while, and tells neither end."""

from __future__ import annotations

import time
from pathlib import Path

from mdp import Client
from mdp.sockets.link import Link
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    free_port,
    until,
    wait_for_workers,
)

IDLE_S = 1.2  # liveness * interval is 0.6
WORK_S = "3"


def test_a_request_that_computes_longer_than_the_firewall_remembers_is_computed_once(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint, *QUICK)
    log = tmp_path / "log"
    with Link(f"tcp://127.0.0.1:{free_port()}", endpoint) as link:
        options = ("-n", "2", *QUICK)
        processes.worker(link.endpoint, "obedient", "tests.faults.handlers:Obedient", *options)
        with Client(link.endpoint, QUICK_CLIENT) as client:
            wait_for_workers(client, "obedient", 2)
            stop = link.forget_idle(IDLE_S)
            began_at = time.monotonic()
            answer = client.request(
                "obedient", [b"note_and_sleep", b"x", bytes(log), WORK_S.encode()]
            )
            assert answer == [b"x"]
            assert time.monotonic() - began_at < float(WORK_S) + 20  # of the 60 s of a try
            assert len(log.read_text().splitlines()) == 1
            stop()


def test_a_client_that_rested_is_answered_at_once(processes: Processes, endpoint: str) -> None:
    processes.broker(endpoint, *QUICK)
    with Link(f"tcp://127.0.0.1:{free_port()}", endpoint) as link:
        processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
        with Client(link.endpoint, QUICK_CLIENT) as client:
            wait_for_workers(client, "echo", 1)
            assert client.request("echo", [b"first"]) == [b"first"]
            earlier = link.accepted
            stop = link.forget_idle(IDLE_S)
            rested_at = time.monotonic()
            until(lambda: time.monotonic() > rested_at + 3 * IDLE_S, "the client has rested")
            assert client.request("echo", [b"second"]) == [b"second"]
            assert (link.accepted, link.forgotten) == (earlier, 0)
            stop()
