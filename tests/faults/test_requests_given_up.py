"""A request that nobody waits for ends with its child, and the worker serves on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mdp import Client
from mdp.errors import TooLarge
from tests.faults.notes import holder
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    counters,
    until,
    wait_for_workers,
)

OBEDIENT = "tests.faults.handlers:Obedient"


def test_a_worker_whose_request_was_cancelled_kills_its_child_after_a_grace_and_serves_on(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint, *QUICK)
    host = processes.python("-m", "tests.faults.impatient_host", endpoint)
    with Client(endpoint, QUICK_CLIENT) as client:
        future = client.submit(
            "obedient", [b"hold", b"abc", os.fsencode(tmp_path / "note"), b"600"]
        )
        stuck = holder(tmp_path / "note")
        future.cancel()
        assert client.request("obedient", [b"reverse", b"next"], timeout_s=20) == [b"txen"]
        counted = counters(client)
        assert (counted["cancelled"], counted["requeued"]) == (1, 0)
    assert not Path(f"/proc/{stuck.child}").exists()
    assert "cancelled" in host.stderr
    assert "killed the child" in host.stderr


def test_a_child_that_finishes_a_cancelled_request_within_the_grace_lives_on(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint, *QUICK)
    processes.python("-m", "tests.faults.impatient_host", endpoint)
    release = tmp_path / "release"
    with Client(endpoint, QUICK_CLIENT) as client:
        note = tmp_path / "note"
        body = [b"wait_for", b"abc", os.fsencode(note), os.fsencode(release)]
        future = client.submit("obedient", body)
        first = holder(note)
        future.cancel()
        until(lambda: counters(client)["cancelled"] == 1, "the broker knows")
        release.touch()
        second = tmp_path / "second note"
        client.request("obedient", [b"hold", b"abc", os.fsencode(second), b"0"], timeout_s=20)
        assert holder(second) == first


def test_a_request_over_the_time_limit_is_tried_again_and_its_child_killed_at_once(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint, *QUICK, "--time-limit", "obedient=0.5")
    worker = processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
    note = tmp_path / "note"
    with Client(endpoint, QUICK_CLIENT) as client:
        future = client.submit("obedient", [b"hold", b"abc", os.fsencode(note), b"600"])
        stuck = holder(note)
        until(lambda: not Path(f"/proc/{stuck.child}").exists(), "it is killed", within_s=5)
        assert future.result(timeout=20) == [b"cba"]
        wait_for_workers(client, "obedient", 1)
    assert "took too long" in worker.stderr


def test_an_answer_larger_than_the_broker_takes_is_error_413_at_once(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint, *QUICK, "--max-queue-bytes", "1000000")
    worker = processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        release = os.fsencode(tmp_path)  # it is there
        for count in (b"1", b"3"):  # the FINAL alone, and parts
            with pytest.raises(TooLarge) as raised:
                client.request("obedient", [b"stream_bytes", count, b"1500000", release])
            for word in ("1500001", "1000000", "--max-queue-bytes"):
                assert word in str(raised.value)
        assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]
        assert (counters(client)["requeued"], counters(client)["workers_lost"]) == (0, 0)
    assert "1500001 bytes" in worker.stderr
