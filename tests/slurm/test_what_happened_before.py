"""What once ended runs, or was not said, on a batch system: clients, workers and brokers in jobs.

Each test is one thing that happens on every cluster: a plane without workers, a broker that moves,
nodes that go down, a client that is requeued, two users on one login node.
"""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benches.stand_ins import VARIABLE
from mdp import Client, ClientSettings
from mdp.errors import MDPError
from mdp.system import contact
from services.planes import PLANES, service_name
from tests.slurm.slurm_site import Site
from tests.support import plane_pools
from tests.support.commands_of_mdp import mdp
from tests.support.processes import (
    Process,
    Processes,
    counters,
    free_port,
    marked,
    until,
    wait_for_workers,
)

BEAT = ("--heartbeat", "0.5", "--liveness", "4")
OBEDIENT = "tests.faults.handlers:Obedient"
EVENTS = 30
PATIENCE_S = 150.0
"""For what takes seconds; this machine may have much else to do."""
SETTINGS = ClientSettings(timeout_s=120.0, waits=True)
ANOTHER_USER = """
import os, sys
from mdp import BrokerSettings
from mdp.broker.broker_loop import serve_broker
from mdp.system.logs import configure_logging
from mdp.system.process import stop_signal
os.setuid(65534)
configure_logging(verbose=False)
with stop_signal() as stop:
    serve_broker([sys.argv[1]], BrokerSettings(), stop)
"""


class Campaign:
    """A broker on the login node, jobs of workers, and a file to score."""

    def __init__(self, slurm: Site, processes: Processes, folder: Path) -> None:
        self.slurm, self.processes, self.folder = slurm, processes, folder
        self.contact = folder / "broker.json"
        self.input = folder / "in.root"

    @property
    def at(self) -> str:
        return f"@{self.contact}"

    def broker(self, *options: str, bind: str = "tcp://127.0.0.1:0", keys: bool = True) -> Process:
        earlier = self.instance()
        options = ("--keys", *options) if keys else options
        words = ("-m", "mdp", "broker", "--bind", bind, "--contact", str(self.contact), *BEAT)
        process = self.processes.python(*words, *options)
        until(lambda: self.instance() not in ("", earlier), "the broker serves")
        return process

    def instance(self) -> str:
        """The broker in the contact file; empty without one."""
        try:
            return contact.read(self.contact).instance
        except MDPError:
            return ""

    def workers(
        self,
        service: str,
        target: str,
        *options: str,
        broker: str = "",
        prefix: str = "exec",
        **environment: str,
    ) -> str:
        """Submit a job of workers; its log is in its facts, too."""
        log = f"export MDP_LOG={self.slurm.folder}/logs/$SLURM_JOB_ID.log"
        words = ("python -m mdp worker", service, target, "--broker", broker or self.at, *BEAT)
        return self.slurm.submit(f"{log}\n{prefix} {' '.join(words)}", *options, **environment)

    def plane(self, plane: int, *options: str, seconds: float = 0.02) -> str:
        """Submit a job with a worker of a plane that takes so long for a crop."""
        target = "benches.stand_ins:StandInWorker"
        name = service_name(plane)
        return self.workers(name, target, *options, **{VARIABLE: f"{plane} {seconds}"})

    def run_words(self, output: Path, *options: str) -> list[str]:
        if not self.input.exists():
            plane_pools.toys(self.input, EVENTS)
        words = ["-m", "clients", "run", str(self.input), "-o", str(output), "--broker", self.at]
        return [*words, "--size", "64", *BEAT, *options]

    def run(self, output: Path, *options: str) -> Process:
        """Start `ssnet run` on the login node."""
        return self.processes.python(*self.run_words(output, *options))

    def answered(self, service: str) -> int:
        with Client(self.at, SETTINGS) as client:
            return int(client.services().get(service, {}).get("answered", 0))

    def check(self, output: Path) -> None:
        """Check that an output is what an undisturbed run writes, bit by bit."""
        assert not output.with_name(f"{output.name}.failed.json").exists()
        undisturbed = self.folder / "undisturbed.root"
        assert self.run(undisturbed).exit_code(within_s=PATIENCE_S) == 0
        assert plane_pools.same(plane_pools.read(output), plane_pools.read(undisturbed))


