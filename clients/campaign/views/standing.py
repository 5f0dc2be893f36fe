"""How far a campaign is: its files by state, its rate, and when it ends. Pure.

All times are Unix times in seconds. A file counts in the rate of a period with the share of its
time that lies in the period, so that the rate is right also when a file takes longer than that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .host_sums import HostSums, Suspect

RECENT_S = 600.0
"""The period of the recent rate."""
STATES = ("waiting", "publishing", "done", "failed", "repeated", "changed")


class Sums(NamedTuple):
    """The files of one state, summed."""

    files: int = 0
    bytes: int = 0
    events: int = 0
    failed_events: int = 0
    seconds: float = 0.0
    wrong: int = 0
    """Files in which a check found something wrong, besides inputs that changed."""


class Span(NamedTuple):
    """A try that scored a file."""

    began_at: float
    ended_at: float
    events: int
    bytes: int


@dataclass(frozen=True)
class Running:
    """A file that a reader scores now."""

    number: int
    path: str
    bytes: int
    host: str
    pid: int
    job: str
    done: int
    """Events that are scored."""
    total: int
    """Events of the file; 0: not known yet."""
    step: str
    began_at: float
    beat_at: float
    """When the reader gave its last sign."""
    waited: float | None = None
    """The share of its time, 0 to 1, in which it waited for the planes; None: not known."""

    @property
    def share(self) -> float:
        return min(self.done / self.total, 1.0) if self.total > 0 else 0.0


class Rate(NamedTuple):
    """What was done in a time."""

    over_s: float
    """The time; 0: nothing was done, and the rates are 0."""
    files_per_s: float
    events_per_s: float
    bytes_per_s: float


NO_RATE = Rate(0.0, 0.0, 0.0, 0.0)


def rate_of(
    spans: Iterable[Span], running: Iterable[Running], *, since: float, until: float
) -> Rate:
    """Return the rate between two times; the time begins when the first of the tries did."""
    files = events = size = 0.0
    first = until
    going = [Span(one.began_at, until, one.done, int(one.share * one.bytes)) for one in running]
    for number, span in enumerate([*going, *spans]):
        share = _inside(span, since, until)
        if not share:
            continue
        first = min(first, span.began_at)
        files += share if number >= len(going) else 0.0
        events += share * span.events
        size += share * span.bytes
    over_s = until - max(first, since)
    if over_s <= 0:
        return NO_RATE
    return Rate(over_s, files / over_s, events / over_s, size / over_s)


def _inside(span: Span, since: float, until: float) -> float:
    """Return the share of a try that lies in a period."""
    length = span.ended_at - span.began_at
    if length <= 0:
        return float(since < span.ended_at <= until)
    return max(min(span.ended_at, until) - max(span.began_at, since), 0.0) / length


def covered_s(spans: Iterable[tuple[float, float]]) -> float:
    """Return for how long at least one of the tries went on. spans: in the order of beginning."""
    total, until = 0.0, -math.inf
    for began_at, ended_at in spans:
        if ended_at > until:
            total += ended_at - max(began_at, until)
            until = ended_at
    return total


def left_s(left: Sums, running: Sequence[Running], recent: Rate, whole: Rate) -> float | None:
    """Return how long the rest will take; None: nothing is known of the rate.

    It goes by bytes: how many events a waiting file has is known only when it is opened.
    """
    size = left.bytes - sum(one.share * one.bytes for one in running)
    if left.files <= 0:
        return 0.0
    rate = recent.bytes_per_s or whole.bytes_per_s
    return max(size, 0.0) / rate if rate else None


# All together.


@dataclass(frozen=True)
class WorstFile:
    """A file that failed, lost events, or was slow."""

    number: int
    path: str
    state: str
    tries: int
    events: int
    failed_events: int
    seconds: float
    host: str
    reason: str


@dataclass(frozen=True)
class Standing:
    """How far a campaign is."""

    now: float
    by_state: Mapping[str, Sums]
    running: Sequence[Running]
    recent: Rate
    """Of the last ten minutes."""
    whole: Rate
    """Over all the time in which a file was being scored."""
    left_s: float | None
    """How long the rest will take; None: not known."""
    last_end_at: float | None = None
    """When the last file ended; None: none has."""
    worst_files: Sequence[WorstFile] = ()
    suspects: Sequence[Suspect] = ()
    hosts: Sequence[HostSums] = field(default=(), repr=False)

    def of(self, *states: str) -> Sums:
        """Return the sums of some states together; without any, of all."""
        chosen = [self.by_state[state] for state in states or STATES if state in self.by_state]
        return Sums(*(sum(column) for column in zip(*chosen, strict=True))) if chosen else Sums()

    @property
    def left(self) -> Sums:
        """What is still to be scored."""
        return self.of("waiting", "publishing")

    @property
    def scored(self) -> Sums:
        """The files that have an output."""
        return self.of("done", "publishing", "changed")

    @property
    def to_score(self) -> int:
        """All files but those that are copies of others."""
        return self.of().files - self.of("repeated").files

    @property
    def is_complete(self) -> bool:
        """No file waits."""
        return not self.left.files

    @property
    def has_failures(self) -> bool:
        """A file or an event failed, an input changed, or a check found something wrong."""
        bad = self.of("failed", "changed").files or self.of().wrong
        return bool(bad or self.scored.failed_events)
