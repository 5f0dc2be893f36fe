"""The batch job that this process runs in: its id, and when it ends. Slurm is known."""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

log = logging.getLogger(__name__)

_ENDLESS = ("N/A", "NONE", "Unknown", "UNLIMITED")  # as squeue prints the end of such jobs


@dataclass(frozen=True)
class BatchJob:
    """A job of Slurm."""

    id: str
    """As Slurm prints it: `8812_3` for a task of an array, else `8812`."""
    raw_id: str
    """The number that Slurm gave this job; each task of an array has its own. Empty: not Slurm."""
    task: int = 0
    """The number of this process among those that `srun` starts."""
    restarts: int = 0
    """How many times the job was requeued."""
    ends_at: float | None = None
    """Unix time, where the environment says it (not in Slurm 22.05); else None."""


def here(environment: Mapping[str, str] | None = None) -> BatchJob | None:
    """Return the job that this process runs in, from the environment; None outside of jobs."""
    values = os.environ if environment is None else environment
    raw_id = values.get("SLURM_JOB_ID", "")
    if not raw_id.isdigit():
        return _local_job(values)
    array, index = values.get("SLURM_ARRAY_JOB_ID", ""), values.get("SLURM_ARRAY_TASK_ID", "")
    end = values.get("SLURM_JOB_END_TIME", "")
    return BatchJob(
        id=f"{array}_{index}" if array.isdigit() and index.isdigit() else raw_id,
        raw_id=raw_id,
        task=_number(values.get("SLURM_PROCID", "")),
        restarts=_number(values.get("SLURM_RESTART_COUNT", "")),
        ends_at=float(end) if end.isdigit() and int(end) > 0 else None,
    )


def _local_job(values: Mapping[str, str]) -> BatchJob | None:
    """Return the job of a pool on this machine (`--launcher local`); None outside of one."""
    name, end = values.get("MDP_JOB", ""), values.get("MDP_JOB_END", "")
    if not name:
        return None
    return BatchJob(name, "", ends_at=float(end) if end.isdigit() else math.inf)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def log_path() -> str:
    """Return the path of this process's log, which a job's script exports; else an empty text."""
    return os.environ.get("MDP_LOG", "")


def end_time(job: BatchJob, timeout_s: float = 15.0) -> float | None:
    """Return when a job ends, in Unix time: from the environment, else from `asked_end_time`."""
    return asked_end_time(job, timeout_s) if job.ends_at is None else job.ends_at


def asked_end_time(job: BatchJob, timeout_s: float = 15.0) -> float | None:
    """Ask Slurm when a job ends: Unix time; infinite if it has no time limit.

    Return None if Slurm does not say, and log why. It blocks up to `timeout_s`: with its controller
    down, squeue takes 9 s to fail.
    """
    if not job.raw_id:  # no job of Slurm
        return job.ends_at
    try:
        return _parsed(_squeue(job.id, timeout_s))
    except _NoEndTime as error:
        log.warning("job %s: its end is not known: %s", job.id, error)
        return None


class _NoEndTime(Exception):
    """squeue did not say when a job ends."""


def _squeue(job_id: str, timeout_s: float) -> str:
    """Return what squeue prints for a job.

    For an array, its first job has the array's number as its raw id; `8812_3` is one job.
    """
    program = shutil.which("squeue")
    if program is None:
        raise _NoEndTime("there is no squeue on this machine")
    # variables of the user would filter the jobs, or change the format of the time
    values = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    try:
        done = subprocess.run(
            [program, "--noheader", "--jobs", job_id, "--Format", "EndTime:40"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env={**values, "SLURM_TIME_FORMAT": "standard"},
        )
    except subprocess.TimeoutExpired:
        raise _NoEndTime(f"squeue did not answer in {timeout_s:g} s") from None
    except OSError as error:
        raise _NoEndTime(f"squeue cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise _NoEndTime(f"squeue failed: {reason}")
    return done.stdout


def _parsed(output: str) -> float:
    lines = output.split()
    if not lines:
        raise _NoEndTime("squeue does not know the job")
    if lines[0] in _ENDLESS:
        return math.inf
    try:
        return datetime.fromisoformat(lines[0]).timestamp()  # of this time zone, as squeue's
    except ValueError:
        raise _NoEndTime(f"want a time from squeue, got {lines[0][:100]!r}") from None
