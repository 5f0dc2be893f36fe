"""A real Slurm on this machine for tests, started by `site.sh`: submit jobs, look, wait, crash."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType

from mdp import ClientSettings, Heartbeats
from tests.support import optional
from tests.support.processes import ROOT, until

SCRIPT = ROOT / "tests" / "slurm" / "site.sh"
REQUEUE_S = 5
"""The site's delay before a requeued job starts again; most real sites have 120 s."""
COMMAND_S = 150.0
HEARTBEATS = ("--heartbeat", "0.5", "--liveness", "4")
CLIENT = ClientSettings(heartbeats=Heartbeats(0.5, 4), timeout_s=200.0, tries=3)
"""Quick, and still patient with two busy cores."""
_ENDED = re.compile(r"JobId=(\S+) .* Name=(\S+) JobState=(\S+) .* EndTime=(\S+)")


@dataclass(frozen=True)
class End:
    """How a life of a job ended; a requeued job has several."""

    job: str
    name: str
    state: str
    """COMPLETED, TIMEOUT, NODE_FAIL, PREEMPTED, or PENDING for a requeued one."""
    time: str

    @property
    def at(self) -> float:
        """Unix time in whole seconds."""
        return datetime.fromisoformat(self.time).timestamp()


def need_slurm() -> None:
    """Skip the running test if Slurm is not installed."""
    if "Slurm" in optional.excluded:
        optional.missing("Slurm", "runs without Slurm")
    done = subprocess.run([SCRIPT, "missing"], capture_output=True, text=True, check=False)
    if done.returncode:
        optional.missing("Slurm", f"needs Slurm (missing: {', '.join(done.stdout.split())})")


