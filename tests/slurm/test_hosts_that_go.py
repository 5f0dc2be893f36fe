"""Nodes that crash, requeued and preempted jobs: requests and runs of clients go on."""

from __future__ import annotations

import re
from pathlib import Path

from benches.stand_ins import VARIABLE as STAND_IN
from mdp import Client
from services.planes import PLANES, service_name
from tests.slurm import noting
from tests.slurm.noting import TARGET, begun
from tests.slurm.slurm_site import CLIENT, HEARTBEATS, Site
from tests.support import plane_pools
from tests.support.processes import QUICK, Processes, counters, until, wait_for_workers, workers_of

CRASHES = 4  # more than the broker's --max-attempts
EVENTS = 200
CROP_S = 0.25
EXPIRY_S = 2.0
"""The broker's --expiry. A real site has 60 s: 90 s without workers there are 3 s here."""


def test_a_request_whose_host_crashes_four_times_is_answered(site: Site) -> None:
    """Only deaths of children make a request poison; its hosts were lost."""
    address = site.broker()
    file, release = site.folder / "logs" / "notes", site.folder / "logs" / "release"
    variables = {noting.VARIABLE: str(file), "MDP_BROKER": f"@{site.contact}"}
    worker = f"exec mdp worker noting {TARGET} {' '.join(HEARTBEATS)}"
    for node in ("n1", "n2", "n3"):
        site.submit(worker, f"--nodelist={node}", **variables)
    with Client(address, CLIENT) as client:
        answer = client.submit("noting", [b"precious", b"0", str(release).encode()])
        for crashes in range(CRASHES):
            wait_until_begun(file, crashes + 1)
            node = begun(file)[-1].node
            site.crash(node)
            site.boot(node)
        wait_until_begun(file, CRASHES + 1)
        release.touch()
        assert answer.result(100) == [b"suoicerp"]
        counted = counters(client)
    assert (counted["workers_lost"], counted["workers_died"]) == (CRASHES, 0)


def test_a_run_goes_on_over_requeue_preemption_crash_and_no_workers(
    slurm: Site, processes: Processes, endpoint: str
) -> None:
    address = slurm.broker("--expiry", str(EXPIRY_S))
    data, out = slurm.folder / "logs" / "in.root", slurm.folder / "logs" / "out.root"
    plane_pools.toys(data, EVENTS)
    jobs = {plane: pool(slurm, plane) for plane in PLANES}
    with Client(address, CLIENT) as client:
        for plane in PLANES:
            wait_for_workers(client, service_name(plane), 2)
        run = slurm.start(*scoring(data, out, f"@{slurm.contact}"))
        until(lambda: client.services()[service_name(2)]["answered"] > 5, "it is under way")

        slurm.run("scontrol", "requeue", f"{jobs[0]}_0")
        urgent = slurm.submit("sleep 0.1", "--exclusive", "--partition=urgent")
        assert slurm.wait_for_end(urgent) == "COMPLETED"
        until(lambda: list(slurm.jobs().values()) == ["RUNNING"] * 6, "all jobs run again")
        wait_for_workers(client, service_name(1), 2)
        node = slurm.node_of(f"{jobs[1]}_1")
        slurm.crash(node)
        slurm.boot(node)
        slurm.run("scancel", jobs[2])
        until(lambda: workers_of(client, service_name(2)) == 0, "plane 2 has no workers")
        said = "waiting for workers of [^\n]*ssnet-plane2"
        until(lambda: re.search(said, slurm.logs()), "the client says it")
        assert run.poll() is None, "the test was too slow to hurt it"
        pool(slurm, 2)
        assert run.wait(150) == 0
        counted = counters(client)
    ends = [state for plane in PLANES for state in slurm.how_ended(service_name(plane))]
    assert {"PREEMPTED", "NODE_FAIL"} <= set(ends)
    assert counted["workers_lost"] >= 1
    assert counted["workers_died"] == 0
    assert not list(out.parent.glob("*failed*"))

    processes.broker(endpoint, *QUICK)
    plane_pools.start(processes, endpoint)
    calm = out.with_name("calm.root")
    slurm.run(*scoring(data, calm, endpoint))
    assert plane_pools.same(plane_pools.read(calm), plane_pools.read(out))


def wait_until_begun(file: Path, count: int) -> None:
    until(lambda: len(begun(file)) == count, f"the request has begun {count} times")


def scoring(data: Path, out: Path, broker: str) -> list[str]:
    options = ("--mode", "croi", "--size", "64", *HEARTBEATS)
    return ["ssnet", "run", f"{data}", "-o", f"{out}", "--broker", broker, *options]


def pool(site: Site, plane: int) -> str:
    """An array of two jobs with a cheap worker each; two jobs fill a node."""
    service, target = service_name(plane), "benches.stand_ins:StandInWorker"
    return site.submit(
        f"exec mdp worker {service} {target} {' '.join(HEARTBEATS)}",
        "--array=0-1",
        f"--cpus-per-task={site.cpus // 2}",
        f"--job-name={service}",
        **{STAND_IN: f"{plane} {CROP_S}", "MDP_BROKER": f"@{site.contact}"},
    )
