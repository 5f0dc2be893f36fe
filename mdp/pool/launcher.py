"""What a batch system has to do for a pool: submit, list, cancel, and say when a job ends.

A launcher keeps no memory of its own. A pool finds its jobs by their folder (`Job.folder`) and by
their names (`POOL.KIND`), so that a command that was killed at any moment loses none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from ..errors import MDPError

State = Literal["pending", "running", "ending", "ended"]
How = Literal["cancel", "drain", "kill"]


class LauncherError(MDPError):
    """The batch system refused; the text is one line that names our option to change."""


class LauncherSilent(MDPError):
    """The batch system did not answer. That says nothing about the jobs: they may all run.

    jobs: what it listed last, at `seen_at` (Unix time); None: nothing is known.
    """

    def __init__(
        self, text: str, *, jobs: Sequence[Job] = (), seen_at: float | None = None
    ) -> None:
        super().__init__(text)
        self.jobs = jobs
        self.seen_at = seen_at


@dataclass(frozen=True)
class Resources:
    """What each job asks for; an empty text and a zero mean the site's default."""

    time_s: float = 0.0
    """Walltime in seconds; Slurm rounds it up to whole minutes."""
    partition: str = ""
    account: str = ""
    qos: str = ""
    gpus: int = 0
    cpus: int = 0
    mem: str = ""
    """Memory of a job, with a unit: `8G`."""
    raw: tuple[str, ...] = ()
    """Further options for the batch system, as the user wrote them."""
    exclude: tuple[str, ...] = ()
    """Hosts on which no job may start."""


@dataclass(frozen=True)
class JobArray:
    """Equal jobs that are submitted in one call."""

    name: str
    """`POOL.KIND`."""
    count: int
    script: str
    """The text of the job script, without the options of the batch system."""
    folder: Path
    """The pool folder: the working directory of the jobs."""
    resources: Resources = field(default_factory=Resources)


@dataclass(frozen=True)
class Job:
    """A job as the batch system reports it."""

    id: str
    """As Slurm prints it: `8812_3` for a task of an array, else `8812`."""
    name: str
    """`POOL.KIND`."""
    state: State
    code: str
    """The launcher's word: PENDING, RUNNING, COMPLETED, FAILED, TIMEOUT, PREEMPTED, ..."""
    reason: str = ""
    """Why it is pending, or how it ended; empty if the batch system gives no reason."""
    host: str = ""
    submitted_at: float | None = None
    """Unix time, as all times here; None: unknown."""
    started_at: float | None = None
    """When it started; of a pending job, when the batch system estimates that it will start."""
    ends_at: float | None = None
    """When its walltime ends, or when it ended."""
    folder: Path = Path()

    @property
    def kind(self) -> str:
        """The part of the name after the pool's: `plane0`."""
        return self.name.rpartition(".")[2]

    @property
    def array(self) -> str:
        """The id of the array: `8812` of `8812_3`."""
        return self.id.partition("_")[0]


class Launcher(Protocol):
    """The four verbs of a batch system, and a preview."""

    def submit(self, array: JobArray) -> str:
        """Submit all jobs of an array in one call, and return its id."""

    def jobs(self) -> list[Job]:
        """Return the jobs of this user, ended ones included as long as the system knows them.

        Raises `LauncherSilent` if the batch system does not answer.
        """

    def cancel(self, ids: Sequence[str], how: How) -> None:
        """End jobs: cancel those that have not started, drain or kill those that run.

        A job or array that has ended already is no error.
        """

    def end_time(self, job_id: str) -> float | None:
        """Return when a running job's walltime ends; None: it has no limit, or does not run."""

    def preview(self, array: JobArray) -> str:
        """Return one line: when the batch system would start these jobs; nothing is submitted."""
