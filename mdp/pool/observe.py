"""One look at a pool: its folder, its broker, and its jobs in the batch system."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..errors import MDPError, SettingsError
from ..settings import short_text
from ..sockets import unix_time, why_unreachable
from ..sockets.addresses import ClientKeys
from ..system.broker_report import broker_report, broker_reports
from ..system.contact import Contact, NoContact
from ..system.contact import read as read_contact
from .keeper import Seen, ServiceSeen, WorkerSeen
from .launcher import Job, LauncherSilent
from .local_launcher import LocalLauncher, Process
from .pool_folder import KeeperNote, PoolError, PoolFolder
from .pool_settings import PoolSettings
from .slurm_launcher import SlurmLauncher
from .status import BrokerView, Report, Sight, with_submitted

PoolLauncher = SlurmLauncher | LocalLauncher

_REPORTS = (b"mmi.broker", b"mmi.services", b"mmi.workers")
_BEATS = 5  # periods without a sign after which a keeper on another host counts as gone
_OUTLOOK_S = 10.0
_YOUNG_S = 300.0  # a job that has started may need so long until its workers are ready
_GRACE_S = 30.0  # and so much more: it may wait for Slurm, and clocks differ


def launcher_of(pool: PoolFolder, settings: PoolSettings) -> PoolLauncher:
    """Return the launcher that a pool asks for."""
    return LocalLauncher(pool) if settings.launcher == "local" else SlurmLauncher()


def keeper_is_alive(note: KeeperNote) -> bool:
    """True if the process of a keeper's note runs; one on another host must have beaten lately."""
    if not note.pid:
        return False
    if note.host == os.uname().nodename:
        return Process(note.pid, note.start_ticks).is_running
    return unix_time() - note.beat < _BEATS * note.every_s + _GRACE_S


@dataclass
class Observer:
    """Looks at a pool again and again; it remembers what the batch system showed last."""

    pool: PoolFolder
    settings: PoolSettings
    launcher: PoolLauncher
    contact: Contact | None = None
    """The broker of a pool that is being stopped, whose contact file is gone."""
    strangers: list[Job] = field(default_factory=list)
    """Jobs with the names of this pool's that belong to another folder."""
    ended: dict[str, str] = field(default_factory=dict)
    """Jobs that `wind_down` has ended, and how: the history may not be writable."""
    _jobs: list[Job] = field(default_factory=list)
    _seen_at: float | None = None

    def look(self, *, newer_than: float = 0.0, timeout_s: float = 3.0) -> Sight:
        """Look now. newer_than: what the batch system listed before this time does not count."""
        silence = self._list(newer_than)
        broker, services, workers = self._ask_broker(timeout_s)
        note = self.pool.keeper()
        return Sight(
            name=self.pool.name,
            folder=str(self.pool.path),
            now=unix_time(),
            settings=self.settings,
            broker=broker,
            services=services,
            workers=workers,
            jobs=self._jobs,
            jobs_seen_at=self._seen_at,
            silence=silence,
            keeper=note,
            keeper_alive=keeper_is_alive(note),
            stopped_at=self.pool.stopped_at,
        )

    def report(self, *, timeout_s: float = 3.0) -> Sight:
        """Look now, for people: with jobs that were submitted a moment ago, and with the reason
        why the broker does not answer."""
        sight = self.look(timeout_s=timeout_s)
        broker = sight.broker
        if broker.address and not (broker.alive or broker.is_another):
            trouble = self._refusal() or why_unreachable(broker.address, self._keys())
            sight = replace(sight, broker=replace(broker, trouble=trouble))
        return with_submitted(sight, self.pool.history())

    def _refusal(self) -> str:
        """Return why the broker does not let this pool in, or does not tell it of its workers."""
        try:
            contact = self.contact or read_contact(self.pool.contact_file)
        except NoContact:
            return ""
        if contact.broker_key and contact.keys is None:
            return f"{self.pool.contact_file} leads to a published file, without a key of yours"
        report = broker_report(contact.address, contact.keys, timeout_s=1.0)
        if report is None or contact.instance not in ("", report.get("instance")):
            return ""
        return (
            f"it does not tell of its workers to the key {contact.key_name!r} (mmi.workers): a pool"
            " needs a key of the site, as in the broker's own contact file"
        )

    def _keys(self) -> ClientKeys | None:
        """Return the keys to connect to the broker with; None: there are none."""
        try:
            contact = self.contact or read_contact(self.pool.contact_file)
        except NoContact:
            return None  # the broker has ended meanwhile
        return contact.keys and replace(contact.keys, source=f"@{self.pool.contact_file}")

    def outlook(self) -> str:
        """Say which jobs of workers are queued or have just started; empty if there are none."""
        sight = self.report(timeout_s=1.0)
        if sight.silence:
            return sight.silence
        jobs = [job for job in sight.jobs if self.settings.kind(job.kind)]
        queued = [job for job in jobs if job.state == "pending"]
        young = unix_time() - _YOUNG_S
        fresh = [j for j in jobs if j.state == "running" and (j.started_at or 0.0) > young]
        parts = []
        if queued:
            reasons = Counter(job.reason or "no reason given" for job in queued)
            why = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
            why = next(iter(reasons)) if len(reasons) == 1 else why
            parts.append(f"{len(queued)} job{'s' * (len(queued) > 1)} queued ({why})")
        if fresh:
            parts.append(f"{len(fresh)} job{'s' * (len(fresh) > 1)} starting")
        return ", ".join(parts)

    def _list(self, newer_than: float) -> str:
        try:
            listed = self.launcher.jobs(newer_than=newer_than)
        except LauncherSilent as error:
            if error.seen_at is not None:
                self._take(error.jobs, error.seen_at)
            return str(error)
        self._take(listed, self.launcher.looked_at)
        return ""

    def _take(self, listed: Sequence[Job], seen_at: float) -> None:
        """Keep what the batch system listed of this pool."""
        named = [job for job in listed if job.name.rpartition(".")[0] == self.pool.name]
        self._jobs = [job for job in named if is_ours(job, self.pool)]
        self.strangers = [job for job in named if not is_ours(job, self.pool)]
        self._seen_at = seen_at

    def _ask_broker(
        self, timeout_s: float
    ) -> tuple[BrokerView, dict[str, Report] | None, list[Report]]:
        try:
            contact = self.contact or read_contact(self.pool.contact_file)
        except NoContact as error:
            return BrokerView(trouble=str(error)), None, []
        view = BrokerView(contact.address, contact.host, contact.job)
        try:
            reports = broker_reports(contact.address, _REPORTS, contact.keys, timeout_s=timeout_s)
        except (MDPError, OSError) as error:
            return _silent(view, str(error)), None, []
        if reports is None:
            return _silent(view, f"no broker answers at {contact.address}"), None, []
        broker, services, workers = reports
        if contact.instance not in ("", broker.get("instance")):
            other = _silent(view, f"another broker answers at {contact.address}")
            return replace(other, is_another=True), None, []
        version = str(broker.get("version", ""))
        alive = BrokerView(contact.address, contact.host, contact.job, alive=True, version=version)
        return alive, services, list(workers["workers"])


