"""200 events through three pools whose workers are killed: each once, in order, to the bit."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from clients.scoring.job import ScoringJob
from clients.scoring.score import score
from lartpc.crops import chain
from mdp import Client
from services.planes import PLANES, service_name
from tests.support import plane_pools, tiny_networks
from tests.support.processes import QUICK, Process, Processes, kill_a_child, wait_for_workers

EVENTS = 200
KILL_EVERY = 25  # events


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a real network, as large as a test can wait for."""
    folder = tmp_path / "network"
    folder.mkdir()
    tiny_networks.write(folder, weights=tiny_networks.gentle_weights())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def hosts(processes: Processes, endpoint: str, network: Path) -> list[Process]:
    """For each plane a host of two workers, ready."""
    processes.broker(endpoint, *QUICK)
    serve = ("-m", "clients", "worker", "planes", "-n", "2", "--broker", endpoint, *QUICK)
    options = ("--network", str(network), "--threads", "1")
    hosts = [processes.python(*serve, "--planes", str(plane), *options) for plane in PLANES]
    with Client(endpoint) as client:
        for plane in PLANES:
            wait_for_workers(client, service_name(plane), 2)
    return hosts


def test_killed_workers_lose_no_event_and_change_no_score(
    hosts: list[Process], endpoint: str, tmp_path: Path
) -> None:
    events = plane_pools.toys(tmp_path / "in.root", EVENTS)
    calm = ScoringJob(
        inputs=(tmp_path / "in.root",),
        output=tmp_path / "calm.root",
        broker=endpoint,
        mode=chain.Croi(size=64),
        timeout_s=120,
        tries=3,
    )
    score(calm)
    dice = random.Random(4)
    killed = 0

    def kill(done: int, _: int) -> None:
        nonlocal killed
        if done % KILL_EVERY:
            return
        for host in hosts:
            kill_a_child(host, dice)
            killed += 1

    stormy = replace(calm, output=tmp_path / "stormy.root")
    score(stormy, on_progress=kill)
    assert killed >= len(PLANES) * (EVENTS // KILL_EVERY - 1)
    got = plane_pools.read(stormy.output)
    assert [event.rse for event in got] == [event.rse for event in events]
    assert plane_pools.same(got, plane_pools.read(calm.output))
