"""The hosts of a campaign, and which of them are worse than the others. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

BLAMELESS = ("done", "input", "changed", "settings")
"""Outcomes of a try that say nothing about its host: the file itself is bad, or it was scored."""

_CLEARLY = 3.0  # standard deviations from which a host's failures are no chance
_TWICE = 2.0  # times the share of the others
_SLOW = 1.5  # times the median seconds per event
_FEW = 3  # failures of a host, with fewer it may be a chance


@dataclass
class HostSums:
    """What the tries on one host came to."""

    host: str
    tries: int = 0
    failed: int = 0
    """Tries that failed for another reason than a bad file."""
    bad_files: int = 0
    """Tries of files that are bad, or that changed."""
    done: int = 0
    events: int = 0
    failed_events: int = 0
    """Events of its files that are empty in the output."""
    timed_events: int = 0
    """The events that these tries scored; those of an earlier, lost try do not count."""
    files: int = 0
    """Files whose output it wrote."""
    lossy_files: int = 0
    """Those of them that have failed events."""
    seconds: float = 0.0
    """The time of the tries that scored a file."""

    @property
    def share(self) -> float:
        """The share of its tries, 0 to 1, that failed; tries of bad files do not count."""
        fair = self.tries - self.bad_files
        return self.failed / fair if fair else 0.0

    @property
    def event_s(self) -> float | None:
        """Seconds for an event; None: it has scored none."""
        return self.seconds / self.timed_events if self.timed_events else None


def hosts_of(
    tries: Iterable[tuple[str, str, int, int, float]],
    files: Iterable[tuple[str, int, int, int, int]],
) -> list[HostSums]:
    """Sum tries and files by host, the worst host first.

    tries: host, outcome, tries, events, seconds. files: host, files, those with failed
    events, entries, failed events.
    """
    hosts: dict[str, HostSums] = {}
    for name, outcome, count, events, seconds in tries:
        host = hosts.setdefault(name, HostSums(name))
        host.tries += count
        if outcome == "done":
            host.done += count
            host.timed_events += int(events)
            host.seconds += seconds
        elif outcome in BLAMELESS:
            host.bad_files += count
        else:
            host.failed += count
    for name, number, lossy, entries, failed_events in files:
        host = hosts.setdefault(name, HostSums(name))
        host.files += number
        host.lossy_files += int(lossy)
        host.events += int(entries)
        host.failed_events += int(failed_events)
    return sorted(hosts.values(), key=_badness)


def _badness(host: HostSums) -> tuple[float, int, list[tuple[int, str]]]:
    """Return a key that sorts the worst host first, and `n2` before `n10`."""
    parts = re.findall(r"\d+|\D+", host.host)
    named = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
    return -host.share, -host.failed, named


@dataclass(frozen=True)
class Suspect:
    """A host that is worse than the others, and why."""

    host: str
    why: str
    share: float
    """The share of its tries that failed."""
    failed: int
    tries: int


def suspects(hosts: Sequence[HostSums]) -> list[Suspect]:
    """Return the hosts that fail, or lose events, clearly more often than the others, or are slow.

    A host is compared with all others together: by the share of its own tries, not by the number,
    and only where the difference is no chance (three standard deviations).
    """
    suspects = []
    usual_s = _usual_event_s(hosts)
    for host in hosts:
        why = [text for text in (_failing(host, hosts), _losing(host, hosts)) if text]
        if usual_s and (event_s := host.event_s) is not None and event_s > _SLOW * usual_s:
            why.append(f"takes {event_s / usual_s:.1f} times as long for an event as the others")
        if why:
            text = "; ".join(why)
            suspects.append(Suspect(host.host, text, host.share, host.failed, host.tries))
    return suspects


def _usual_event_s(hosts: Sequence[HostSums]) -> float:
    times = [host.event_s for host in hosts if host.event_s]
    return median(times) if len(times) > 1 else 0.0


def _failing(host: HostSums, hosts: Sequence[HostSums]) -> str:
    fair = host.tries - host.bad_files
    others = sum(one.tries - one.bad_files for one in hosts) - fair
    others_failed = sum(one.failed for one in hosts) - host.failed
    if not is_clear(host.failed, fair, others_failed, others):
        return ""
    beside = f"; the others fail {percent(others_failed / others)}" if others else ""
    return f"fails {percent(host.share)} of its tries ({host.failed:,} of {fair:,}){beside}"


def _losing(host: HostSums, hosts: Sequence[HostSums]) -> str:
    """Compare by files, not by events: what makes one event of a file fail makes more fail."""
    others = sum(one.files for one in hosts) - host.files
    others_lossy = sum(one.lossy_files for one in hosts) - host.lossy_files
    if not is_clear(host.lossy_files, host.files, others_lossy, others):
        return ""
    share = percent(host.lossy_files / host.files)
    beside = f", and in {percent(others_lossy / others)} of the others'" if others else ""
    return f"events failed in {share} of its files ({host.lossy_files:,} of {host.files:,}){beside}"


def is_clear(count: int, of: int, others_count: int, others_of: int) -> bool:
    """True if a share is at least twice that of the others, and that is no chance."""
    if count < _FEW or not of:
        return False
    if not others_of:
        return count / of >= 0.5  # there is no other to compare with
    mine, theirs = count / of, others_count / others_of
    if mine < _TWICE * theirs:
        return False
    pooled = (count + others_count) / (of + others_of)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / of + 1 / others_of))
    return deviation == 0 or (mine - theirs) / deviation >= _CLEARLY


def percent(share: float) -> str:
    """Format a share: `40 %`, `0.3 %`, `0 %`; never `0 %` or `100 %` for what is not."""
    value = 100 * share
    if not value:
        return "0 %"
    if value < 0.01:
        return "below 0.01 %"
    if value < 10:
        return f"{value:.2g} %"
    return f"{math.floor(value) if value > 99 else round(value)} %"
