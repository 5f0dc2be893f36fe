"""`mdp pool` on a real Slurm: start, stop, scale, and what goes wrong on clusters."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdp import Client, ClientSettings
from mdp.pool.pool_folder import PoolFolder
from mdp.sockets import new_key_pair
from mdp.sockets.addresses import ClientKeys
from mdp.system import contact
from mdp.system.broker_report import broker_reports, is_alive
from tests.slurm.noting import TARGET, VARIABLE, begun, ended
from tests.slurm.slurm_site import Site
from tests.support.processes import until

pytestmark = pytest.mark.slow

LIST_S = 10.0  # a keeper sees its jobs at most this late
WAITING = ClientSettings(timeout_s=200.0, waits=True)
ECHO = ("echo", "mdp.echo:Echo", "--time", "10m", "--mem", "100M")
NOTING = ("noting", TARGET, "--time", "10m", "--mem", "100M")


class Pool:
    """A pool of a test: its folder, and its commands as a user types them."""

    def __init__(self, site: Site, name: str = "july") -> None:
        self.site = site
        self.folder = PoolFolder(site.folder / "logs" / name)
        self.name = str(self.folder.path)

    def start(self, *words: str, **environment: str) -> str:
        return self.site.run(
            "mdp", "pool", "start", self.name, *words, within_s=120.0, environment=environment
        )

    def refused(self, verb: str, *words: str) -> str:
        """The one line of a command that fails with code 1."""
        done = subprocess.run(
            [*self.site.prefix, "mdp", "pool", verb, self.name, *words],
            env=self.site.environment,
            capture_output=True,
            text=True,
            timeout=120.0,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        [line] = done.stderr.splitlines()
        assert line.startswith("mdp: ")
        return line

    def report(self, verb: str, *words: str) -> str:
        """What `status`, `logs` or `doctor` prints, whatever its code."""
        return subprocess.run(
            [*self.site.prefix, "mdp", "pool", verb, self.name, *words],
            env=self.site.environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=120.0,
        ).stdout

    def stop(self, *words: str) -> str:
        return self.site.run("mdp", "pool", "stop", self.name, *words, within_s=180.0)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.folder.history() if event["event"] == name]

    def wait_for(self, name: str, count: int, *, within_s: float = 150.0) -> list[dict[str, Any]]:
        what = f"{count} events {name!r} are in the history of {self.folder.name}"
        until(lambda: len(self.events(name)) >= count, what, within_s=within_s)
        return self.events(name)

    def submitted(self) -> int:
        return sum(int(event["count"]) for event in self.events("submitted"))

    def jobs(self) -> dict[str, str]:
        """The states of its queued and running jobs."""
        rows = self.site.squeue("%i %T %j")
        prefix = f"{self.folder.name}."
        return {job: state for job, state, name in rows if name.startswith(prefix)}

    def ready(self, service: str) -> int:
        with contextlib.suppress(contact.NoContact):
            broker = contact.read(self.folder.contact_file)
            reports = broker_reports(broker.address, [b"mmi.services"], broker.keys)
            if reports:
                report = reports[0].get(service, {})
                return int(report.get("workers", 0) - report.get("retired", 0))
        return 0

    def client(self) -> Client:
        return Client(f"@{self.folder.contact_file}", settings=WAITING)

    def processes(self) -> list[int]:
        """What runs for this pool on this machine: its keeper, broker, workers."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.fsencode(self.name) in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found


@pytest.fixture
def pool(slurm: Site) -> Iterator[Pool]:
    one = Pool(slurm)
    yield one
    if one.folder.exists:
        print(one.folder.history_file.read_text())
        one.stop("--now")


def test_a_pool_works_and_leaves_nothing(pool: Pool) -> None:
    output = pool.start(*ECHO, "-n", "3")
    assert "array" in output
    assert len(pool.jobs()) == 3
    with pool.client() as client:
        assert client.submit("echo", [b"x"]).result() == [b"x"]
    assert "runs already" in pool.start()
    assert pool.submitted() == 3
    pool.stop()
    assert pool.jobs() == {}
    assert pool.processes() == []
    pool.stop()
    assert len(pool.site.how_ended("july.workers")) == 3
    assert set(pool.site.how_ended("july.workers")) == {"COMPLETED"}


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("--partition", "nope"), "--partition"),
        (("--mem", "900G"), "--mem"),
        (("--gpus", "99"), "--gpus"),
        (("--sbatch", "--foo"), "--sbatch"),
    ],
)
def test_what_slurm_refuses_is_one_line_with_the_option_and_leaves_nothing(
    pool: Pool, words: tuple[str, str], option: str
) -> None:
    assert option in pool.refused("start", "echo", "mdp.echo:Echo", *words)
    assert not pool.folder.path.exists()
    assert pool.processes() == []


