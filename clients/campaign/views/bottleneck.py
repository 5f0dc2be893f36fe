"""What limits a campaign: the workers of a plane, the readers, or nothing of both. Pure.

Readers are production clients, each with one file at a time. If a plane's workers are busy all the
time and requests wait for them, the plane limits; then more readers do not help. If all readers
are busy and no plane is, the readers limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Literal, NamedTuple

from mdp.pool.advice import Load, advice

from ..file_request import SERVICE as READERS
from .host_sums import percent
from .standing import Running

FULL = 0.9  # the share of workers that are busy from which a service has nothing to spare
_HALF = 0.5
_LITTLE = 0.2

Report = Mapping[str, Any]
Who = Literal["nothing", "driver", "broker", "planes", "readers", "files", "unclear"]


class Limit(NamedTuple):
    """What limits the campaign."""

    who: Who
    text: str
    todo: str = ""
    """What helps, if anything does."""


@dataclass(frozen=True)
class Service:
    """The workers of a service, as the mean of several looks."""

    name: str
    workers: int
    busy: float
    queued: float
    answered: int
    typical_s: float
    """Seconds for a request: the median; 0: none was answered."""

    @property
    def share(self) -> float:
        """The share of the workers, 0 to 1, that are busy."""
        return min(self.busy / self.workers, 1.0) if self.workers else 0.0

    @property
    def label(self) -> str:
        return f"plane {self.name[-1]}" if self.is_plane else self.name

    @property
    def is_plane(self) -> bool:
        return self.name.removeprefix("ssnet-plane").isdecimal()


def services_of(looks: Sequence[Mapping[str, Report]]) -> list[Service]:
    """Return the planes and the readers of several reports `mmi.services`, planes first."""
    if not looks:
        return []
    names = {name for look in looks for name in look}
    services = [_service(name, [look[name] for look in looks if name in look]) for name in names]
    wanted = [one for one in services if one.is_plane or one.name == READERS]
    return sorted(wanted, key=lambda one: (not one.is_plane, one.name))


def _service(name: str, reports: Sequence[Report]) -> Service:
    last = reports[-1]
    return Service(
        name,
        workers=int(last["workers"]) - int(last.get("retired", 0)),
        busy=mean(report["busy"] for report in reports),
        queued=mean(report["queued"] for report in reports),
        answered=int(last["answered"]),
        typical_s=float((last.get("serving_s") or {}).get("p50", 0.0)),
    )


@dataclass(frozen=True)
class Circumstances:
    """What is known of a campaign that goes on."""

    is_complete: bool
    waiting: int
    """Files that no reader has."""
    is_driven: bool
    broker: str
    """The broker's address, or `@FILE`; empty: not known."""
    services: Sequence[Service] | None
    """None: the broker does not answer."""
    planes: Sequence[int]
    """The planes that are scored."""
    running: Sequence[Running]
    more_readers: str
    """The command that adds readers, with `{all}` or `{more}` for their number."""

    def with_readers(self, number: int, *, of: int = 0) -> str:
        """Return the command for a number of readers in all, of which some are there."""
        command = self.more_readers.replace("{all}", str(number))
        return command.replace("{more}", str(number - of))


def limit(seen: Circumstances) -> Limit:
    """Return what limits a campaign now."""
    if seen.is_complete:
        return Limit("nothing", "nothing is left to score")
    if not seen.is_driven:
        return Limit("driver", "no file is given to the readers, since nobody drives the campaign")
    if seen.services is None:
        return _without_broker(seen)
    readers = next((one for one in seen.services if one.name == READERS), None)
    if readers is None or not readers.workers:
        todo = seen.with_readers(1)
        return Limit("readers", "there is no reader, so files wait", f"`{todo}` starts one")
    planes = [one for one in seen.services if one.is_plane and int(one.name[-1]) in seen.planes]
    return (
        _missing(planes, seen.planes)
        or _full(planes)
        or _idle_readers(seen, readers)
        or _readers(seen, readers, planes)
    )


def _without_broker(seen: Circumstances) -> Limit:
    waited = [one.waited for one in seen.running if one.waited is not None]
    silent = f"no broker answers at {seen.broker}" if seen.broker else "the broker is not known"
    if seen.broker and not waited:
        return Limit("broker", silent)
    if not waited:
        return Limit("unclear", silent)
    share = mean(waited)
    text = f"the readers wait for the planes {percent(share)} of their time ({silent})"
    if share >= _HALF:
        return Limit("planes", text, "more workers of the planes help")
    if share <= _LITTLE:
        return Limit("readers", text, "more readers help")
    return Limit("unclear", text)


def _missing(planes: Sequence[Service], wanted: Sequence[int]) -> Limit | None:
    served = {int(one.name[-1]) for one in planes if one.workers}
    missing = [plane for plane in wanted if plane not in served]
    if not missing:
        return None
    names = " and ".join(f"plane {plane}" for plane in missing)
    verb = "has" if len(missing) == 1 else "have"
    return Limit("planes", f"{names} {verb} no worker, so the readers wait")


def _full(planes: Sequence[Service]) -> Limit | None:
    loads = [
        Load(
            service=one.name,
            want=one.workers,
            ready=one.workers,
            busy=one.workers if one.share >= FULL else math.floor(one.busy),
            waiting=round(one.queued),
            coming=0,
            answered=one.answered,
            typical_s=one.typical_s,
        )
        for one in planes
    ]
    labels = {one.name: one.label for one in planes}
    lines = advice(loads, lambda name: labels[name])
    if lines:
        names = " and ".join(labels[one.name] for one in planes if one.name in lines)
        todo = next(iter(lines.values())).rpartition(": ")[2]
        verb = "limits" if len(lines) == 1 else "limit"
        return Limit("planes", f"{names} {verb}: {_shares(planes)}", todo)
    busy = [one for one in planes if one.share >= FULL]
    if not busy:
        return None
    names = " and ".join(one.label for one in busy)
    verb = "limits" if len(busy) == 1 else "limit"
    return Limit("planes", f"{names} {verb}: {_shares(planes)}", "more workers help")


def _shares(planes: Sequence[Service]) -> str:
    shares = ", ".join(f"{one.label} {percent(one.share)}" for one in planes)
    return f"busy workers: {shares}"


def _idle_readers(seen: Circumstances, readers: Service) -> Limit | None:
    if seen.waiting or readers.queued >= 1:
        return None
    idle = readers.workers - round(readers.busy)
    if idle <= 0:
        return None
    have = "reader has" if idle == 1 else "readers have"
    text = f"the last files: {idle} of {readers.workers} {have} no file"
    return Limit("files", text)


def _readers(seen: Circumstances, readers: Service, planes: Sequence[Service]) -> Limit:
    if readers.share < FULL:
        text = f"{percent(readers.share)} of the readers are busy; {_shares(planes)}"
        return Limit("unclear", text)
    most = max(one.share for one in planes)
    # not more than twice as many at once: what they do together is known only then
    better = math.ceil(min(readers.workers / max(most, 0.01), 2.0 * readers.workers))
    command = seen.with_readers(better, of=readers.workers)
    todo = f"`{command}`" if better > readers.workers else ""
    text = f"the readers limit: all {readers.workers} are busy; {_shares(planes)}"
    if readers.workers == 1:
        text = f"the reader limits: it is busy; {_shares(planes)}"
    return Limit("readers", text, f"more readers help: {todo}" if todo else "more readers help")
