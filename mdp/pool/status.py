"""What `pool status` shows: a row for each service, and lines about the pool. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..settings import short_text
from .advice import Load, advice
from .launcher import Job
from .pool_folder import KeeperNote
from .pool_settings import PoolSettings

Report = Mapping[str, Any]
TimeText = Callable[[float], str]
"""Formats a Unix time for people."""

JUST_SUBMITTED = "just submitted"
"""The reason of a job that the batch system has not listed yet."""


@dataclass(frozen=True)
class BrokerView:
    """The broker of a pool, as its contact file and its own report describe it."""

    address: str = ""
    host: str = ""
    job: str = ""
    alive: bool = False
    trouble: str = ""
    """Why it does not answer, or why nobody knows its address."""
    version: str = ""
    is_another: bool = False
    """Another broker answers at the address."""


@dataclass(frozen=True)
class Sight:
    """All that was seen of a pool in one look."""

    name: str
    folder: str
    now: float
    """Unix time, as all times here."""
    settings: PoolSettings
    broker: BrokerView
    services: Mapping[str, Report] | None = None
    """The broker's report of its services; None: it does not answer."""
    workers: Sequence[Report] = ()
    """The broker's report of its workers."""
    jobs: Sequence[Job] = ()
    """The pool's jobs as the batch system reported them last."""
    jobs_seen_at: float | None = None
    """When it reported them; None: it never has."""
    silence: str = ""
    """Why the batch system does not answer now; empty: it answers."""
    keeper: KeeperNote = field(default_factory=KeeperNote)
    keeper_alive: bool = False
    stopped_at: float | None = None

    @property
    def want(self) -> Mapping[str, int]:
        """Workers of each service that the pool should have now."""
        return self.keeper.want or self.settings.want

    def job_of(self, worker: Report) -> str:
        """Return the job that a worker runs in; empty if it runs in none."""
        return str((worker.get("facts") or {}).get("job", ""))


def with_submitted(sight: Sight, history: Sequence[Report]) -> Sight:
    """Add the jobs that were submitted after the batch system's listing was made.

    The listing may be 10 s old. history: the events of the pool.
    """
    if sight.jobs_seen_at is None:
        return sight  # nothing is known of any job
    listed = {job.array for job in sight.jobs}
    new = [
        Job(
            f"{event['array']}_{number}",
            f"{sight.name}.{event['kind']}",
            "pending",
            "PENDING",
            reason=JUST_SUBMITTED,
            submitted_at=event["time"],
        )
        for event in history
        if event["event"] == "submitted" and event["array"] not in listed
        if event["time"] >= sight.jobs_seen_at - 1.0  # the listing takes a moment, too
        for number in range(event["count"])
    ]
    return replace(sight, jobs=[*sight.jobs, *new]) if new else sight


@dataclass(frozen=True)
class Row:
    """A service of the pool."""

    service: str
    want: int
    ready: int | None
    """Workers that take requests; None here and below: the broker does not answer."""
    busy: int | None
    starting: int | None
    """Workers of running jobs that have not said READY."""
    queued_jobs: int | None
    """None: the batch system never answered."""
    reasons: Mapping[str, int]
    """Why jobs are queued, and how many of them for each reason."""
    waiting: int | None
    p50_s: float | None
    """Seconds that a worker needs for a request: the median; None: none was answered."""
    p95_s: float | None
    ends_next: float | None
    """When the first of the jobs ends."""
    advice: str = ""


def rows(sight: Sight, label: Callable[[str], str] = str) -> list[Row]:
    """Return a row for each service of the pool. label: how advice calls a service."""
    counted = [_row(sight, service) for service in sight.want]
    loads = [_load(sight, row) for row in counted if row.ready is not None]
    lines = {} if sight.stopped_at is not None else advice(loads, label)
    return [Row(**{**vars(row), "advice": lines.get(row.service, "")}) for row in counted]


def _row(sight: Sight, service: str) -> Row:
    pending = [job for job in _jobs_of(sight, service) if job.state == "pending"]
    counts: dict[str, Any] = dict.fromkeys(("ready", "busy", "starting", "waiting"))
    serving: Report = {}
    if sight.services is not None:
        workers = _serving(sight, service)
        report = sight.services.get(service, {})
        serving = report.get("serving_s") or {}
        counts["ready"] = len(workers)
        counts["busy"] = sum(worker["busy_s"] is not None for worker in workers)
        counts["starting"] = _starting(sight, service)
        counts["waiting"] = report.get("queued", 0)
    return Row(
        service=service,
        want=sight.want[service],
        queued_jobs=None if sight.jobs_seen_at is None else len(pending),
        reasons=Counter(job.reason or "no reason given" for job in pending),
        p50_s=serving.get("p50"),
        p95_s=serving.get("p95"),
        ends_next=_ends_next(sight, service),
        **counts,
    )


def _jobs_of(sight: Sight, service: str) -> list[Job]:
    """Return the jobs that have workers of a service."""
    kinds = {kind.key for kind in sight.settings.kinds if kind.workers.get(service)}
    return [job for job in sight.jobs if job.kind in kinds]