def test_a_job_that_would_pend_for_ever_is_named_at_once(pool: Pool) -> None:
    line = pool.refused("start", "echo", "mdp.echo:Echo", "--partition", "short", "--time", "10m")
    assert "PartitionTimeLimit" in line
    assert "--time" in line
    pool.stop()
    assert pool.jobs() == {}


def test_a_second_pool_of_the_name_is_refused_with_where_the_first_is(pool: Pool) -> None:
    pool.start(*ECHO)
    second = Pool(pool.site, "elsewhere/july")
    second.folder.path.parent.mkdir()
    assert pool.name in second.refused("start", *ECHO)
    assert not second.folder.path.exists()


@pytest.mark.timeout(400)
def test_start_that_is_killed_at_any_moment_goes_on_when_it_is_run_again(slurm: Site) -> None:
    moments = random.Random(7)
    for number in range(4):
        pool = Pool(slurm, f"kill{number}")
        process = slurm.start("mdp", "pool", "start", pool.name, *ECHO, "-n", "2")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.3, 3.0))
        process.kill()
        process.wait()
        pool.start(*ECHO, "-n", "2")
        until(lambda pool=pool: pool.ready("echo") == 2, "its two workers are ready")  # type: ignore[misc]
        assert len(pool.jobs()) == 2
        pool.stop()
        assert pool.jobs() == {}
        assert pool.processes() == []


def test_stop_drains_what_runs_and_cancels_what_waits(pool: Pool, tmp_path: Path) -> None:
    file, release = pool.site.folder / "logs" / "notes", pool.site.folder / "logs" / "release"
    hold = ("--cpus", str(pool.site.cpus), "-n", "5")  # more jobs than nodes: two wait
    pool.start(*NOTING, *hold, **{VARIABLE: str(file)})
    with pool.client() as client:
        held = client.submit("noting", [b"held", b"0", os.fsencode(release)])
        until(lambda: begun(file), "a worker holds the request")
        stopping = pool.site.start("mdp", "pool", "stop", pool.name)
        until(lambda: set(pool.jobs().values()) == {"RUNNING"}, "no job is queued")
        until(lambda: pool.events("drained"), "the running ones drain")
        stopping.send_signal(signal.SIGINT)
        assert stopping.wait(30) == 130
        release.touch()
        assert held.result(60) == [b"dleh"]
    pool.stop()
    assert pool.jobs() == {}
    assert len(ended(file)) == 1
    assert "TIMEOUT" not in pool.site.how_ended("july.workers")
    assert pool.processes() == []


def test_jobs_that_fail_quickly_are_not_submitted_for_ever(pool: Pool) -> None:
    pool.start(*ECHO, "-n", "2", "--setup", "echo no module x; exit 1")
    [paused] = pool.wait_for("paused", 1, within_s=150.0)
    assert "no module x" in "\n".join(paused["log"])
    assert pool.submitted() <= 4
    count = pool.submitted()
    time.sleep(2 * LIST_S)
    assert pool.submitted() == count
    assert pool.folder.keeper().paused


def test_preempted_jobs_are_no_bad_ones(pool: Pool) -> None:
    pool.start(*ECHO, "-n", "1")
    for preemption in range(2):
        until(lambda: pool.ready("echo") == 1, "the worker is ready", within_s=150.0)
        words = [f"--cpus-per-task={pool.site.cpus}", "--mem=100", "--nodes=1"]
        urgent = pool.site.run(
            *("sbatch", "--parsable", "--partition=urgent", "--array=0-2", *words),
            *("--output=/dev/null", "--wrap", "sleep 12"),  # longer than the grace of 5 s
        ).strip()
        pool.site.wait_for_end(urgent)
        pool.wait_for("requeued", preemption + 1)
    until(lambda: pool.ready("echo") == 1, "the worker is ready again", within_s=150.0)
    assert pool.events("paused") == []
    assert pool.folder.keeper().excluded == {}


def test_a_node_on_which_jobs_fail_is_excluded(pool: Pool) -> None:
    setup = '[ "$SLURMD_NODENAME" != n1 ]'
    pool.start(*ECHO, "-n", "2", "--cpus", str(pool.site.cpus), "--setup", setup)
    [excluded] = pool.wait_for("excluded", 1, within_s=150.0)
    assert excluded["host"] == "n1"
    until(lambda: pool.ready("echo") == 2, "both workers are ready", within_s=150.0)
    assert pool.events("submitted")[-1]["exclude"] == ["n1"]
    assert pool.events("paused") == []
    assert "n1" in pool.report("doctor")