@pytest.fixture
def campaign(slurm: Site, processes: Processes, tmp_path: Path) -> Campaign:
    return Campaign(slurm, processes, tmp_path)


def rows(campaign: Campaign) -> list[dict[str, Any]]:
    done = mdp("services", "--by-worker", "--json", "--broker", campaign.at)
    workers: list[dict[str, Any]] = json.loads(done.stdout)["workers"]
    return workers


# Planes without workers.


def test_a_run_outlives_a_plane_without_workers_at_its_start_and_in_its_midst(
    campaign: Campaign,
) -> None:
    """Once, 10 s without workers at the start and 60 s later on (--expiry) ended it."""
    campaign.broker("--expiry", "2")
    for plane in (0, 1):
        campaign.plane(plane)
    output = campaign.folder / "out.root"
    run = campaign.run(output)
    line = f"waiting for workers of {service_name(2)}, 1"  # after 10 s
    run.wait_until_it_says(line, within_s=PATIENCE_S)
    job = campaign.plane(2, seconds=0.3)
    until(lambda: campaign.answered(service_name(2)) >= 5, "plane 2 is served", within_s=PATIENCE_S)
    campaign.slurm.run("scancel", job)
    said = len(run.stderr)
    what = "it says again what it waits for"
    until(lambda: line in run.stderr[said:], what, within_s=PATIENCE_S)
    assert run.popen.poll() is None, run.stderr
    campaign.plane(2)
    assert run.exit_code(within_s=PATIENCE_S) == 0
    campaign.check(output)


# Brokers that are away, and that move.


def test_a_run_without_a_broker_says_so_and_follows_the_next_one(campaign: Campaign) -> None:
    broker = campaign.broker()
    for plane in PLANES:
        campaign.plane(plane, seconds=0.1)
    output = campaign.folder / "out.root"
    run = campaign.run(output)
    until(
        lambda: campaign.answered(service_name(2)) >= 5, "the run is at work", within_s=PATIENCE_S
    )
    address = contact.read(campaign.contact).address
    broker.kill()
    run.wait_until_it_says(
        f"waiting for the broker at {address} ({campaign.at}), 1", within_s=PATIENCE_S
    )
    [line] = [line for line in run.stderr.splitlines() if "waiting for the broker at" in line]
    assert "refuses the connection" in line
    campaign.broker()  # at another port
    assert contact.read(campaign.contact).address != address
    until(lambda: len(rows(campaign)) == 3, "all workers have followed", within_s=15.0)
    assert run.exit_code(within_s=PATIENCE_S) == 0
    campaign.check(output)


def test_workers_and_clients_follow_a_broker_whose_node_crashed(campaign: Campaign) -> None:
    slurm = campaign.slurm
    words = (
        "python -m mdp broker --bind tcp://127.0.0.1:0 --keys --contact",
        str(campaign.contact),
    )
    job = slurm.submit(f"exec {' '.join((*words, *BEAT))}", "--exclusive")
    until(campaign.instance, "the broker's job serves")
    first, node = campaign.instance(), slurm.node_of(job)
    for plane in PLANES:
        campaign.plane(plane, seconds=0.1)
    output = campaign.folder / "out.root"
    run = campaign.run(output)
    until(
        lambda: campaign.answered(service_name(2)) >= 5, "the run is at work", within_s=PATIENCE_S
    )
    slurm.crash(node)
    until(lambda: campaign.instance() != first, "the requeued job serves", within_s=PATIENCE_S)
    assert slurm.node_of(job) != node
    assert run.exit_code(within_s=PATIENCE_S) == 0
    assert "waiting" not in run.stderr or f"({campaign.at})" in run.stderr
    campaign.check(output)


