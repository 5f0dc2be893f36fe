"""Production runs that are stopped, and pools whose workers die of some events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from clients.scoring.job import ScoringJob
from clients.scoring.score import score
from lartpc import Event, Image
from services.planes import PLANES, answer_name
from tests.support import plane_pools
from tests.support.odd_planes import POISON
from tests.support.processes import QUICK, Process, Processes, free_port

STOP_AT = 7
SCORES = {answer_name(plane) for plane in PLANES}


class Stopped(KeyboardInterrupt):
    """As Ctrl-C in the middle of a run."""


def stop(job: ScoringJob, *, at: int = STOP_AT) -> None:
    """A run that is stopped after so many events."""

    def show(done: int, _: int) -> None:
        if done == at:
            raise Stopped

    with pytest.raises(Stopped):
        score(job, on_progress=show)


def names(job: ScoringJob) -> list[str]:
    return sorted(path.name for path in job.output.parent.iterdir() if "out" in path.name)


class Pools:
    """Workers that do not survive what `poison` says at the time."""

    def __init__(
        self,
        processes: Processes,
        folder: Path,
        *,
        workers: int = 1,
        mortal: Sequence[int] = PLANES,
    ) -> None:
        """`mortal`: the planes whose workers are like that."""
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self._file = folder / "poison"
        self.poison("abort")
        processes.broker(self.endpoint, *QUICK)
        others = [plane for plane in PLANES if plane not in mortal]
        plane_pools.start(processes, self.endpoint, planes=others, workers=workers)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(POISON, str(self._file))
            self.hosts = plane_pools.start(
                processes,
                self.endpoint,
                planes=mortal,
                workers=workers,
                target="tests.support.odd_planes:Poisoned",
            )

    def poison(self, end: str, *events: int) -> None:
        self._file.write_text(" ".join([*map(str, events), end]))

    def deaths(self) -> int:
        return sum(_deaths(host) for host in self.hosts.values())


def _deaths(host: Process) -> int:
    return host.stderr.count("it is started again in")


def without(events: Sequence[Event], *failed: int) -> list[Event]:
    """The same events, some of them without scores."""

    def left(name: str, images: tuple[Image, ...], number: int) -> tuple[Image, ...]:
        return () if number in failed and name in SCORES else images

    return [
        Event(event.rse, {name: left(name, its, number) for name, its in event.images.items()})
        for number, event in enumerate(events)
    ]
