"""Which service limits a pool, and how many workers to move between its services. Pure.

Clients send each event to every plane, so all planes get the same requests in the end, and the
plane with the most work for each worker is the limit. The work of a service is what was asked of
it: the number of its requests times the seconds that a worker needs for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

SPARE = 0.75  # a service with less work than this share of the limit's has time to spare
WORTH = 0.95  # of the time: what moving workers must achieve to be advised


def best_split(work_s: Sequence[float], workers: int) -> list[int]:
    """Divide the workers among services so that the last service finishes as early as possible.

    work_s: the work of each service, in seconds of one worker. Each service gets a worker.
    """
    split = [1] * len(work_s)
    for _ in range(workers - len(split)):
        behind = max(range(len(split)), key=lambda k: work_s[k] / split[k])
        split[behind] += 1
    return split


class Split(NamedTuple):
    """A better division of the same workers."""

    counts: list[int]
    share: float
    """The share of the present time in which the same work would be done."""


def better_split(
    work_s: Sequence[float], counts: Sequence[int], *, least_s: float = 0.0
) -> Split | None:
    """Return the best division of these workers; None if it would gain less than 5 % of the time.

    counts: the workers of each service now, at least 1. least_s: what the work takes in any case,
    because something else limits.
    """
    better = best_split(work_s, sum(counts))
    now_s = max(work / count for work, count in zip(work_s, counts, strict=True))
    then_s = max(work / count for work, count in zip(work_s, better, strict=True))
    then_s = max(then_s, least_s)
    return None if not now_s or then_s > WORTH * now_s else Split(better, then_s / now_s)


@dataclass(frozen=True)
class Load:
    """What a service of a pool does now."""

    service: str
    want: int
    """Workers that the pool should have."""
    ready: int
    """Workers that take requests."""
    busy: int
    """Workers that hold a request, of those that are ready."""
    waiting: int
    """Requests in the queue."""
    coming: int
    """Workers that start, and workers of jobs that the batch system has queued."""
    answered: int
    """Requests answered since the broker started."""
    typical_s: float
    """Seconds that a worker needs for a request: the median; 0: none was answered."""
    together: bool = False
    """A job of the pool has workers of this and other services, so they cannot be moved."""
    calls_others: bool = False
    """Its workers are clients of the other services, so no workers move to or from it."""

    @property
    def work_s(self) -> float:
        """All that was asked of the service, in seconds of one worker."""
        return (self.answered + self.busy + self.waiting) * self.typical_s

    @property
    def is_full(self) -> bool:
        """Every worker is busy, and for each of them another request waits."""
        return self.ready > 0 and self.busy >= self.ready and self.waiting >= self.ready


def advice(loads: Sequence[Load], label: Callable[[str], str] = str) -> dict[str, str]:
    """Return a line of advice for each service that needs one.

    label: how a service is called in the text, `plane 2` for instance.
    """
    lines = {load.service: text for load in loads if (text := _missing(load))}
    called = [load for load in loads if not load.calls_others]
    full = [load for load in called if load.is_full]
    if full and not lines:
        lines |= _limits(called, full, label)
    if not full and not lines:
        lines |= _callers_limit([load for load in loads if load.calls_others], called)
    return lines


def _callers_limit(callers: Sequence[Load], called: Sequence[Load]) -> dict[str, str]:
    """Advise more clients if all of them are busy, and most workers that they call are idle."""
    idle = sum(load.ready - load.busy for load in called)
    if not called or 2 * idle < sum(load.ready for load in called):
        return {}
    return {load.service: "limits you: add workers" for load in callers if load.is_full}


def _missing(load: Load) -> str:
    if load.ready or not (load.want or load.waiting):
        return ""
    waits = f"{_count(load.waiting, 'request')} wait" if load.waiting > 1 else ""
    waits = "a request waits" if load.waiting == 1 else waits
    if load.coming:
        return f"no worker yet; {waits}" if waits else "no worker yet"
    nothing = "no worker, and no job queued: see `pool doctor`"
    return f"{nothing}; {waits}" if waits else nothing


def _limits(
    loads: Sequence[Load], full: Sequence[Load], label: Callable[[str], str]
) -> dict[str, str]:
    served = [load for load in loads if load.ready]
    most_s = max(load.work_s / load.ready for load in full)
    limiting = [load for load in full if load.work_s >= SPARE * most_s * load.ready]
    if len(limiting) == len(served):
        return {load.service: "all are busy: more workers help" for load in limiting}
    if any(load.together for load in limiting):
        return {load.service: "limits you: more jobs help" for load in limiting}
    split = better_split([load.work_s for load in served], [load.ready for load in served])
    if split is None:
        return {load.service: "limits you: add workers" for load in limiting}
    gained = {
        load.service: then - load.ready for load, then in zip(served, split.counts, strict=True)
    }
    takers = [load for load in limiting if gained[load.service] > 0]
    return _moves(takers, gained, label) or {
        load.service: "limits you: add workers" for load in limiting
    }


def _moves(
    takers: Sequence[Load], gained: Mapping[str, int], label: Callable[[str], str]
) -> dict[str, str]:
    """Say for each taker from which services its workers come."""
    spare = {service: -count for service, count in gained.items() if count < 0}
    lines = {}
    for load in takers:
        missing, parts = gained[load.service], []
        for service in sorted(spare, key=lambda name: -spare[name]):
            moved = min(missing, spare[service])
            if moved > 0:
                parts.append(f"{moved} from {label(service)}")
                missing -= moved
                spare[service] -= moved
        if parts:
            lines[load.service] = f"limits you: move {', '.join(parts)}"
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