class Site:
    """One site in a folder of its own; as a context it is started and stopped."""

    def __init__(
        self,
        *,
        nodes: int = 3,
        cpus: int = 4,
        requeue_s: int = REQUEUE_S,
        user: str | None = None,
    ) -> None:
        """`user`: whose site it is, if it is not ours; only root can start such a site."""
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-site-", dir="/tmp"))
        self.cpus = cpus
        """Of each node."""
        self.user = user
        self.prefix: list[str] = []
        if user is not None:
            shutil.chown(self.folder, user)
            # the user may read what only root may read: the interpreter may lie in /root
            read = "+dac_read_search"
            self.prefix = ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups"]
            self.prefix += [f"--inh-caps={read}", f"--ambient-caps={read}"]
        self.environment = {
            **{name: value for name, value in os.environ.items() if "SLURM" not in name},
            "SITE": str(self.folder),
            "SITE_OWNER": str(os.getpid()),
            "SITE_NODES": str(nodes),
            "SITE_CPUS": str(cpus),
            "SITE_REQUEUE_S": str(requeue_s),
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder) if user is not None else os.environ.get("HOME", "/"),
        }
        self._crashed: set[str] = set()
        self._started: list[subprocess.Popen[bytes]] = []
        (self.folder / "logs").mkdir()
        self.give(self.folder / "logs")

    def __enter__(self) -> Site:
        try:
            self.do("start")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def give(self, folder: Path) -> None:
        """Make this site's user the owner of a folder that we made, and of all in it."""
        if self.user is not None:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, self.user)

    def stop(self) -> None:
        self.do("stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def do(self, *arguments: str) -> str:
        """`site.sh ARGUMENTS`."""
        return self.run(str(SCRIPT), *arguments, within_s=120.0)

    def run(
        self, *command: str, within_s: float = COMMAND_S, environment: Mapping[str, str] = {}
    ) -> str:
        """Run a command of this site's user; its standard output. Exit codes other than 0 raise."""
        done = subprocess.run(
            [*self.prefix, *command],
            env={**self.environment, **environment},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{command}: code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process of this site's user on this machine; `clean` kills it."""
        path = self.folder / "logs" / f"process{len(self._started)}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [*self.prefix, *command],
                env={**self.environment, **environment},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def broker(self, *options: str) -> str:
        """Start a broker of this site's user, with keys; return the @FILE of its `contact`."""
        self.contact.unlink(missing_ok=True)
        bind = ("--bind", "tcp://127.0.0.1:0", "--contact", str(self.contact), "--keys")
        broker = self.start("mdp", "broker", *bind, *HEARTBEATS, *options)
        until(lambda: self.contact.exists() or broker.poll() is not None, "the broker serves")
        assert self.contact.exists(), "the broker has ended"
        return f"@{self.contact}"

    @property
    def contact(self) -> Path:
        return self.folder / "logs" / "broker.json"

    def submit(self, script: str, *options: str, **environment: str) -> str:
        """Submit the lines of a bash script, requeueable; the job's id. Its log is `log(id)`."""
        path = self.folder / f"{len(list(self.folder.glob('*.sh')))}.sh"
        path.write_text(f"#!/bin/bash\n{script}\n")
        os.chmod(path, 0o755)
        output = f"--output={self.folder}/logs/%j.log"
        words = ["--parsable", "--requeue", "--open-mode=append", output, f"--chdir={ROOT}"]
        return self.run(
            "sbatch", *words, "--mem=100", *options, str(path), environment=environment
        ).strip()

    def squeue(self, columns: str = "%i %T %N %r") -> list[list[str]]:
        """A row of each job that is queued or runs; an empty column only at its end."""
        lines = self.run("squeue", "--noheader", "--array", f"--format={columns}").splitlines()
        last = len(columns.split()) - 1
        return [[*line.split(maxsplit=last), ""][: last + 1] for line in lines]

    def jobs(self) -> dict[str, str]:
        """The state of each job that is queued or runs."""
        return {job: state for job, state, *_ in self.squeue("%i %T")}

    def node_of(self, job: str) -> str:
        [node] = [node for id_, node in self.squeue("%i %N") if id_ == job]
        return node

    def ends(self) -> list[End]:
        """How each life of each job ended, in order."""
        try:
            text = (self.folder / "log" / "jobs.txt").read_text()
        except FileNotFoundError:
            return []
        return [End(*fields) for fields in _ENDED.findall(text)]

    def how_ended(self, job: str) -> list[str]:
        """The state in which each life of a job ended, such as COMPLETED or TIMEOUT.

        The jobs of an array are found by their name.
        """
        return [end.state for end in self.ends() if job in (end.job, end.name)]

    def started_at(self, job: str) -> float:
        """When the last life of a job that has ended began, Unix time in whole seconds."""
        text = (self.folder / "log" / "jobs.txt").read_text()
        [*_, start] = re.findall(rf"^JobId={job} .* StartTime=(\S+)", text, re.MULTILINE)
        return datetime.fromisoformat(start).timestamp()

    def log(self, job: str) -> str:
        try:
            return (self.folder / "logs" / f"{job}.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def logs(self) -> str:
        paths = sorted((self.folder / "logs").glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')}" for path in paths)

    def wait_for_state(self, job: str, state: str, *, within_s: float = COMMAND_S) -> None:
        what = f"job {job} is {state}"
        until(lambda: self.jobs().get(job) == state, what, within_s=within_s)

    def wait_for_end(self, job: str, *, within_s: float = COMMAND_S) -> str:
        """Wait until a job has ended for good; how its last life ended."""

        def over() -> bool:
            return not {one for one in self.jobs() if one.split("_")[0] == job.split("_")[0]}

        until(over, f"job {job} has ended", within_s=within_s)
        return until(lambda: self.how_ended(job), f"how job {job} ended is written")[-1]

    def crash(self, node: str, *, noticed: bool = True) -> None:
        """Kill a node with its jobs; Slurm is told, or notices by itself after about 25 s."""
        self.do("crash", node, *(["now"] if noticed else []))
        self._crashed.add(node)

    def boot(self, node: str) -> None:
        self.do("boot", node)
        until(lambda: self._is_up(node), f"node {node} is up")
        self._crashed.discard(node)

    def _is_up(self, node: str) -> bool:
        states = self.run("sinfo", "--noheader", f"--nodes={node}", "--format=%T").split()
        return set(states) <= {"idle", "mixed", "allocated"}

    def clean(self) -> None:
        """Print the jobs' logs, cancel every job, and boot the nodes that were crashed."""
        print(self.logs())
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._started.clear()
        user = self.run("id", "-un").strip()
        self.run("scancel", f"--user={user}")
        for node in sorted(self._crashed):
            self.boot(node)
        until(lambda: not self.jobs(), "no job is left", within_s=COMMAND_S)
        for path in (self.folder / "logs").iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
