"""Jobs as processes of this machine, for laptops and tests: `--launcher local`.

Each job writes a file in the pool folder, `.jobs/ID.json`, and at its end its exit code into
`.jobs/ID.code`. A process is named by its pid and its start time, because a pid may be given out
again. The jobs outlive the command that started them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..sockets import pause, unix_time
from .launcher import How, Job, JobArray, LauncherError
from .pool_folder import PoolFolder, write_whole, writing

_KEEP_S = 3600.0  # how long an ended job is still listed
# The wrapper notes its pid, passes SIGTERM on to the job script, and notes the script's code.
# `timeout` is the walltime.
_WRAPPER = """
read -r stat </proc/$$/stat
set -- ${{stat##*) }}
printf "$MDP_RECORD" $$ "${{20}}" >"$MDP_JOB_FILE.new" && mv "$MDP_JOB_FILE.new" "$MDP_JOB_FILE"
trap 'interrupted=1; kill -TERM "$job" 2>/dev/null' TERM USR1 INT
{limit} bash "$MDP_SCRIPT" >>"$MDP_LOG" 2>&1 </dev/null &
job=$!
while :; do
    interrupted=
    wait "$job"
    code=$?
    [ -n "$interrupted" ] || break
done
echo "$code" >"$MDP_CODE.new" && mv "$MDP_CODE.new" "$MDP_CODE"
"""
_RECORDED_S = 5.0  # within which a wrapper has noted its pid


@dataclass(frozen=True)
class Process:
    """A process, named so that another one with its pid later is not taken for it."""

    pid: int
    start_ticks: int
    """When it started, in ticks since the machine's start: field 22 of /proc/PID/stat."""

    @property
    def is_running(self) -> bool:
        return self.start_ticks > 0 and start_ticks(self.pid) == self.start_ticks

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process still runs."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def kill_session(self) -> None:
        """Kill the process and all that are in its process group."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)


def start_ticks(pid: int) -> int:
    """Return when a process started; 0 if it does not run, or has ended and waits to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] == "Z" else int(fields[19])


def this_process() -> Process:
    return Process(os.getpid(), start_ticks(os.getpid()))


def start_detached(
    command: Sequence[str], *, log: Path, folder: Path, environment: dict[str, str]
) -> Process:
    """Start a process that outlives this one, in a session of its own; its output goes to a log."""
    with writing(log):
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        process = _Detached(
            command,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise LauncherError(f"cannot start {command[0]}: {error.strerror}") from None
    finally:
        os.close(descriptor)
    _children.append(process)
    return Process(process.pid, start_ticks(process.pid))


class _Detached(subprocess.Popen[bytes]):
    """A process that outlives this one, so that it is no mistake if it still runs at our end."""

    def __del__(self) -> None:
        """Give no warning."""


_children: list[_Detached] = []


def reap() -> None:
    """Collect the exit codes of children of this process that have ended, so that none is left."""
    _children[:] = [child for child in _children if child.poll() is None]


class LocalLauncher:
    """A launcher whose jobs are processes of this machine."""

    def __init__(self, pool: PoolFolder) -> None:
        self._pool = pool
        self.looked_at = 0.0

    def submit(self, array: JobArray) -> str:
        with writing(self._pool.jobs):
            self._pool.jobs.mkdir(exist_ok=True)
            self._pool.logs.mkdir(exist_ok=True)
        array_id = self._next_id()
        script = self._pool.jobs / f"{array_id}.sh"
        write_whole(script, f"#!/bin/bash\n{array.script}")
        for task in range(array.count):
            self._start(array, script, f"{array_id}_{task}")
        records = [self._pool.jobs / f"{array_id}_{task}.json" for task in range(array.count)]
        give_up_at = unix_time() + _RECORDED_S
        while not all(path.exists() for path in records) and unix_time() < give_up_at:
            pause(0.01)
        return array_id

    def _next_id(self) -> str:
        """Return a number that no array of this pool has, and reserve it."""
        number = 1 + max((int(path.stem) for path in self._pool.jobs.glob("*.sh")), default=0)
        return str(number)

    def _start(self, array: JobArray, script: Path, job_id: str) -> None:
        now = unix_time()
        limit_s = array.resources.time_s
        log = self._pool.log_of(job_id)
        limit = f"timeout --foreground --kill-after=10 {limit_s:g}" if limit_s else ""
        fields = {"name": array.name, "host": os.uname().nodename, "started_at": now}
        record = json.dumps({**fields, "limit_s": limit_s}).replace("%", "%%").replace("\\", "\\\\")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM_")},
            "MDP_JOB": job_id,
            "MDP_LOG": str(log),
            "MDP_SCRIPT": str(script),
            "MDP_RECORD": record[:-1] + ', "pid": %d, "start_ticks": %d}\\n',
            "MDP_JOB_FILE": str(self._pool.jobs / f"{job_id}.json"),
            "MDP_CODE": str(self._pool.jobs / f"{job_id}.code"),
        }
        if limit_s:
            environment["MDP_JOB_END"] = f"{now + limit_s:.0f}"
        wrapper = ["bash", "-c", _WRAPPER.format(limit=limit)]
        start_detached(wrapper, log=log, folder=array.folder, environment=environment)

    def jobs(self, *, newer_than: float = 0.0) -> list[Job]:
        self.looked_at = unix_time()
        reap()
        paths = sorted(self._pool.jobs.glob("*_*.json")) if self._pool.jobs.exists() else []
        jobs = [job for path in paths if (job := self._job(path))]
        return [job for job in jobs if job.state != "ended" or self._is_recent(job)]

    def _is_recent(self, job: Job) -> bool:
        return (job.ends_at or 0.0) > self.looked_at - _KEEP_S

    def _job(self, path: Path) -> Job | None:
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            process = Process(fields["pid"], fields["start_ticks"])
            started_at, limit_s = float(fields["started_at"]), float(fields["limit_s"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        job_id = path.stem
        here = fields["host"] == os.uname().nodename
        is_running = process.is_running if here else not self._code_file(job_id).exists()
        ended_at, code = self._end(job_id)
        if is_running and ended_at is None:
            ends_at = started_at + limit_s if limit_s else None
            return Job(
                job_id,
                str(fields["name"]),
                "running",
                "RUNNING",
                host=str(fields["host"]),
                submitted_at=started_at,
                started_at=started_at,
                ends_at=ends_at,
                folder=self._pool.path,
            )
        return Job(
            job_id,
            str(fields["name"]),
            "ended",
            code,
            host=str(fields["host"]),
            submitted_at=started_at,
            started_at=started_at,
            ends_at=ended_at or started_at,
            folder=self._pool.path,
        )

    def _code_file(self, job_id: str) -> Path:
        return self._pool.jobs / f"{job_id}.code"

    def _end(self, job_id: str) -> tuple[float | None, str]:
        """Return when a job ended, and its state in Slurm's words."""
        try:
            path = self._code_file(job_id)
            code = int(path.read_text())
            ended_at = path.stat().st_mtime
        except (OSError, ValueError):
            return None, "NODE_FAIL"  # its wrapper was killed, or the machine started again
        return ended_at, {0: "COMPLETED", 124: "TIMEOUT", 137: "CANCELLED"}.get(code, "FAILED")

    def cancel(self, ids: Sequence[str], how: How) -> None:
        """Drain or kill running jobs; no job of this launcher is ever pending."""
        for job_id in ids if how != "cancel" else ():
            try:
                fields = json.loads((self._pool.jobs / f"{job_id}.json").read_text())
            except (OSError, ValueError):
                continue
            if fields["host"] != os.uname().nodename:
                continue
            process = Process(fields["pid"], fields["start_ticks"])
            if how == "drain":
                process.signal(signal.SIGTERM)
            else:
                process.kill_session()

    def end_time(self, job_id: str) -> float | None:
        return next((job.ends_at for job in self.jobs() if job.id == job_id), None)

    def preview(self, array: JobArray) -> str:
        return "starts at once, as processes of this machine"
