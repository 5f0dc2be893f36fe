"""The suite's own harm: handlers that hang, files that cannot be opened, peers let loose."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from benches import stand_ins
from lartpc import unpack
from mdp import Client
from services.planes import DESCRIBE, service_name
from tests.faults import rogues, slow_workers
from tests.faults.supervision import Missed, starve
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Process,
    Processes,
    children,
    held,
    until,
    wait_for_workers,
)

SERVICE = service_name(1)
OPENS_FILES = """
import os, sys, time
print("begins", file=sys.stderr, flush=True)
while True:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        print(error.strerror, file=sys.stderr, flush=True)
    time.sleep(0.01)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "brakes"
    path.mkdir()
    return path


def serve(
    processes: Processes,
    endpoint: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *options: str,
) -> Process:
    monkeypatch.setenv(stand_ins.VARIABLE, "1 0.02")
    monkeypatch.setenv(slow_workers.VARIABLE, str(folder))
    processes.broker(endpoint, *QUICK, *options)
    target = "tests.faults.slow_workers:Worker"
    host = processes.worker(endpoint, SERVICE, target, "-n", "2", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, SERVICE, 2)
    return host


def test_a_process_hangs_at_its_next_crop_and_the_crop_is_answered_by_another(
    processes: Processes, endpoint: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = serve(processes, endpoint, folder, monkeypatch, "--time-limit", f"{SERVICE}=1")
    victim = min(children(host))
    slow_workers.snare(folder, victim).touch()
    assert slow_workers.hung(folder) == set()
    with Client(endpoint, QUICK_CLIENT) as client:
        answers = [client.submit(SERVICE, rogues.crop(1)) for _ in range(8)]
        until(lambda: slow_workers.hung(folder) == {victim}, "it hangs")
        scores = [unpack(answer.result())[0].array.tobytes() for answer in answers]
        assert len(set(scores)) == 1
    until(lambda: victim not in host.alive(), "it is killed")


def test_a_client_with_a_full_window_leaves_nothing_behind(
    processes: Processes, endpoint: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(processes, endpoint, folder, monkeypatch)
    rogue = processes.python("-m", "tests.faults.rogues", "full-window", endpoint, SERVICE)
    with Client(endpoint, QUICK_CLIENT) as client:
        until(lambda: held(client, SERVICE) > 50, "its window is full")
        rogue.send(signal.SIGKILL)
        until(lambda: held(client, SERVICE) == 0, "nothing of it is left", within_s=5.0)


def test_a_flood_is_served_and_others_beside_it(
    processes: Processes, endpoint: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(processes, endpoint, folder, monkeypatch)
    rogue = processes.python("-m", "tests.faults.rogues", "flood", endpoint, SERVICE)
    with Client(endpoint, QUICK_CLIENT) as client:
        until(lambda: "flooded 49" in client.services(), "it joins as other services")
        assert client.request(SERVICE, [DESCRIBE], tries=1, timeout_s=20.0)
        rogue.kill()
        until(lambda: held(client, SERVICE) == 0, "nothing of it is left")


def test_a_process_may_open_no_file_until_it_is_mended(processes: Processes) -> None:
    process = processes.python("-c", OPENS_FILES)
    process.wait_until_it_says("begins")
    earlier = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    feed = starve(process.pid)
    process.wait_until_it_says(os.strerror(24))
    feed()
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == earlier
    process.kill()
    feed()
    with pytest.raises(Missed):
        starve(process.pid)
