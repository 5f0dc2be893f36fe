"""Faults that are put back into the cores on purpose, to see that the simulator finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from mdp.broker.broker import Broker
from mdp.broker.fair_queue import FairQueue
from mdp.broker.state import Owner, PendingRequest, WorkerState
from mdp.client import lane
from mdp.client.lane import Lanes
from mdp.wire import Frames

from .sizes import SiteSettings

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
    """No pings and probes, and no client asks for the answers that were lost."""

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
    """A request that is tried again is given to two workers, if two are idle."""

    def wrapper(original: Callable[..., Frames]) -> Any:
        def hand_out(broker: Broker, job: PendingRequest, now: float) -> Frames:
            if job.deaths + job.losses and len(job.service.idle) > 1:
                job.service.queue.append(job.client.owner, job)
            return original(broker, job, now)

        return hand_out

    return _patched(Broker, "_hand_out", wrapper)


def _lost_is_death() -> AbstractContextManager[Change]:
    """A host that goes away counts as a death of its child: after few, its request is poison."""

    def wrapper(original: Callable[..., list[Frames]]) -> Any:
        def forget(
            broker: Broker,
            worker: WorkerState,
            now: float,
            why: str,
            *,
            died: bool = False,
            counts: bool = True,
        ) -> list[Frames]:
            return original(broker, worker, now, why, died=died or counts, counts=counts)

        return forget

    return _patched(Broker, "_forget", wrapper)


def _starving() -> AbstractContextManager[Change]:
    """The oldest request of a service is served first, whoever has asked."""

    def wrapper(_: Any) -> Any:
        def pop(queue: FairQueue[Owner, PendingRequest]) -> PendingRequest:
            oldest = min(queue.heads(), key=lambda job: job.accepted_at)
            queue.remove(oldest.client.owner, oldest)
            return oldest

        return pop

    return _patched(FairQueue, "pop", wrapper)


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
    "lost-is-death": _lost_is_death,
    "starving": _starving,
}