# Nodes that go down.


def test_three_nodes_that_go_down_make_no_request_poison(
    campaign: Campaign, tmp_path: Path
) -> None:
    campaign.broker()
    for _ in range(3):
        campaign.workers("obedient", OBEDIENT, "--exclusive")
    release = tmp_path / "release"
    with Client(campaign.at, SETTINGS) as client:
        wait_for_workers(client, "obedient", 3)
        call = client.submit("obedient", [b"stream_until", os.fsencode(release)])
        for lost in range(3):
            [holder] = until(lambda: busy(campaign), "a worker holds the request")
            node = node_of(campaign, holder["facts"]["job"])
            campaign.slurm.crash(node)
            until_lost(client, lost + 1)
        campaign.slurm.boot(node)
        until(lambda: busy(campaign), "the requeued job holds the request")
        release.touch()
        assert call.result(timeout=30)
        counted = counters(client)
        ended = {name: counted[name] for name in ("workers_died", "workers_lost", "refused")}
        assert ended == {"workers_died": 0, "workers_lost": 3, "refused": 0}


def busy(campaign: Campaign) -> list[dict[str, Any]]:
    return [row for row in rows(campaign) if row["busy_s"] is not None]


def node_of(campaign: Campaign, job: str) -> str:
    return campaign.slurm.run("squeue", "--noheader", "--jobs", job, "--format=%N").strip()


def until_lost(client: Client, count: int) -> None:
    until(lambda: counters(client)["workers_lost"] == count, f"{count} workers are missed")


def test_a_request_that_kills_its_workers_is_poison_on_a_cluster_too(campaign: Campaign) -> None:
    campaign.broker()
    job = campaign.workers("obedient", OBEDIENT)
    with Client(campaign.at, SETTINGS) as client:
        wait_for_workers(client, "obedient", 1)
        call = client.submit("obedient", [b"die", b"abc", b"", b"by SIGABRT"])
        error = str(call.exception(timeout=30))
        assert re.search(rf"3 workers .*died.*--max-attempts.* \(job {job}\)", error)


def test_a_bad_node_ends_its_own_job_and_costs_no_request(campaign: Campaign) -> None:
    campaign.broker()
    bad = campaign.workers("obedient", "tests.faults.handlers:NeverReady", "--nodelist=n1")
    campaign.workers("obedient", OBEDIENT, "--nodelist=n2")
    with Client(campaign.at, SETTINGS) as client:
        calls = [client.submit("obedient", [b"reverse", b"abc"]) for _ in range(100)]
        assert campaign.slurm.wait_for_end(bad) == "FAILED"
        assert all(call.result(timeout=30) == [b"cba"] for call in calls)
        assert counters(client)["requeued"] == 0
    assert "setup() failed 3 times; the last: OSError: there is no network file" in (
        campaign.slurm.log(bad)
    )


# Which worker is which.


def test_a_workers_row_leads_to_its_job_and_its_log(campaign: Campaign) -> None:
    campaign.broker()
    array = campaign.workers("obedient", OBEDIENT, "--array=0-1")
    tasks = campaign.workers("obedient", OBEDIENT, "--ntasks=2", prefix="srun")
    with Client(campaign.at, SETTINGS) as client:
        wait_for_workers(client, "obedient", 4)
    facts = [row["facts"] for row in rows(campaign)]
    seen = sorted((fact["job"], fact["task"]) for fact in facts)
    assert seen == sorted([(f"{array}_0", 0), (f"{array}_1", 0), (tasks, 0), (tasks, 1)])
    for fact in facts:
        assert fact["host"] == os.uname().nodename
        log = Path(fact["log"]).read_text()
        address = contact.read(campaign.contact).address
        [first] = [line for line in log.splitlines() if f"pid {fact['pid']}" in line]
        for words in (address, f"host {fact['host']}", f"job {fact['job']} task {fact['task']}"):
            assert words in first, first
        assert "obedient#1: ready" in log
    table = mdp("services", "--by-worker", "--broker", campaign.at).stdout
    assert f"{array}_1" in table


