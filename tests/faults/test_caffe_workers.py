"""Workers in real Caffe that are killed, with their clients: each event once, to the bit."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clients.scoring.job import ScoringJob
from clients.scoring.score import score
from lartpc import Event
from lartpc.crops import chain
from mdp import Client
from services.planes import PLANES, service_name
from tests.support import plane_pools, real_caffe, tiny_networks
from tests.support.processes import (
    QUICK,
    Process,
    Processes,
    free_port,
    kill_a_child,
    until,
    wait_for_workers,
)

EVENTS = 40
KILL_EVERY = 10  # events


class Site:
    """A broker, and for each plane a host of one worker."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.processes = processes
        self.folder = folder
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.network = folder / "network"
        self.network.mkdir()
        tiny_networks.write(self.network, weights=tiny_networks.gentle_weights())
        self.events = plane_pools.toys(folder / "in.h5", EVENTS, rois=False)
        processes.broker(self.endpoint, *QUICK)
        self.hosts = {plane: self.start(plane) for plane in PLANES}
        with Client(self.endpoint) as client:
            for plane in PLANES:
                wait_for_workers(client, service_name(plane), 1)
        self.job = ScoringJob(
            inputs=(folder / "in.h5",),
            output=folder / "calm.h5",
            broker=self.endpoint,
            mode=chain.Whole(),
            timeout_s=120,
            tries=3,
        )
        score(self.job)
        self.calm = plane_pools.read(self.job.output)

    def start(self, plane: int) -> Process:
        serve = ("-m", "clients", "worker", "planes", "--planes", str(plane), "--engine", "caffe")
        options = ("--network", str(self.network), "--threads", "1", "--broker", self.endpoint)
        return self.processes.python(*serve, *options, *QUICK)

    def check(self, output: Path) -> None:
        got: list[Event] = plane_pools.read(output)
        assert [event.rse for event in got] == [event.rse for event in self.events]
        assert plane_pools.same(got, self.calm)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, with_keys: None) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch, Processes(folder) as processes:
        real_caffe.require(patch)
        yield Site(processes, folder)


def test_killed_workers_and_hosts_lose_no_event_and_change_no_score(site: Site) -> None:
    dice = random.Random(4)
    killed: list[str] = []

    def kill(done: int, _: int) -> None:
        if done == EVENTS // 2:
            site.hosts[1].send(signal.SIGKILL)
            site.hosts[1].wait_until_nothing_is_left()
            site.hosts[1] = site.start(1)
            killed.append("host")
        elif done % KILL_EVERY == 0:
            for plane in (0, 2):
                kill_a_child(site.hosts[plane], dice)
                killed.append("child")

    stormy = replace(site.job, output=site.folder / "stormy.h5")
    score(stormy, on_progress=kill)
    assert killed.count("host") == 1
    assert killed.count("child") >= 4
    site.check(stormy.output)


def test_a_client_that_is_killed_goes_on(site: Site) -> None:
    output = site.folder / "out.h5"
    files = (str(site.folder / "in.h5"), "-o", str(output), "--broker", site.endpoint)
    options = ("--mode", "whole", "--window", "2", "--checkpoint-seconds", "0")
    command = ("-m", "clients", "run", *files, *options)
    client = site.processes.python(*command)
    parts = site.folder / ".out.h5.parts"
    until(lambda: list(parts.glob("part-*")), "a part is written")
    client.send(signal.SIGKILL)
    assert client.exit_code() == -signal.SIGKILL
    assert not output.exists()
    assert site.processes.python(*command).exit_code(within_s=120) == 0
    site.check(output)
