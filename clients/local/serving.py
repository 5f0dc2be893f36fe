"""Serves the workers of a pool: what `ssnet worker` and the local pools of other commands run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mdp import Worker, WorkerSettings
from mdp.system import batch_job
from mdp.system.logs import logging_of_children
from mdp.system.process import raise_file_limit, stop_signal

Factories = list[tuple[str, Callable[[], Worker]]]
"""For each worker: its service, and a function that makes the worker in its process."""


class Pool(Protocol):
    """Workers that one process serves: `PlanePool`, `FeedPool`, `DummyPool`. It can be pickled."""

    @property
    def total(self) -> int:
        """How many workers, of all services."""

    def check(self) -> None:
        """Raise now any error that would end every worker at its start."""

    def factories(self) -> Factories:
        """For each worker its service and the function that makes it; `mdp` starts them."""

    def plan(self) -> str:
        """Return the devices and the threads of the workers, for the first line of the log."""


@dataclass(frozen=True)
class DummyPool:
    """Workers of the service `dummy`."""

    workers: int = 1

    @property
    def total(self) -> int:
        return self.workers

    def check(self) -> None:
        """Do nothing: a dummy worker has no settings or files that could be wrong."""

    def plan(self) -> str:
        return ""

    def factories(self) -> Factories:
        from services import dummy

        return [(dummy.NAME, dummy.Dummy)] * self.workers


def serve(
    pool: Pool,
    broker: str,
    *,
    settings: WorkerSettings | None = None,
    verbose: bool = False,
    quiet: bool = False,
) -> None:
    """Serve a pool's workers at a broker until a stop signal. The caller has set up the log."""
    from mdp.worker.worker_loop import serve_workers

    prepare = logging_of_children(verbose=verbose, quiet=quiet)
    raise_file_limit()
    with stop_signal() as stop:
        serve_workers(
            broker,
            pool.factories(),
            stop,
            settings=settings,
            prepare=prepare,
            job=batch_job.here(),
            log_path=batch_job.log_path(),
            plan=pool.plan(),
        )
