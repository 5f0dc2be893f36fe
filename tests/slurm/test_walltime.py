"""Jobs of one minute that come to their end: their workers finish what they hold, and leave.

All of it takes place in the same two minutes, once; each test looks at a part of it.
"""

from __future__ import annotations

import math
import random
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import pytest

from mdp import Client
from mdp.pool.pool_folder import PoolFolder
from services.planes import PLANES
from tests.slurm import soak
from tests.slurm.noting import TARGET, VARIABLE, begun, ended
from tests.slurm.slurm_site import CLIENT, HEARTBEATS, Site
from tests.slurm.soak import WANT, Soak
from tests.support.processes import counters, until

REQUEST_S = 2.0
WINDOW = 12
START_S, RUN_S = 150.0, 250.0
POOL_S = 130.0
WORKER = f"mdp worker noting {TARGET} {' '.join(HEARTBEATS)}"
KEEPS_ON = f"{WORKER} --until none"
SCRIPTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "srun": (f"srun {KEEPS_ON}", ()),
    "plain": (f"{KEEPS_ON}\necho code $?", ()),
    "exec": (f"exec {KEEPS_ON}", ()),
    "USR1": (f"exec {KEEPS_ON}", ("--signal=B:USR1@10",)),
    "B:TERM": (
        f"{KEEPS_ON} & pid=$!\ntrap 'kill -TERM $pid' TERM\nwait $pid\nwait $pid\necho code $?",
        ("--signal=B:TERM@10",),
    ),
}
"""What sites teach, with workers that do not know their walltime."""
KNOW = dict.fromkeys(("known", "extended"), (f"exec {WORKER}", ()))
"""Workers that know it; that of the second job is moved while it runs."""


class Load:
    """So many requests in flight, as long as it is asked for more."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._open: deque[tuple[bytes, Future[list[bytes]]]] = deque()
        self._count = 0

    def while_not(self, is_over: Callable[[], bool]) -> Callable[[], bool]:
        """A condition that goes on asking when it is looked at."""

        def condition() -> bool:
            self._go_on()
            return is_over()

        return condition

    def _go_on(self) -> None:
        self.check_answers()
        while len(self._open) < WINDOW:
            text = b"request%d" % self._count
            future = self._client.submit("noting", [text, b"%g" % REQUEST_S])
            self._open.append((text, future))
            self._count += 1

    def check_answers(self) -> int:
        """How many are open."""
        for text, future in list(self._open):
            if future.done():
                assert future.result() == [text[::-1]]
                self._open.remove((text, future))
        return len(self._open)


@dataclass
class Minutes:
    """What happened in the minutes in which all jobs of this file came to their ends."""

    slurm: Site
    file: Path
    """The notes of the workers."""
    jobs: dict[str, str]
    """By the name of the script; and one that knows its walltime, and one that is extended."""
    counted: dict[str, int]
    """By the broker of these jobs."""
    pool: Soak


@pytest.fixture(scope="module")
def minutes(site_of_session: Site, site_of_ordinary_user: Site) -> Iterator[Minutes]:
    """Two minutes for jobs of one minute and, meanwhile, for an ordinary user's pool of such."""
    slurm, site = site_of_session, site_of_ordinary_user
    pool = Soak(
        *(site, PoolFolder(site.folder / "calm"), 200, random.Random(0)),
        adapt=None,
        walltime_s=60.0,
        max_submitted=math.inf,  # a job of one minute has a useful life of about half of it
    )
    soak.make_input(pool)
    file = slurm.folder / "logs" / "notes"
    address = slurm.broker()
    variables = {VARIABLE: str(file), "MDP_BROKER": f"@{slurm.contact}"}
    try:
        soak.start_pool(pool)
        pooled = threading.Thread(target=pool.run, args=(POOL_S, math.inf))
        pooled.start()
        jobs = {
            name: slurm.submit(script, "--time=1", *options, **variables)
            for name, (script, options) in (SCRIPTS | KNOW).items()
        }
        with Client(address, CLIENT) as client:
            drive(slurm, client, file, jobs, variables)
            counted = counters(client)
        pooled.join()
        soak.stop_pool(pool)
        yield Minutes(slurm, file, jobs, counted, pool)
    finally:
        pool.is_over.set()
        slurm.clean()
        site.clean()


def drive(
    slurm: Site, client: Client, file: Path, jobs: dict[str, str], variables: dict[str, str]
) -> None:
    """Keep the jobs under load until they have ended, then have the rest answered."""

    def are_over() -> bool:
        return not set(jobs.values()) & set(slurm.jobs())

    load = Load(client)
    all_work = load.while_not(lambda: {note.job for note in begun(file)} == set(jobs.values()))
    until(all_work, "all jobs work", within_s=START_S)
    slurm.run("scontrol", "update", f"jobid={jobs['extended']}", "timelimit=2")
    until(load.while_not(are_over), "all jobs have ended", within_s=RUN_S)
    slurm.start(*WORKER.split(), **variables)
    until(lambda: not load.check_answers(), "the rest is answered", within_s=START_S)


@pytest.mark.timeout(500)
def test_no_request_is_lost_or_begun_twice_at_the_end_of_a_job(minutes: Minutes) -> None:
    counted = minutes.counted
    assert counted["requeued"] == counted["workers_lost"] == counted["workers_died"] == 0
    texts = [note.text for note in ended(minutes.file)]
    assert len(texts) == len(set(texts)) == len(begun(minutes.file))


@pytest.mark.timeout(500)
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_job_drains_however_its_script_starts_the_worker(minutes: Minutes, name: str) -> None:
    job = minutes.jobs[name]
    assert [note for note in ended(minutes.file) if note.job == job]
    log = minutes.slurm.log(job)
    assert "leaving" in log
    assert re.search("code [1-9]", log) is None


@pytest.mark.timeout(500)
@pytest.mark.parametrize(("name", "limit_s"), [("known", 60.0), ("extended", 120.0)])
def test_a_worker_leaves_before_the_end_of_its_job_also_if_that_is_moved(
    minutes: Minutes, name: str, limit_s: float
) -> None:
    slurm, job = minutes.slurm, minutes.jobs[name]
    assert slurm.how_ended(job) == ["COMPLETED"]
    began_at = [note.began_at for note in begun(minutes.file) if note.job == job]
    assert max(began_at) + REQUEST_S < slurm.started_at(job) + limit_s
    assert max(began_at) - slurm.started_at(job) > limit_s / 2


@pytest.mark.timeout(500)
def test_a_pool_has_no_gap_at_the_ends_of_its_jobs(minutes: Minutes) -> None:
    pool = minutes.pool
    pool.check()
    assert pool.complaints == []
    assert pool.rounds >= 1
    assert pool.requeued == 0
    jobs = [end for end in pool.site.ends() if end.name.startswith("calm.")]
    assert len(jobs) > 2 * len(PLANES) * WANT, "its jobs have come to their ends"
