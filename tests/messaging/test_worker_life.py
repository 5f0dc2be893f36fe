"""Workers that wait, follow their broker and leave by themselves: real processes and sockets."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from mdp import Client
from tests.support.fingerprinted import VARIABLE
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    free_port,
    until,
    wait_for_workers,
)

pytestmark = pytest.mark.slow
ECHO = "mdp.echo:Echo"
TWIN = "tests.support.fingerprinted:Fingerprinted"


@pytest.fixture(autouse=True)
def outside_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


def fake_squeue(folder: Path, script: str, patch: pytest.MonkeyPatch) -> None:
    program = folder / "squeue"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    patch.setenv("SLURM_JOB_ID", "8812")


def test_without_a_broker_it_ends_with_the_address_and_the_reason(
    processes: Processes, endpoint: str
) -> None:
    worker = processes.worker(endpoint, "echo", ECHO, "-n", "3", *QUICK, "--broker-wait", "2s")
    assert worker.exit_code() == 1
    last = worker.stderr.splitlines()[-1]
    assert endpoint in last
    assert "errno 111" in last
    assert "ready" not in worker.stderr


def test_a_host_that_is_not_known_is_named(processes: Processes) -> None:
    worker = processes.worker("tcp://no-such-host.invalid:5555", "echo", ECHO, "--broker-wait", "1")
    assert worker.exit_code() == 1
    assert re.search(r"no-such-host\.invalid .*errno", worker.stderr.splitlines()[-1])


def test_a_setup_that_takes_longer_is_no_missing_broker(
    processes: Processes, endpoint: str
) -> None:
    worker = processes.worker(
        endpoint, "slow", "tests.faults.handlers:SlowToSetUp", *QUICK, "--broker-wait", "0.5"
    )
    worker.wait_until_it_says("setup began")
    with pytest.raises(AssertionError, match="runs on"):
        worker.exit_code(within_s=2.0)


def test_a_worker_that_nobody_asks_leaves_and_exits_with_0(
    processes: Processes, endpoint: str
) -> None:
    processes.broker(endpoint, *QUICK)
    worker = processes.worker(endpoint, "echo", ECHO, *QUICK, "--idle", "1s")
    assert worker.exit_code() == 0
    assert worker.stderr.index("ready") < worker.stderr.index("no request has come")


def test_a_worker_leaves_before_its_time_and_exits_with_0(
    processes: Processes, endpoint: str
) -> None:
    processes.broker(endpoint, *QUICK)
    worker = processes.worker(endpoint, "echo", ECHO, *QUICK, "--until", "13s")
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "echo", 1)
        assert worker.exit_code() == 0
        wait_for_workers(client, "echo", 0)
        assert client.management("broker")["counters"]["workers_lost"] == 0


def test_a_job_with_too_little_time_is_left_at_once(processes: Processes, endpoint: str) -> None:
    worker = processes.worker(endpoint, "echo", ECHO, *QUICK, "--until", "3s")
    assert worker.exit_code() == 0
    assert "its job ends in" in worker.stderr


@pytest.mark.parametrize(
    "script", ["exec sleep 9", "echo down >&2; exit 1"], ids=["hangs", "fails"]
)
def test_a_squeue_that_hangs_or_fails_does_not_stop_a_worker_from_serving(
    processes: Processes,
    endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
) -> None:
    fake_squeue(tmp_path, script, monkeypatch)
    processes.broker(endpoint, *QUICK)
    worker = processes.worker(endpoint, "echo", ECHO, *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        assert client.request("echo", [b"a"]) == [b"a"]
        [row] = client.management("workers")["workers"]
        assert row["facts"]["job"] == "8812"
        assert row["facts"]["pid"] == worker.pid
        assert row["facts"]["host"] == os.uname().nodename
    worker.send_group(signal.SIGTERM)
    assert worker.exit_code(within_s=5.0) == 0


def test_workers_wait_idly_while_squeue_is_asked_again(
    processes: Processes, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    fake_squeue(tmp_path, f"touch {asked}; exec sleep 9", monkeypatch)
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 35))
    processes.broker(endpoint, *QUICK)
    worker = processes.worker(endpoint, "echo", ECHO, "-n", "3", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "echo", 3)
    until(asked.exists, "squeue is asked")
    began_s = cpu_s(worker.pid)
    time.sleep(3.0)
    assert worker.popen.poll() is None
    assert cpu_s(worker.pid) - began_s < 0.5


def cpu_s(pid: int) -> float:
    """The CPU time of a process, without that of its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_broker_that_moves_is_followed(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    file = tmp_path / "broker.json"
    first = processes.broker(endpoint, *QUICK, "--contact", str(file))
    worker = processes.worker(f"@{file}", "echo", ECHO, *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "echo", 1)
    first.send(signal.SIGTERM)
    first.exit_code()
    elsewhere = f"tcp://127.0.0.1:{free_port()}"
    processes.broker(elsewhere, *QUICK, "--contact", str(file))
    # another broker at the old place: the worker does not join it
    processes.broker(endpoint, *QUICK)
    with Client(elsewhere, QUICK_CLIENT) as client:
        wait_for_workers(client, "echo", 1)
        assert client.request("echo", [b"a"]) == [b"a"]
    with Client(endpoint, QUICK_CLIENT) as client:
        assert client.services() == {}
    assert worker.popen.poll() is None


def test_a_worker_that_stands_by_takes_the_name_when_the_others_have_left(
    processes: Processes, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes.broker(endpoint, *QUICK)
    monkeypatch.setenv(VARIABLE, "weights A")
    old = processes.worker(endpoint, "twin", TWIN, *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "twin", 1)
        monkeypatch.setenv(VARIABLE, "weights B")
        new = processes.worker(endpoint, "twin", TWIN, *QUICK, "--standby")
        new.wait_until_it_says("standing by")
        assert client.request("twin", [b"x"]) == [b"weights A", b"x"]
        old.send(signal.SIGTERM)
        assert old.exit_code() == 0
        new.wait_until_it_says("taken the name")
        wait_for_workers(client, "twin", 1)
        assert client.request("twin", [b"x"]) == [b"weights B", b"x"]
    assert new.stderr.count("standing by") == 1


def test_the_first_line_says_where_the_worker_is(processes: Processes, endpoint: str) -> None:
    worker = processes.worker(endpoint, "echo", ECHO, *QUICK)
    until(lambda: worker.stderr.splitlines(), "it has logged a line")
    first = worker.stderr.splitlines()[0]
    for part in ("echo x1", endpoint, os.uname().nodename, f"pid {worker.pid}", "version"):
        assert part in first
