"""When a plane had no workers, and how many jobs a pool needed. Pure: samples and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Outage:
    """A fault that was made, with the time until all must be as before."""

    name: str
    began_at: float
    recovered_at: float


@dataclass(frozen=True)
class Gap:
    """A time without ready workers."""

    began_at: float
    ended_at: float

    @property
    def seconds(self) -> float:
        return self.ended_at - self.began_at


def gaps(
    ready: Sequence[tuple[float, int]], outages: Sequence[Outage], *, longest_s: float
) -> list[Gap]:
    """The gaps longer than `longest_s`, outside all outages. ready: time, and number of workers."""
    found: list[Gap] = []
    began_at: float | None = None
    for at, count in ready:
        is_gap = count == 0 and not any(o.began_at <= at <= o.recovered_at for o in outages)
        if is_gap and began_at is None:
            began_at = at
        if not is_gap and began_at is not None:
            found.append(Gap(began_at, at))
            began_at = None
    if began_at is not None:
        found.append(Gap(began_at, ready[-1][0]))
    return [gap for gap in found if gap.seconds > longest_s]


def jobs_needed(wanted: Sequence[tuple[float, int]], *, walltime_s: float) -> float:
    """How many jobs of one worker give the workers that were wanted. wanted: time, and number.

    Each job of the last ones counts whole.
    """
    steps = [(later - at) * count for (at, count), (later, _) in pairwise(wanted)]
    last = wanted[-1][1] if wanted else 0
    return max(sum(steps) / walltime_s + last / 2, last)
