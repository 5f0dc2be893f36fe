"""Jobs on Slurm, by sbatch, squeue and scancel.

Every call has a time limit. A call that fails because the controller does not answer raises
`LauncherSilent`, which says nothing about the jobs. `squeue` is run at most once in `CACHE_S` for
all pools and commands of a user on one machine; they share its output (and its error) in a file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from ..settings import clock_text
from ..sockets import pause, unix_time
from .launcher import How, Job, JobArray, LauncherError, LauncherSilent, State

CACHE_S = 10.0
"""The least time between two calls of squeue."""

_LIST_S, _SUBMIT_S, _CANCEL_S = 30.0, 150.0, 60.0  # the longest times of the commands
_CHUNK = 200  # ids in one call of scancel
_SEPARATOR = "\x1f"  # no other character is safe: names and folders may hold any
_FORMAT = _SEPARATOR.join(("%i", "%T", "%r", "%N", "%V", "%S", "%e", "%j", "%Z"))

_STATES: dict[str, State] = {
    **dict.fromkeys(("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"), "pending"),
    **dict.fromkeys(("RESV_DEL_HOLD", "SPECIAL_EXIT", "CONFIGURING"), "pending"),
    **dict.fromkeys(("RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"), "running"),
    **dict.fromkeys(("RESIZING",), "running"),
    **dict.fromkeys(("COMPLETING",), "ending"),
}  # the other states are ends: COMPLETED, FAILED, TIMEOUT, CANCELLED, PREEMPTED, NODE_FAIL, ...

# What the controller's absence looks like: Slurm has no exit code for it.
_SILENT = re.compile(
    r"unable to contact slurm controller|socket timed out|connect failure|connection refused"
    r"|zero bytes were transmitted|transport endpoint is not connected|slurm_load_jobs error"
    r"|temporarily (unavailable|unable)|protocol authentication error|munge|unexpected message",
    re.IGNORECASE,
)
# What sbatch refuses, and the option to change.
_REFUSALS = (
    (r"partition", "--partition"),
    (r"account", "--account"),
    (r"\bqos\b.*(invalid|specification)|invalid qos", "--qos"),
    (r"time limit", "--time"),
    (r"array", "-n"),
    (r"gres|generic resource|gpu", "--gpus"),
    (r"memory|--mem", "--mem"),
    (r"cpu count|cpus", "--cpus"),
    (r"node configuration|node count|nodes?\b.*(busy|invalid)", "--gpus, --cpus, --mem"),
    (r"limit|violates|policy", "-n or --adapt"),
    (r"unrecognized option|invalid option|unknown option|invalid .*specification", "--sbatch"),
)


class SlurmLauncher:
    """A launcher for the Slurm that the environment names (`SLURM_CONF`)."""

    def __init__(self, *, cache_s: float = CACHE_S) -> None:
        self._cache_s = cache_s
        self.looked_at = 0.0
        """When the listing that `jobs` returned last was asked for."""
        self._text = ""
        self._last = (0.0, 0.0, "", "")
        """The last listing, as `_read_cache` returns it: the file may not be writable."""

    def submit(self, array: JobArray) -> str:
        output = run_slurm(["sbatch", "--parsable"], _SUBMIT_S, text=script_with_options(array))
        array_id = output.strip().splitlines()[-1].partition(";")[0] if output.strip() else ""
        if not array_id.isdigit():
            raise LauncherSilent(f"want a job's number from sbatch, got {output.strip()[:200]!r}")
        return array_id

    def jobs(self, *, newer_than: float = 0.0) -> list[Job]:
        """Return the jobs of this user; the listing may be `CACHE_S` old.

        newer_than: a Unix time; an older listing does not count, so this may wait for `CACHE_S`.
        """
        while True:
            with _cache_file() as cache:
                wait_s = self._look(cache, newer_than)
            if not wait_s:
                return parse_listing(self._text)
            pause(wait_s)  # without the lock: others may be content with the old listing

    def _look(self, cache: Path | None, newer_than: float) -> float:
        """Take the shared listing or a new one; return how long to wait for it, or 0."""
        now = unix_time()
        shared = _read_cache(cache)
        asked_at, seen_at, text, trouble = (
            shared if self._last[0] <= shared[0] <= now else self._last
        )
        is_due = not now - self._cache_s < asked_at <= now
        if not is_due and asked_at < newer_than:
            return max(0.05, asked_at + self._cache_s - now)
        if is_due:
            asked_at, trouble = unix_time(), ""
            try:
                text = run_slurm(_LISTING, _LIST_S)
                seen_at = asked_at
            except (LauncherSilent, LauncherError) as error:
                trouble = str(error)
            self._last = (asked_at, seen_at, text, trouble)
            _write_cache(cache, asked_at, seen_at, text, trouble)
        if trouble:
            known = parse_listing(text) if seen_at else []
            raise LauncherSilent(trouble, jobs=known, seen_at=seen_at or None)
        self.looked_at, self._text = asked_at, text
        return 0.0

    def cancel(self, ids: Sequence[str], how: How) -> None:
        for first in range(0, len(ids), _CHUNK):
            chunk = list(ids[first : first + _CHUNK])
            if how in ("cancel", "kill"):
                # a job that has started meanwhile may hold a request, so `cancel` spares it
                only = ["--state=PENDING"] if how == "cancel" else []
                run_slurm(["scancel", "--quiet", *only, *chunk], _CANCEL_S, may_fail=True)
            else:
                signal = ["--batch", "--signal=TERM", "--state=RUNNING"]
                run_slurm(["scancel", "--quiet", *signal, *chunk], _CANCEL_S, may_fail=True)

    def end_time(self, job_id: str) -> float | None:
        ends = (job.ends_at for job in self.jobs() if job.id == job_id)
        return next(ends, None)

    def preview(self, array: JobArray) -> str:
        text = script_with_options(array)
        output = run_slurm(["sbatch", "--test-only"], _SUBMIT_S, text=text, stderr=True)
        if match := re.search(r"to start at (\S+).*?(?:in partition (\S+))?\s*$", output, re.M):
            starts_at = _unix(match[1])
            clock = datetime.fromtimestamp(starts_at).strftime("%H:%M") if starts_at else match[1]
            at = f" in partition {match[2]}" if match[2] else ""
            days = "" if starts_at and starts_at - unix_time() < 43200 else f" ({match[1]})"
            return f"starts about {clock}{days}{at}"
        return " ".join(output.split())


def sbatch_options(array: JobArray) -> dict[str, str]:
    """Return the options that a job script begins with, by name."""
    wants = array.resources
    options = {
        "job-name": array.name,
        "array": f"0-{array.count - 1}" if array.count > 1 else "0",
        "chdir": str(array.folder),
        "output": "logs/%A_%a.log",
        "open-mode": "append",  # a requeued job's first life keeps its log
        "requeue": "",
        "time": clock_text(60 * -(-wants.time_s // 60)) if wants.time_s else None,
        "partition": wants.partition or None,
        "account": wants.account or None,
        "qos": wants.qos or None,
        "gpus": str(wants.gpus) if wants.gpus else None,
        "cpus-per-task": str(wants.cpus) if wants.cpus else None,
        "mem": wants.mem or None,
        "exclude": ",".join(wants.exclude) or None,
    }
    return {name: value for name, value in options.items() if value is not None}


def script_with_options(array: JobArray) -> str:
    """Return the whole job script, as `sbatch` takes it."""
    lines = [f"#SBATCH --{name}{_value(value)}" for name, value in sbatch_options(array).items()]
    lines += [f"#SBATCH {raw}" for raw in array.resources.raw]
    return "\n".join(["#!/bin/bash", *lines, array.script])


def _value(value: str) -> str:
    is_plain = re.fullmatch(r"[\w./%:@,+-]*", value)
    return "" if not value else f"={value}" if is_plain else f'="{value}"'


_LISTING = ["squeue", "--noheader", "--array", "--states=all", f"--format={_FORMAT}"]


def parse_listing(text: str) -> list[Job]:
    """Read the output of squeue. A line that is not whole is left out."""
    jobs = []
    for line in text.split("\n"):
        fields = line.split(_SEPARATOR, 8)
        if len(fields) != 9:
            continue
        job_id, code, reason, host, submitted, started, ends, name, folder = fields
        state = _STATES.get(code, "ended")
        jobs.append(
            Job(
                job_id,
                name,
                state,
                code,
                reason="" if reason in ("None", "(null)") else reason,
                host="" if host == "(null)" else host,
                submitted_at=_unix(submitted),
                started_at=_unix(started),
                ends_at=_unix(ends),
                folder=Path(folder),
            )
        )
    return jobs


def _unix(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None  # N/A, Unknown, NONE


def run_slurm(
    command: list[str],
    limit_s: float,
    *,
    text: str = "",
    may_fail: bool = False,
    stderr: bool = False,
) -> str:
    """Run a command of Slurm, and return what it prints."""
    program = shutil.which(command[0])
    if program is None:
        raise LauncherError(
            f"there is no {command[0]} here: run this on a login node of the cluster,"
            " or use --launcher local"
        )
    if command[0] == "squeue":
        command = [*command, f"--user={os.geteuid()}"]
    try:
        done = subprocess.run(
            [program, *command[1:]],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            env=environment(),
        )
    except subprocess.TimeoutExpired:
        raise LauncherSilent(f"{command[0]} did not answer in {limit_s:g} s") from None
    except OSError as error:
        raise LauncherSilent(f"{command[0]} cannot be run: {error.strerror}") from None
    if done.returncode == 0:
        return done.stdout + done.stderr if stderr else done.stdout
    reason = _reason(done.stderr or done.stdout) or f"exit code {done.returncode}"
    if _SILENT.search(reason) or done.returncode < 0:
        raise LauncherSilent(f"Slurm does not answer: {command[0]}: {reason}")
    if may_fail:
        return done.stdout
    raise LauncherError(_refusal(command[0], reason))


def environment() -> dict[str, str]:
    """Return the environment of Slurm's commands.

    In a job, its own variables (`SLURM_CPUS_PER_TASK`, ...) would pass to the jobs that it submits;
    `SQUEUE_FORMAT` and others would change what we read.
    """
    needed = ("SLURM_CONF", "SLURM_CLUSTERS")
    values = {
        name: value
        for name, value in os.environ.items()
        if name in needed or not name.startswith(("SLURM_", "SQUEUE_", "SCANCEL_"))
    }
    return {**values, "SLURM_TIME_FORMAT": "standard"}


def _reason(output: str) -> str:
    """Return the lines of an error without the names of the programs, in one line."""
    lines = [re.sub(r"^\w+: (error: |fatal: )?", "", line).strip() for line in output.splitlines()]
    short = [re.sub(r"^(Batch job submission failed|allocation failure): ", "", x) for x in lines]
    return ": ".join(dict.fromkeys(line for line in short if line))


def _refusal(program: str, reason: str) -> str:
    option = next((name for word, name in _REFUSALS if re.search(word, reason, re.I)), "--sbatch")
    return f"Slurm refuses the jobs: {reason}: change {option}"


# The listing that all commands of a user share.


@contextlib.contextmanager
def _cache_file() -> Iterator[Path | None]:
    """Hold the lock of the shared listing, and yield its path; None: there is no safe folder."""
    folder = Path(tempfile.gettempdir()) / f"mdp-{os.geteuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o170077 != 0o040000:
            raise PermissionError(f"{folder} is not ours")
        names = (os.environ.get(name, "") for name in ("SLURM_CONF", "SLURM_CLUSTERS"))
        key = " ".join((*names, shutil.which("squeue") or ""))
        path = folder / f"squeue-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        yield None
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(descriptor)


def _read_cache(path: Path | None) -> tuple[float, float, str, str]:
    """Return when squeue was asked, when it last answered, its answer, and its error."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8")) if path else {}
        asked_at, seen_at = float(fields["asked_at"]), float(fields["seen_at"])
        return asked_at, seen_at, str(fields["text"]), str(fields["trouble"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0, 0.0, "", ""


def _write_cache(
    path: Path | None, asked_at: float, seen_at: float, text: str, trouble: str
) -> None:
    if path is None:
        return
    fields = {"asked_at": asked_at, "seen_at": seen_at, "text": text, "trouble": trouble}
    with contextlib.suppress(OSError):
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(fields), encoding="utf-8")
        os.replace(temporary, path)