# Clients in jobs.


def test_a_client_that_is_requeued_goes_on_where_it_was(campaign: Campaign) -> None:
    campaign.broker()
    for plane in PLANES:
        campaign.plane(plane, seconds=0.15)
    output = campaign.folder / "out.root"
    words = campaign.run_words(output, "--checkpoint-seconds", "0")
    job = campaign.slurm.submit(f"exec python {' '.join(words)}")
    until(
        lambda: campaign.answered(service_name(2)) >= 10, "the run is at work", within_s=PATIENCE_S
    )
    campaign.slurm.run("scontrol", "requeue", job)
    assert campaign.slurm.wait_for_end(job, within_s=PATIENCE_S) == "COMPLETED"
    log = campaign.slurm.log(job)
    [resumed] = re.findall(r"resumes after event (\d+) of (\d+)", log)
    assert 0 < int(resumed[0]) < int(resumed[1]) == EVENTS
    campaign.check(output)


# Two users on one login node.


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a broker of another user")
def test_workers_do_not_join_the_broker_of_another_user_that_has_the_port(
    campaign: Campaign,
) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    mine = campaign.broker(bind=address, keys=False)
    job = campaign.workers("obedient", OBEDIENT)
    with Client(campaign.at, SETTINGS) as client:
        wait_for_workers(client, "obedient", 1)
    mine.kill()
    campaign.processes.python("-c", ANOTHER_USER, address)
    other = Client(address, replace(SETTINGS, waits=False))
    with other:
        until(lambda: job_says(campaign, job, "nobody"), "the worker says whose broker it is")
        assert other.services().get("obedient", {}).get("workers", 0) == 0
        assert counters(other)["workers_died"] == counters(other)["workers_lost"] == 0
        campaign.broker(keys=False)  # mine is back, at another port
        with Client(campaign.at, SETTINGS) as client:
            wait_for_workers(client, "obedient", 1)
        assert other.services().get("obedient", {}).get("workers", 0) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a broker of another user")
def test_a_worker_at_the_port_of_another_user_says_so(campaign: Campaign) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    campaign.processes.python("-c", ANOTHER_USER, address)
    job = campaign.workers("obedient", OBEDIENT, broker=address)
    until(lambda: job_says(campaign, job, "nobody"), "the worker says whose broker it is")
    [line] = [line for line in campaign.slurm.log(job).splitlines() if "nobody" in line]
    for words in (contact.user_name(), address, "--broker @FILE"):
        assert words in line, line


def job_says(campaign: Campaign, job: str, text: str) -> bool:
    return text in campaign.slurm.log(job)


# What ends, ends.


def test_cancelled_jobs_leave_nothing_on_their_nodes(campaign: Campaign) -> None:
    campaign.broker()
    job = campaign.workers("obedient", OBEDIENT, MARKED_AS="a worker of this test")
    with Client(campaign.at, SETTINGS) as client:
        wait_for_workers(client, "obedient", 1)
        campaign.slurm.run("scancel", job)
        wait_for_workers(client, "obedient", 0)
        counted = counters(client)
        assert (counted["workers_died"], counted["workers_lost"]) == (0, 0)
    until(lambda: not marked("MARKED_AS", "a worker of this test"), "nothing is left")


def test_a_broker_that_is_stopped_leaves_workers_that_wait_for_the_next(
    campaign: Campaign,
) -> None:
    broker = campaign.broker()
    job = campaign.workers("obedient", OBEDIENT)
    with Client(campaign.at, SETTINGS) as client:
        wait_for_workers(client, "obedient", 1)
    broker.send(signal.SIGTERM)
    assert broker.exit_code() == 0
    assert not campaign.contact.exists()
    campaign.broker()
    with Client(campaign.at, SETTINGS) as client:
        wait_for_workers(client, "obedient", 1)
        assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]
    assert campaign.slurm.jobs()[job] == "RUNNING"