def _silent(view: BrokerView, trouble: str) -> BrokerView:
    return BrokerView(view.address, view.host, view.job, trouble=trouble)


def is_ours(job: Job, pool: PoolFolder) -> bool:
    """True if a job belongs to this folder, by whatever path it was named."""
    return job.folder == pool.path or os.path.realpath(job.folder) == os.path.realpath(pool.path)


def seen_by_keeper(sight: Sight) -> Seen:
    """Return what a keeper needs of a look."""
    services = {
        name: ServiceSeen(
            queued=report.get("queued", 0),
            busy=report.get("busy", 0),
            idle=report.get("idle", 0),
            serving_s=(report.get("serving_s") or {}).get("p50"),
            longest_s=(report.get("serving_s") or {}).get("p95", 0.0),
            paused=report.get("paused") is not None,
        )
        for name, report in (sight.services or {}).items()
    }
    workers = [
        WorkerSeen(
            worker["service"],
            sight.job_of(worker),
            is_busy=worker["busy_s"] is not None,
            is_retired=bool(worker.get("retired")),
        )
        for worker in sight.workers
    ]
    return Seen(
        jobs=sight.jobs,
        looked_at=sight.jobs_seen_at or 0.0,
        silent=sight.silence,
        workers=workers,
        services=services,
        broker_answers=sight.broker.alive,
        has_contact=bool(sight.broker.address),
        broker_job=sight.broker.job if sight.broker.alive else "",
    )


# Clients that wait for the first workers of a pool.


def pool_of(broker: str) -> PoolFolder | None:
    """Return the pool whose contact file a `--broker @FILE` names; None: it is not a pool's."""
    if not broker.startswith("@"):
        return None
    folder, name = os.path.split(os.path.abspath(broker[1:]))
    try:
        pool = PoolFolder(folder)
    except SettingsError:
        return None
    return pool if name == pool.contact_file.name and pool.exists else None


class Outlook:
    """Whether workers of a pool are still to come, for clients that wait for them."""

    def __init__(self, pool: PoolFolder) -> None:
        settings = pool.read_settings()
        self._observer = Observer(pool, settings, launcher_of(pool, settings))
        self.adapts = settings.adapt is not None
        """The number of workers follows what is queued, so it may be 0 until a request waits."""
        self.services = frozenset(settings.want)
        self._pool = pool
        self._looked_at = 0.0
        self._text = ""

    def text(self) -> str:
        """Return what the workers wait for, in one line; empty if none are to come.

        It looks every 10 s at most. Raises `PoolError` if the pool was stopped.
        """
        self.check()
        if unix_time() >= self._looked_at + _OUTLOOK_S:
            self._text = self._observer.outlook()
            self._looked_at = unix_time()
        return self._text

    def check(self) -> None:
        """Raise `PoolError` if the pool was stopped."""
        if (stopped_at := self._pool.stopped_at) is not None:
            ago = short_text(max(unix_time() - stopped_at, 0.0))
            name = self._pool.name
            raise PoolError(f"pool {name} was stopped {ago} ago: `pool start {name}` starts it")
