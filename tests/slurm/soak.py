"""Keeps a pool on a real Slurm under load while nodes, jobs, controller and broker go away.

`python -m tests.slurm.soak --minutes 20 --seed 1`. The jobs of the pool have two minutes, and their
number follows the load. Every two minutes one fault comes: a node crashes, a job is requeued or
preempted, the controller stops, or the broker moves. Meanwhile runs of the production client
follow each other. Exit code 0 if

- every output is equal to the bit to that of an undisturbed run;
- no plane was without ready workers for more than 5 s, but for the outages that were made;
- not more than 1.5 times the jobs were submitted that were needed;
- no worker was killed but by a crash of its node;
- `pool stop` leaves nothing in the queue.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benches.stand_ins import VARIABLE as STAND_IN
from mdp import Client
from mdp.pool.launcher import Resources
from mdp.pool.pool_folder import PoolFolder
from mdp.pool.pool_settings import Kind, PoolSettings
from mdp.system import contact
from mdp.system.broker_report import broker_report, broker_reports
from services.planes import PLANES, service_name
from tests.slurm.gaps import Outage, gaps, jobs_needed
from tests.slurm.slurm_site import Site
from tests.support import plane_pools, tether
from tests.support.processes import Processes, free_port, until, wait_for_workers

WANT, MOST = 2, 4  # workers of each plane
CROP_S = 0.4
LOOK_S = 0.5
MAX_GAP_S = 5.0
MAX_SUBMITTED = 1.5  # of what is needed
NODE_IS_DOWN_S = 20.0
CONTROLLER_IS_DOWN_S = 40.0
RECOVERY_S = 45.0
"""After a fault is mended: a requeued job waits 5 s, and Slurm looks at a lost node each 10 s."""
END_S = 300.0


@dataclass
class Sample:
    """How many workers of each plane were ready at a time; nobody knows if no broker answered."""

    at: float
    ready: dict[int, int]
    want: dict[str, int] | None
    """What the keeper aims at, by service."""


@dataclass
class Soak:
    """One run."""

    site: Site
    pool: PoolFolder
    events: int
    dice: random.Random
    adapt: tuple[int, int] | None = (WANT, MOST)
    walltime_s: float = 120.0
    max_submitted: float = MAX_SUBMITTED
    samples: list[Sample] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    rounds: int = 0
    requeued: int = 0
    """By the broker, when the pool was stopped."""
    is_over: threading.Event = field(default_factory=threading.Event)

    @property
    def input(self) -> Path:
        return self.site.folder / "in.root"

    @property
    def calm(self) -> Path:
        return self.site.folder / "calm.root"

    def run(self, seconds: float, every_s: float) -> None:
        threads = [threading.Thread(target=self._guarded, args=(what,)) for what in self._tasks()]
        for thread in threads:
            thread.start()
        end_at = time.monotonic() + seconds
        try:
            faults = self._faults()
            while time.monotonic() + every_s < end_at and not self.is_over.wait(every_s):
                name, fault = next(faults)
                self._say(f"fault: {name}")
                began_at = time.time()
                fault()
                self.outages.append(Outage(name, began_at, time.time() + RECOVERY_S))
            self.is_over.wait(max(0.0, end_at - time.monotonic()))
        finally:
            self.is_over.set()
            for thread in threads:
                thread.join(END_S)

    def _tasks(self) -> list[Callable[[], None]]:
        return [self._watch, self._score]

    def _guarded(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            self.complain(f"{type(error).__name__}: {error}")
            self.is_over.set()

    def complain(self, text: str) -> None:
        self.complaints.append(text)
        self._say(f"!!! {text}")

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    # The load.

    def _score(self) -> None:
        """Score the same file again and again, until it is over."""
        while not self.is_over.is_set():
            out = self.site.folder / "out.root"
            began_at = time.monotonic()
            run = subprocess.run(
                scoring(self.input, out, "--pool", str(self.pool.path)),
                env=self.site.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            self.rounds += 1
            self._say(f"round {self.rounds}: {time.monotonic() - began_at:.0f} s")
            if run.returncode:
                self.complain(f"round {self.rounds}: code {run.returncode}\n{run.stderr}")
            elif not plane_pools.same(plane_pools.read(out), plane_pools.read(self.calm)):
                self.complain(f"round {self.rounds}: the output differs")
            for path in self.site.folder.glob("*out.root*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    # What is seen.

    def _watch(self) -> None:
        while not self.is_over.wait(LOOK_S):
            self.samples.append(Sample(time.time(), self._ready(), self.pool.keeper().want))

    def _ready(self) -> dict[int, int]:
        reports = None
        with contextlib.suppress(contact.NoContact):
            broker = contact.read(self.pool.contact_file)
            reports = broker_reports(broker.address, [b"mmi.services"], broker.keys, timeout_s=2.0)
        rows = reports[0] if reports else {}
        none = {"workers": 0, "retired": 0}
        counted = {plane: rows.get(service_name(plane), none) for plane in PLANES}
        return {plane: row["workers"] - row["retired"] for plane, row in counted.items()}

    # What is done to it.

    def _faults(self) -> Iterator[tuple[str, Callable[[], None]]]:
        kinds = {
            "crash of a node": self._crash,
            "a job is requeued": self._requeue,
            "jobs are preempted": self._preempt,
            "the controller stops": self._stop_controller,
            "the broker moves": self._move_broker,
        }
        while True:  # each of them once before any comes again
            for name in self.dice.sample(sorted(kinds), k=len(kinds)):
                yield name, kinds[name]

    def _running(self) -> list[list[str]]:
        rows = self.site.squeue("%i %T %N")
        return [row for row in rows if row[1] == "RUNNING"]

    def _crash(self) -> None:
        node = self.dice.choice(sorted({row[2] for row in self._running()}))
        self.site.crash(node, noticed=False)
        self.is_over.wait(NODE_IS_DOWN_S)
        self.site.boot(node)

    def _requeue(self) -> None:
        self.site.run("scontrol", "requeue", self.dice.choice(self._running())[0])

    def _preempt(self) -> None:
        node = self.dice.choice(sorted({row[2] for row in self._running()}))
        options = ("--exclusive", "--partition=urgent", f"--nodelist={node}", "--job-name=urgent")
        self.site.wait_for_end(self.site.submit("sleep 1", *options), within_s=90.0)

    def _stop_controller(self) -> None:
        self.site.do("controller", "stop")
        self.is_over.wait(CONTROLLER_IS_DOWN_S)
        self.site.do("controller", "start")

    def _move_broker(self) -> None:
        before = contact.read(self.pool.contact_file)
        file = str(self.pool.contact_file)
        bind = ("--bind", "tcp://0.0.0.0:0", "--public")
        self.site.start("mdp", "broker", "--supervise", "--contact", file, "--take-over", *bind)
        until(lambda: contact.read(self.pool.contact_file) != before, "another broker has it")

    # What is expected of it.

    def check(self) -> None:
        """Complain of gaps, of jobs that were not needed, and of workers that were killed."""
        for plane in PLANES:
            ready = [(sample.at, sample.ready[plane]) for sample in self.samples]
            for gap in gaps(ready, self.outages, longest_s=MAX_GAP_S):
                self.complain(f"plane {plane} had no ready workers for {gap.seconds:.1f} s")
        ends = self.site.ends()
        mine = [end for end in ends if end.name.startswith(f"{self.pool.name}.")]
        submitted = len({end.job for end in mine})
        usual = {service_name(plane): WANT for plane in PLANES}
        wanted = [(sample.at, sum((sample.want or usual).values())) for sample in self.samples]
        needed = jobs_needed(wanted, walltime_s=self.walltime_s)
        print(f"{submitted} jobs submitted, {needed:.1f} needed: {submitted / needed:.2f} times")
        if submitted > self.max_submitted * needed:
            self.complain("too many jobs were submitted")
        print("ends:", dict(Counter(end.state for end in mine)))
        bad = [end for end in mine if end.state in ("TIMEOUT", "FAILED")]
        # a controller that was away calls a job that ended meanwhile TIMEOUT
        if bad := [end for end in bad if not self._was_outage(end.at)]:
            self.complain(f"jobs that were killed, or failed: {bad}")
        logs = [path.read_text(errors="replace") for path in self.pool.job_logs().values()]
        lives = sum(log.count(" started ") for log in logs)
        ended = sum(log.count(" ended with code ") for log in logs)
        crashed = sum(end.state == "NODE_FAIL" for end in mine)
        print(f"{lives} lives of jobs, {ended} ended by themselves, {crashed} crashed")
        if lives > ended + crashed:
            self.complain(f"{lives - ended - crashed} jobs were killed")

    def _was_outage(self, at: float) -> bool:
        return any(outage.began_at <= at <= outage.recovered_at for outage in self.outages)


def scoring(data: Path, out: Path, *broker: str) -> list[str]:
    options = ("--mode", "croi", "--size", "64", "--quiet")
    return [sys.executable, "-m", "clients", "run", str(data), "-o", str(out), *options, *broker]


def make_input(soak: Soak) -> None:
    """Write the events, and what an undisturbed run makes of them."""
    plane_pools.toys(soak.input, soak.events)
    with Processes(soak.site.folder) as processes:
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        processes.broker(endpoint)
        for plane in PLANES:
            # what is started now inherits it
            with variable(STAND_IN, f"{plane} 0"):
                target = "benches.stand_ins:StandInWorker"
                processes.worker(endpoint, service_name(plane), target)
        with Client(endpoint) as client:
            for plane in PLANES:
                wait_for_workers(client, service_name(plane), 1)
        subprocess.run(scoring(soak.input, soak.calm, "--broker", endpoint), check=True)


@contextlib.contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    yield
    del os.environ[name]


def start_pool(soak: Soak) -> None:
    """Start a pool of cheap workers: a crop takes them a time, and no computing."""
    kinds = [
        Kind(
            f"plane{plane}",
            {service_name(plane): 1},
            ("mdp", "worker", service_name(plane), "benches.stand_ins:StandInWorker"),
        )
        for plane in PLANES
    ]
    settings = PoolSettings(
        kinds=tuple(kinds),
        want={service_name(plane): WANT for plane in PLANES},
        adapt=soak.adapt,
        idle_s=60.0,
        setup=(f'export {STAND_IN}="${{SLURM_JOB_NAME##*plane}} {CROP_S}"',),
        python=sys.executable,
        directory=str(Path(__file__).resolve().parents[2]),
        resources=Resources(time_s=soak.walltime_s, cpus=1, mem="100M"),
    )
    soak.pool.create()
    soak.pool.write_settings(settings)
    soak.site.give(soak.pool.path)
    print(soak.site.run("ssnet", "pool", "start", str(soak.pool.path)))

    def is_ready() -> bool:
        return all(soak._ready().values())

    until(is_ready, "each plane has a worker", within_s=90.0)


def stop_pool(soak: Soak) -> None:
    broker = contact.read(soak.pool.contact_file)
    report = broker_report(broker.address, broker.keys)
    soak.requeued = report["counters"]["requeued"] if report else 0
    print(soak.site.run("ssnet", "pool", "stop", str(soak.pool.path), within_s=180.0))
    if rows := [row for row in soak.site.squeue("%i %T %j") if row[2].startswith(soak.pool.name)]:
        soak.complain(f"left in the queue: {rows}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=float, default=120.0, help="seconds between two faults")
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="folder for the logs")
    asked = parser.parse_args()
    tether.hold()
    with Site(nodes=4, cpus=4) as site:
        pool = PoolFolder(site.folder / "july")
        soak = Soak(site, pool, asked.events, random.Random(asked.seed))
        try:
            make_input(soak)
            start_pool(soak)
            soak.run(asked.minutes * 60.0, asked.every)
            stop_pool(soak)
            soak.check()
        finally:
            if asked.keep:
                shutil.copytree(pool.path, asked.keep / "pool", dirs_exist_ok=True)
                shutil.copytree(site.folder / "log", asked.keep / "log", dirs_exist_ok=True)
                samples = [vars(sample) for sample in soak.samples]
                (asked.keep / "samples.json").write_text(json.dumps(samples))
    print(f"{soak.rounds} rounds, {len(soak.outages)} faults, {len(soak.complaints)} complaints")
    for text in soak.complaints:
        print(f"!!! {text}")
    sys.exit(1 if soak.complaints else 0)


if __name__ == "__main__":
    main()
