"""A handler that never returns costs its pool a worker for a while, and not for ever."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from mdp import Client, RequestTimeout, TooSlow
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    children,
    until,
    wait_for_workers,
)

OBEDIENT = "tests.faults.handlers:Obedient"
WORKERS = 3


def held_for(seconds: float, log: Path) -> list[bytes]:
    return [b"note_and_sleep", b"held", bytes(log), b"%g" % seconds]


def holders(log: Path) -> list[int]:
    """The processes that began to compute it."""
    return [int(line.split()[0]) for line in log.read_text().splitlines()]


def none_is_busy(client: Client) -> bool:
    row = client.services()["obedient"]
    return row["idle"] == row["workers"] == WORKERS


def test_a_worker_whose_request_nobody_waits_for_any_more_is_back_after_a_while(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    broker = processes.broker(endpoint, *QUICK)
    host = processes.python("-m", "tests.faults.impatient_host", endpoint, str(WORKERS))
    log = tmp_path / "log"
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", WORKERS)
        earlier = set(children(host))
        with pytest.raises(RequestTimeout):
            client.request("obedient", held_for(1000, log), timeout_s=0.5, tries=WORKERS)
        stuck = set(holders(log))
        assert stuck == earlier
        until(lambda: not stuck & set(children(host)), "the stuck processes are killed")
        until(lambda: none_is_busy(client), "all workers are idle again", within_s=10.0)
        assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]
    assert re.search(r"obedient.*cancel|cancel.*obedient", broker.stderr)
    assert re.search(r"obedient#\d: .*cancel", host.stderr)
    assert re.search(r"obedient#\d: killed", host.stderr)


def test_a_worker_that_ends_in_time_what_was_cancelled_is_not_killed(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint, *QUICK)
    host = processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
    log = tmp_path / "log"
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 1)
        earlier = children(host)
        with pytest.raises(RequestTimeout):
            client.request("obedient", held_for(2, log), timeout_s=0.4, tries=1)
        assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]
        assert children(host) == earlier
        assert client.services()["obedient"]["requeued"] == 0


def test_a_request_over_the_time_limit_is_tried_once_more_and_its_workers_are_killed_at_once(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    broker = processes.broker(endpoint, "--time-limit", "obedient=1", *QUICK)
    host = processes.worker(endpoint, "obedient", OBEDIENT, "-n", str(WORKERS), *QUICK)
    log = tmp_path / "log"
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", WORKERS)
        earlier = set(children(host))
        began_at = time.monotonic()
        with pytest.raises(TooSlow):
            client.request("obedient", held_for(1000, log))
        spent_s = time.monotonic() - began_at
        assert 1.9 < spent_s < 20  # of the 60 s of a try
        stuck = holders(log)
        assert len(stuck) == len(set(stuck)) == 2
        until(lambda: not set(stuck) & set(children(host)), "they are killed")
        assert earlier - set(stuck) <= set(children(host))
        until(lambda: none_is_busy(client), "all workers are idle again", within_s=10.0)
        assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]
    assert re.search(r"obedient.*limit|limit.*obedient", broker.stderr)
    assert re.search(r"obedient#\d: .*(killed|limit)", host.stderr)


def test_a_request_that_hangs_on_one_worker_is_answered_by_another(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint, "--time-limit", "obedient=1", *QUICK)
    processes.worker(endpoint, "obedient", OBEDIENT, "-n", "2", *QUICK)
    note, never = tmp_path / "note", tmp_path / "never"
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 2)
        body = [b"wait_for", b"abc", bytes(note), bytes(never)]
        assert client.request("obedient", body) == [b"cba"]
