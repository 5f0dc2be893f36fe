"""Faults that are put back into the cores on purpose, to see that the simulator finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from mdp.broker.broker import Broker
from mdp.broker.state import PendingRequest, WorkerState
from mdp.client import lane
from mdp.client.lane import Lanes

from .site import SiteSettings

Change = Callable[[SiteSettings], SiteSettings]


def _same(settings: SiteSettings) -> SiteSettings:
    return settings


@contextmanager
def nothing() -> Iterator[Change]:
    yield _same


@contextmanager
def _patched(thing: type, name: str, wrapper: Callable[[Any], Any]) -> Iterator[Change]:
    original = getattr(thing, name)
    setattr(thing, name, wrapper(original))
    try:
        yield _same
    finally:
        setattr(thing, name, original)


@contextmanager
def _nat() -> Iterator[Change]:
    """No ZMTP heartbeats, and no client asks for the answers that were lost."""

    def never(_: Any) -> Any:
        return lambda *_, **__: []

    with _patched(Lanes, "_check_loss", never):
        yield lambda settings: replace(
            settings, network=replace(settings.network, heartbeats=False)
        )


def _retire() -> AbstractContextManager[Change]:
    """A worker that retires stays in the list of idle ones."""

    def wrapper(original: Callable[[Broker, WorkerState], None]) -> Any:
        def retire(broker: Broker, worker: WorkerState) -> None:
            is_idle = worker in worker.service.idle
            original(broker, worker)
            if is_idle:
                worker.service.idle[worker] = None

        return retire

    return _patched(Broker, "_retire", wrapper)


def _second_try() -> AbstractContextManager[Change]:
    """A request whose worker was lost is put into the queue twice."""

    def wrapper(original: Callable[..., Any]) -> Any:
        def requeue(broker: Broker, job: PendingRequest, *values: Any, **named: Any) -> Any:
            out = original(broker, job, *values, **named)
            if not job.over:
                job.service.jobs.appendleft(job)
            return out

        return requeue

    return _patched(Broker, "_requeue", wrapper)


def _lost_failed() -> AbstractContextManager[Change]:
    """A call that has timed out for the last time is dropped without a word to its caller."""

    def wrapper(original: Callable[..., list[lane.Step]]) -> Any:
        def tick(lanes: Lanes, now: float) -> list[lane.Step]:
            return [step for step in original(lanes, now) if not isinstance(step, lane.Failed)]

        return tick

    return _patched(Lanes, "tick", wrapper)


NAMES: dict[str, Callable[[], AbstractContextManager[Change]]] = {
    "nat": _nat,
    "retire": _retire,
    "second-try": _second_try,
    "lost-failed": _lost_failed,
}
