"""Hosts that go away are counted apart from children that die: they make no request poison."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Future
from pathlib import Path

import pytest

from mdp import Client, WorkersDied
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Process,
    Processes,
    counters,
    until,
    wait_for_workers,
)

OBEDIENT = "tests.faults.handlers:Obedient"


def _kill_the_holder(
    processes: Processes, endpoint: str, client: Client, worker: Process
) -> Process:
    """Kill a worker's host, with a request in its child, and start another worker."""
    until(lambda: _busy(client) == 1, "a worker holds the request")
    worker.send(signal.SIGKILL)
    worker.wait_until_nothing_is_left()
    return processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)


def _want_lost(client: Client, count: int) -> None:
    until(lambda: counters(client)["workers_lost"] == count, f"{count} workers are missed")


def _busy(client: Client) -> int:
    row = client.services().get("obedient", {})
    return int(row.get("busy", 0))


def _ask(client: Client, release: Path) -> Future[list[bytes]]:
    """Ask for something that takes until `release` is there."""
    return client.submit("obedient", [b"stream_until", os.fsencode(release)])


def test_a_request_that_five_hosts_held_when_they_went_away_is_answered(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint, *QUICK, "--max-attempts", "1")
    worker = processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
    release = tmp_path / "release"
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 1)
        call = _ask(client, release)
        for lost in range(5):
            worker = _kill_the_holder(processes, endpoint, client, worker)
            _want_lost(client, lost + 1)
        release.touch()
        assert call.result(timeout=20)
        assert counters(client)["workers_died"] == 0


def test_a_request_that_too_many_hosts_held_is_refused_with_their_limit(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint, *QUICK, "--max-attempts", "1", "--max-lost", "2")
    worker = processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 1)
        call = _ask(client, tmp_path / "never")
        worker = _kill_the_holder(processes, endpoint, client, worker)
        _want_lost(client, 1)
        until(lambda: _busy(client) == 1, "the next worker holds it")
        worker.send(signal.SIGKILL)
        with pytest.raises(WorkersDied, match=r"2 workers of obedient were lost.*--max-lost"):
            call.result(timeout=20)


def test_a_worker_that_is_stopped_at_once_is_lost_and_has_not_died(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint, *QUICK, "--max-attempts", "1")
    worker = processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
    release = tmp_path / "release"
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 1)
        call = _ask(client, release)
        until(lambda: _busy(client) == 1, "a worker holds the request")
        worker.send(signal.SIGINT)
        until(lambda: client.services()["obedient"].get("retired") == 1, "it drains")
        worker.send(signal.SIGINT)
        assert worker.exit_code() is not None
        counted = counters(client)
        assert (counted["workers_died"], counted["workers_lost"], counted["requeued"]) == (0, 1, 1)
        processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
        release.touch()
        assert call.result(timeout=20)