def test_the_logs_of_a_job_have_both_lives_and_are_found_from_its_row(pool: Pool) -> None:
    pool.start(*ECHO, "-n", "1")
    until(lambda: pool.ready("echo") == 1, "the worker is ready")
    [job] = pool.jobs()
    pool.site.run("scontrol", "requeue", job)

    def log() -> str:
        return pool.report("logs", "--job", job)

    until(lambda: log().count(" started ") == 2, "its second life is in its log", within_s=150.0)
    until(lambda: pool.ready("echo") == 1, "it is ready again", within_s=150.0)
    assert f"job {job} on " in log()
    broker = contact.read(pool.folder.contact_file)
    [report] = broker_reports(broker.address, [b"mmi.workers"], broker.keys) or [{}]
    facts = [worker["facts"] for worker in report["workers"]]
    assert [fact["job"] for fact in facts] == [job]
    assert Path(facts[0]["log"]).read_text() in log()


def test_a_controller_that_is_away_does_not_mean_that_there_are_no_jobs(
    pool: Pool, tmp_path: Path
) -> None:
    """And all pools and commands of a user ask it at most once in ten seconds."""
    squeue = tmp_path / "squeue"
    real = pool.site.run("which", "squeue").strip()
    calls = tmp_path / "calls"
    note = f'[[ "$*" != *--states=all* ]] || date +%s.%N >>{calls}'  # jobs ask for their own end
    squeue.write_text(f'#!/bin/bash\n{note}\nexec {real} "$@"\n')
    squeue.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{pool.site.environment['PATH']}"}
    second = Pool(pool.site, "august")
    try:
        pool.start(*ECHO, "-n", "2", **path)
        second.start(*ECHO, "-n", "1", **path)
        until(lambda: pool.ready("echo") + second.ready("echo") == 3, "all are ready")
        pool.site.do("controller", "stop")
        try:
            for one in (pool, second):
                one.wait_for("silent", 1)
            with pool.client() as client:
                assert client.submit("echo", [b"x"]).result() == [b"x"]
            assert "answer" in pool.refused("stop")
            pool.folder.unmark_stopped()
            time.sleep(2 * LIST_S)
        finally:
            pool.site.do("controller", "start")
        pool.wait_for("answers", 1)
        assert pool.submitted() == 2
        times = [float(line) for line in calls.read_text().splitlines()]
        assert all(later - first > LIST_S - 1 for first, later in itertools.pairwise(times))
    finally:
        second.stop("--now")


