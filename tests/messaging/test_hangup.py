"""SIGHUP, which a closed terminal sends, drains as SIGTERM does, unless nohup has it ignored."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from mdp import Client
from tests.faults.notes import holder
from tests.support.processes import QUICK, QUICK_CLIENT, Processes, until, wait_for_workers

OBEDIENT = "tests.faults.handlers:Obedient"
NOHUP = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize("who", ["broker", "worker"])
def test_a_hung_up_process_finishes_what_is_in_flight(
    processes: Processes, endpoint: str, tmp_path: Path, who: str
) -> None:
    note, release = tmp_path / "note", tmp_path / "release"
    broker = processes.broker(endpoint, *QUICK)
    worker = processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
    hung_up = {"broker": broker, "worker": worker}[who]
    with Client(endpoint, QUICK_CLIENT) as client:
        future = client.submit("obedient", [b"wait_for", b"abc", bytes(note), bytes(release)])
        holder(note)
        hung_up.send(signal.SIGHUP)
        with pytest.raises(AssertionError):
            hung_up.exit_code(within_s=0.5)
        release.touch()
        assert future.result() == [b"cba"]
        assert hung_up.exit_code() == 0


def test_a_process_under_nohup_goes_on(processes: Processes, endpoint: str) -> None:
    broker = processes.python("-c", NOHUP, "-m", "mdp", "broker", "--bind", endpoint, *QUICK)
    obedient = ("-m", "mdp", "worker", "obedient", OBEDIENT, "--broker", endpoint)
    worker = processes.python("-c", NOHUP, *obedient, *QUICK)
    until(lambda: "serving" in broker.stderr, "the broker serves")
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 1)
        for process in (broker, worker):
            process.send(signal.SIGHUP)
        with pytest.raises(AssertionError):
            broker.exit_code(within_s=0.5)
        assert worker.popen.poll() is None
        assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]