def _serving(sight: Sight, service: str) -> list[Report]:
    return [w for w in sight.workers if w["service"] == service and not w.get("retired")]


def _starting(sight: Sight, service: str) -> int:
    missing = 0
    for job in _jobs_of(sight, service):
        kind = sight.settings.kind(job.kind)
        if job.state != "running" or kind is None:
            continue
        registered = [w for w in sight.workers if sight.job_of(w) == job.id]
        if any(worker.get("retired") for worker in registered):
            continue  # the job is about to end: its missing workers have left
        present = sum(worker["service"] == service for worker in registered)
        missing += max(kind.workers.get(service, 0) - present, 0)
    return missing


def _ends_next(sight: Sight, service: str) -> float | None:
    ends = [job.ends_at for job in _jobs_of(sight, service) if job.state == "running"]
    ends += [(worker.get("facts") or {}).get("until") for worker in _serving(sight, service)]
    return min((end for end in ends if end is not None), default=None)


def _load(sight: Sight, row: Row) -> Load:
    report = (sight.services or {}).get(row.service, {})
    kinds = [kind for kind in sight.settings.kinds if row.service in kind.workers]
    queued = sum(
        kind.workers[row.service]
        for kind in kinds
        for job in sight.jobs
        if job.state == "pending" and job.kind == kind.key
    )
    return Load(
        service=row.service,
        want=row.want,
        ready=row.ready or 0,
        busy=row.busy or 0,
        waiting=row.waiting or 0,
        coming=queued + (row.starting or 0),
        answered=report.get("answered", 0),
        typical_s=row.p50_s or 0.0,
        together=any(len(kind.workers) > 1 for kind in kinds),
        calls_others=row.service in sight.settings.callers,
    )


def is_serving(sight: Sight, shown: Sequence[Row]) -> bool:
    """True if the broker answers and every service that is wanted has a worker."""
    return sight.broker.alive and all(row.ready for row in shown if row.want)


def lines(sight: Sight, *, program: str, time_text: TimeText) -> list[tuple[str, str]]:
    """Return what stands above the table: pairs of a heading and a text."""
    headed = [("broker", _broker_line(sight.broker)), ("keeper", _keeper_line(sight, program))]
    headed.append((sight.settings.launcher, _launcher_line(sight, time_text)))
    if sight.stopped_at is not None:
        headed.insert(0, ("stopped", f"at {time_text(sight.stopped_at)}"))
    for kind, reason in (sight.keeper.paused or {}).items():
        headed.append(("paused", f"{kind}: {reason}; `{program} pool doctor {sight.name}`"))
    for host, reason in (sight.keeper.excluded or {}).items():
        headed.append(("excluded", f"{host}: {reason}"))
    if sight.keeper.trouble:
        headed.append(("trouble", sight.keeper.trouble))
    return headed


def _broker_line(broker: BrokerView) -> str:
    if not broker.address:
        return broker.trouble
    where = f" on {broker.host}" if broker.host else ""
    where += f" (job {broker.job})" if broker.job else ""
    state = "answers" if broker.alive else f"does not answer: {broker.trouble}"
    return f"{broker.address}{where}, {state}"


def _keeper_line(sight: Sight, program: str) -> str:
    note = sight.keeper
    who = f"pid {note.pid} on {note.host}"
    if sight.keeper_alive:
        return f"{who}, last look {short_text(max(sight.now - note.beat, 0.0))} ago"
    if sight.stopped_at is not None:
        return "has ended"
    again = f"`{program} pool start {sight.name}` starts it again"
    if not note.pid:
        return f"has not started; {again}"
    return f"is gone ({who}, last look {short_text(max(sight.now - note.beat, 0.0))} ago); {again}"


def _launcher_line(sight: Sight, time_text: TimeText) -> str:
    counts = Counter(job.state for job in sight.jobs)
    running = counts["running"]
    jobs = f"{running} job{'' if running == 1 else 's'} running, {counts['pending']} queued"
    jobs += f", {counts['ending']} ending" if counts["ending"] else ""
    if not sight.silence:
        return jobs
    silent = sight.silence
    if "does not answer" not in silent:
        silent = f"does not answer: {silent}"
    if sight.jobs_seen_at is None:
        return silent
    return f"{silent}; last known at {time_text(sight.jobs_seen_at)}: {jobs}"


def as_json(sight: Sight, shown: Sequence[Row]) -> dict[str, Any]:
    """Return everything that the status shows, for JSON; times are Unix times."""
    return {
        "pool": sight.name,
        "folder": sight.folder,
        "time": sight.now,
        "stopped_at": sight.stopped_at,
        "broker": asdict(sight.broker),
        "keeper": {**asdict(sight.keeper), "alive": sight.keeper_alive},
        "launcher": {
            "name": sight.settings.launcher,
            "silence": sight.silence,
            "seen_at": sight.jobs_seen_at,
        },
        "services": {row.service: {**asdict(row), "reasons": dict(row.reasons)} for row in shown},
        "jobs": [{**asdict(job), "folder": str(job.folder)} for job in sight.jobs],
    }