def test_a_pool_that_was_stopped_can_be_stopped_again_without_slurm(
    pool: Pool, tmp_path: Path
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    squeue.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{pool.site.environment['PATH']}"}
    pool.start(*ECHO, "-n", "1")
    pool.stop()
    again = pool.site.run("mdp", "pool", "stop", pool.name, environment=path)
    assert "Unable to contact" in again


def test_a_keeper_that_is_killed_and_started_again_submits_nothing_twice(pool: Pool) -> None:
    pool.start(*ECHO, "-n", "2")
    os.kill(pool.folder.keeper().pid, signal.SIGKILL)
    assert "keeper" in pool.start()
    until(lambda: pool.ready("echo") == 2, "both workers are ready")
    time.sleep(1.5 * LIST_S)
    assert pool.submitted() == 2
    assert len(pool.jobs()) == 2


def test_scale_cancels_waiting_jobs_first_and_none_in_a_request(pool: Pool) -> None:
    file, release = pool.site.folder / "logs" / "notes", pool.site.folder / "logs" / "release"
    pool.start(
        *NOTING, *("--cpus", str(pool.site.cpus), "-n", "4"), **{VARIABLE: str(file)}
    )  # one waits
    until(lambda: pool.ready("noting") == 3, "three are ready")
    with pool.client() as client:
        held = [client.submit("noting", [b"x", b"0", os.fsencode(release)]) for _ in range(3)]
        until(lambda: len(begun(file)) == 3, "each holds a request")
        pool.site.run("mdp", "pool", "scale", pool.name, "noting=1")
        cancelled = pool.wait_for("cancelled", 1)
        drained = pool.wait_for("drained", 1)
        assert len(cancelled[0]["jobs"]) == 1
        assert cancelled[0]["time"] <= drained[0]["time"]
        assert len(drained[0]["jobs"]) == 2
        release.touch()
        assert [future.result(60) for future in held] == [[b"x"]] * 3
    until(lambda: len(pool.jobs()) == 1, "one job is left")
    assert len(begun(file)) == len(ended(file)) == 3


@pytest.mark.timeout(400)
def test_adapt_follows_bursts_without_flapping(pool: Pool) -> None:
    """From no workers at all; what a burst needed waits for --idle before it goes."""
    file = pool.site.folder / "logs" / "notes"
    pool.start(*NOTING, "--adapt", "0:5", "--idle", "40s", **{VARIABLE: str(file)})
    most = 0
    with pool.client() as client:
        for burst in range(2):
            futures = [client.submit("noting", [b"%d" % burst, b"0.5"]) for _ in range(150)]
            while not all(future.done() for future in futures):
                most = max(most, pool.ready("noting"))
                time.sleep(0.5)
            assert {bytes(future.result()[0]) for future in futures} == {b"%d" % burst}
            time.sleep(10)
    assert 2 <= most <= 5
    assert pool.submitted() <= 1.5 * most
    until(lambda: not pool.jobs(), "idle workers have gone", within_s=120.0)
    assert len(begun(file)) == len(ended(file)) == 300


@pytest.mark.timeout(400)
def test_the_broker_as_a_job_hands_over_to_its_successor(pool: Pool) -> None:
    """Of one minute: two brokers follow each other under load, and no answer is missing."""
    words = ("echo", "mdp.echo:Echo", "--mem", "100M", "-n", "2")
    pool.start(*words, "--time", "1m", "--broker", "job")
    until(lambda: pool.ready("echo") == 2, "the workers have found the broker", within_s=150.0)
    brokers = set()
    with pool.client() as client:
        end = time.monotonic() + 90
        while time.monotonic() < end:
            brokers.add(contact.read(pool.folder.contact_file).job)
            assert client.submit("echo", [b"x"]).result(60) == [b"x"]
            time.sleep(0.1)
    assert len(brokers) >= 3
    pool.stop()
    assert pool.jobs() == {}
    assert not pool.folder.contact_file.exists()


def test_a_pool_on_slurm_has_keys_and_a_stranger_gets_nothing(pool: Pool) -> None:
    pool.start(*ECHO, "-n", "1")
    until(lambda: pool.ready("echo") == 1, "the worker is ready with its key")
    here = contact.read(pool.folder.contact_file)
    assert here.keys is not None
    command = command_line(here.pid)
    assert '"keys": true' in command
    assert here.secret_key not in command
    assert broker_reports(here.address, [b"mmi.services"], here.keys) is not None
    assert broker_reports(here.address, [b"mmi.services"], timeout_s=2.0) is None
    pair = new_key_pair()
    forged = ClientKeys(here.broker_key, *pair)
    assert broker_reports(here.address, [b"mmi.services"], forged, timeout_s=2.0) is None
    for path, mode in ((pool.folder.path, 0o700), (pool.folder.contact_file, 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    for log in pool.folder.logs.iterdir():
        assert here.secret_key not in log.read_text()


def command_line(pid: int) -> str:
    """The command line of a process; a broker's has its plan."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    return words.decode(errors="replace")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("where", ["here", "job"])
def test_keys_are_rotated_and_nothing_is_lost(pool: Pool, where: str) -> None:
    pool.start(*ECHO, "-n", "2", "--broker", where)
    until(lambda: pool.ready("echo") == 2, "both workers are ready", within_s=150.0)
    old = contact.read(pool.folder.contact_file)
    file = str(pool.folder.contact_file)
    with pool.client() as client:
        assert client.submit("echo", [b"x"]).result(60) == [b"x"]
        print(pool.site.run("mdp", "keys", "rotate", "--contact", file))
        give_up_at = time.monotonic() + 120
        while (new := contact.read(pool.folder.contact_file)).public_key == old.public_key:
            assert time.monotonic() < give_up_at
            assert client.submit("echo", [b"x"]).result(60) == [b"x"]
            time.sleep(0.1)
        until(lambda: not is_alive(old, timeout_s=1.0), "the old broker has ended")
        for _ in range(20):
            assert client.submit("echo", [b"x"]).result(60) == [b"x"]
    assert new.broker_key != old.broker_key
    assert (new.job != old.job) == (where == "job")
    assert pool.submitted() == (4 if where == "job" else 2)
    assert [event for event in pool.folder.history() if event.get("bad")] == []
    assert pool.ready("echo") == 2


def test_an_ordinary_user_has_pools_too() -> None:
    from tests.slurm.slurm_site import need_slurm

    need_slurm()
    if os.geteuid() != 0:
        pytest.skip("these tests run as an ordinary user already")
    with Site(nodes=2, user="nobody") as site:
        pool = Pool(site)
        pool.start(*ECHO, "-n", "2")
        until(lambda: pool.ready("echo") == 2, "both workers are ready")
        pool.stop()
        assert pool.jobs() == {}
        assert pool.processes() == []
