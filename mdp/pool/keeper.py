"""Which jobs a pool submits and cancels: what was seen and the time -> actions. Pure.

For each kind of job:

    wanted     jobs that give the workers that are wanted: `want`, or what `--adapt` computes
    alive      jobs that will run at the horizon: pending ones, and those that leave later
    horizon    now + how long jobs wait in the queue + how long their workers take to be ready

    alive < wanted     submit the difference, in one array
    alive > wanted     for some seconds: cancel pending jobs, then drain running ones

A running job leaves when its walltime ends, less what its workers need to leave in time. So its
successor is submitted while it still runs, and no service is without workers in between.

`--adapt` wants as many workers as finish what is queued within the time that new workers would
take to come, at least as many as are busy, and twice as many while all are busy and requests wait.
It wants fewer only when fewer were enough for the whole of `--idle`; then only jobs are drained
whose workers were idle for so long.

A bad end is a job that failed quickly, or that ended without a worker that was ever ready. After
one, jobs of its kind are submitted one at a time until one is ready; after `MAX_BAD_ENDS` in a row
the kind is paused. A host with bad ends is excluded if other hosts have had good jobs of the kind,
or if all bad ends came from it. What the batch system did to a job is no bad end: preemption,
requeue, a failed node, a user's scancel, and the end of the walltime if a worker was ready.

A batch system that does not answer has no jobs to say about, so nothing is decided. A job that was
submitted counts until the listing can show it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..settings import short_text
from .launcher import How, Job
from .pool_settings import BROKER_KIND, PoolSettings

MAX_BAD_ENDS = 3
QUICK_S = 60.0
"""A job that failed after a shorter time is a bad end even if a worker was ready."""

_BAD_CODES = {"FAILED", "OUT_OF_MEMORY", "BOOT_FAIL", "COMPLETED"}
_TIMEOUT = "TIMEOUT"
_LEAVE_S = 10.0  # a worker's margin before the end of its walltime
_MAX_STAGGER_S, _STAGGER = 60.0, 0.1  # and its random part of this share of the walltime
_MAX_RESERVE = 0.5  # of the walltime
_FIRST_WAIT_S, _FIRST_START_S = 5.0, 20.0  # before any job of this pool has started
_SLACK_S = 3.0
_SEEN_JOBS = 10  # of which waits and starts are remembered
_HOLD_S = 8.0  # jobs are too many for so long before any is cancelled
_GROW_S = 10.0  # all workers are busy for so long before there are twice as many
_MIN_HORIZON_S = 20.0
_UNSEEN_S = 30.0  # a submitted array that the listing does not show for so long is gone
_UNCERTAIN_S = 30.0  # after a submission without an answer


@dataclass(frozen=True)
class WorkerSeen:
    """A worker, as the broker reports it."""

    service: str
    job: str
    """The job that it runs in, as it told the broker; empty if it told none."""
    is_busy: bool = False
    is_retired: bool = False


@dataclass(frozen=True)
class ServiceSeen:
    """A service, as the broker reports it."""

    queued: int = 0
    busy: int = 0
    idle: int = 0
    serving_s: float | None = None
    """The median time of a request at a worker; None: none was answered."""
    longest_s: float = 0.0
    """The 95 % quantile."""
    paused: bool = False
    """An operator has paused it: its workers stay, whatever is queued."""


@dataclass(frozen=True)
class Seen:
    """One look at the batch system and at the broker."""

    jobs: Sequence[Job] = ()
    """The jobs of this pool."""
    looked_at: float = 0.0
    """When the listing of the jobs was asked for (Unix time, as all times here)."""
    silent: str = ""
    """Why the batch system does not answer; empty: it does."""
    workers: Sequence[WorkerSeen] = ()
    services: Mapping[str, ServiceSeen] = field(default_factory=dict)
    broker_answers: bool = True
    has_contact: bool = True
    """There is a contact file, so that a job of workers finds its broker."""
    broker_job: str = ""
    """The job that runs the broker, from the contact file."""
    outdated_broker: str = ""
    """The same job, if its broker has keys that were rotated: the next broker replaces it."""


@dataclass(frozen=True)
class Submit:
    """Submit jobs of a kind, in one array."""

    kind: str
    count: int
    exclude: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Cancel:
    """End jobs."""

    ids: tuple[str, ...]
    how: How
    why: str


@dataclass(frozen=True)
class Note:
    """A line for the history."""

    event: str
    fields: dict[str, Any]


Action = Submit | Cancel | Note


@dataclass
class _Asked:
    """An array that was submitted and that the listing has not shown yet."""

    kind: str
    array: str
    count: int
    at: float


@dataclass
class _Kind:
    """What the keeper remembers of a kind."""

    bad: list[tuple[str, str]] = field(default_factory=list)
    """Job and host of each bad end since the last job that was ready."""
    bad_at: Counter[str] = field(default_factory=Counter)
    """Bad ends on each host since a job was ready there."""
    good_hosts: set[str] = field(default_factory=set)
    was_excluded_blindly: bool = False
    """A host was excluded although no other host had a good job: that is tried once."""
    paused: str = ""
    needs: deque[tuple[float, int]] = field(default_factory=deque)
    """Times and jobs needed, over the time of `--idle`."""
    saturated_since: float | None = None
    excess_since: float | None = None
    uncertain_until: float = 0.0
    """A submission had no answer: only a listing from after this time says what became of it."""

    def good(self, host: str) -> None:
        """Note that a job is ready on a host."""
        self.bad.clear()
        self.bad_at.pop(host, None)
        self.good_hosts.add(host)

    def ended_badly(self, job: str, host: str) -> None:
        self.bad.append((job, host))
        self.bad_at[host] += 1
        self.good_hosts.discard(host)


class Keeper:
    """The memory of a keeper; it is rebuilt from the history, so a keeper may be killed."""

    def __init__(
        self,
        settings: PoolSettings,
        history: Iterable[Mapping[str, Any]],
        now: float,
        *,
        listed_since: float | None = None,
    ) -> None:
        """listed_since: a listing from before this time may lack jobs. Default: now."""
        self.settings = settings
        self.excluded: dict[str, str] = {}
        self._since = now if listed_since is None else listed_since
        self._looked_at = now
        self._born = now
        """When the pool was started first: jobs from before belonged to another pool."""
        self._watched_since = now
        """Of a job that started before, a worker may have been ready and gone unseen."""
        self._judged_since = 0.0
        """When the user started the pool last: jobs from before do not count as bad."""
        self._kinds: dict[str, _Kind] = {}
        self._asked: list[_Asked] = []
        self._waits: deque[float] = deque(maxlen=_SEEN_JOBS)
        self._starts: deque[float] = deque(maxlen=_SEEN_JOBS)
        self._started: dict[str, float] = {}
        self._ready: set[str] = set()
        self._ended: set[str] = set()
        self._served_at: dict[str, float] = {}
        """When a worker of a job was first seen at the broker, which is asked more often."""
        self._busy_at: dict[str, float] = {}
        self._served: dict[str, float] = {}
        self._drained: set[str] = set()
        """Jobs that were told to end; a second signal would end their workers in a request."""
        self._silent_since: float | None = None
        self.wanted_now: dict[str, int] = dict(settings.want)
        """Workers of each service that the last look wanted."""
        for event in history:
            self._remember(event)

    # What the history tells.

    def _remember(self, event: Mapping[str, Any]) -> None:
        name, job = event.get("event"), str(event.get("job", ""))
        kind = self._kind(str(event.get("kind", "")))
        at = float(event.get("time", 0.0))
        self._born = min(self._born, at)
        if name in ("start", "resumed"):
            self._judged_since = at
        if name == "started":
            self._started[job] = at
            self._note_wait(event.get("waited_s"))
        elif name == "ready":
            self._ready.add(job)
            self._starts.append(float(event.get("after_s", _FIRST_START_S)))
            kind.good(str(event.get("host", "")))
        elif name == "requeued":
            self._started.pop(job, None)
            self._ready.discard(job)
            self._drained.discard(job)
        elif name in ("drained", "killed"):
            self._drained.update(map(str, event.get("jobs", ())))
        elif name == "ended":
            self._ended.add(job)
            if event.get("bad"):
                kind.ended_badly(job, str(event.get("host", "")))
        elif name == "paused":
            kind.paused = str(event.get("reason", "paused"))
        elif name == "resumed":
            self.resume()
        elif name == "excluded":
            self.excluded[str(event.get("host", ""))] = str(event.get("reason", ""))
            kind.was_excluded_blindly |= bool(event.get("blind"))
            if not event.get("blind"):
                kind.bad.clear()
        elif name == "included":
            self.excluded.pop(str(event.get("host", "")), None)

    def _note_wait(self, waited_s: object) -> None:
        if isinstance(waited_s, (int, float)):
            self._waits.append(float(waited_s))

    def _kind(self, key: str) -> _Kind:
        return self._kinds.setdefault(key, _Kind())

    def resume(self) -> None:
        """Forget bad ends: the user has asked to go on."""
        for kind in self._kinds.values():
            kind.paused = ""
            kind.bad.clear()
            kind.bad_at.clear()
            kind.was_excluded_blindly = False

    @property
    def paused(self) -> dict[str, str]:
        return {key: kind.paused for key, kind in self._kinds.items() if kind.paused}

    @property
    def silent_since(self) -> float | None:
        return self._silent_since

    # What became of the actions.

    def submitted(self, action: Submit, array: str, now: float) -> None:
        self._asked.append(_Asked(action.kind, array, action.count, now))

    def refused(self, action: Submit, reason: str) -> list[Action]:
        """Pause a kind that the batch system refuses; without excluded hosts it may be possible."""
        if action.exclude:
            gone = [Note("included", {"host": host}) for host in action.exclude if host]
            self.excluded.clear()
            return list(gone)
        return self._pause(action.kind, reason, "")

    def cancelled(self, action: Cancel) -> None:
        if action.how != "cancel":
            self._drained.update(action.ids)

    def unanswered(self, action: Submit, now: float) -> None:
        """A submission had no answer: the jobs may exist."""
        self._kind(action.kind).uncertain_until = now + _UNCERTAIN_S

    # One look.

    def look(self, seen: Seen, now: float) -> list[Action]:
        """Decide what to do now."""
        if now < self._looked_at:
            self._clock_was_set_back(now)
        self._looked_at = now
        if seen.silent:
            if self._silent_since is None:
                self._silent_since = now
                return [Note("silent", {"reason": seen.silent})]
            return []
        actions: list[Action] = []
        if self._silent_since is not None:
            lasted_s = round(now - self._silent_since, 1)
            actions.append(Note("answers", {"after_s": lasted_s}))
            self._silent_since = None
        if seen.looked_at < self._since:
            return actions  # jobs of a keeper before this one may be missing
        self._see_asked(seen, now)
        for worker in seen.workers:
            self._served_at.setdefault(worker.job, now)
            if worker.is_busy:
                self._busy_at[worker.job] = now
        for service, state in seen.services.items():
            if state.longest_s:
                self._served[service] = state.longest_s
        actions += self._see_jobs(seen, now)
        for key, wanted in self.wanted_jobs(seen, now).items():
            actions += self._balance(key, wanted, seen, now)
        return actions

    def _clock_was_set_back(self, now: float) -> None:
        """Let nothing wait until the clock shows an earlier time again."""
        self._since = min(self._since, now)
        self._judged_since = min(self._judged_since, now)
        for asked in self._asked:
            asked.at = min(asked.at, now)
        for kind in self._kinds.values():
            kind.uncertain_until = min(kind.uncertain_until, now + _UNCERTAIN_S)
            kind.excess_since = kind.saturated_since = None
            kind.needs = deque((min(at, now), jobs) for at, jobs in kind.needs)
        self._busy_at = {job: min(at, now) for job, at in self._busy_at.items()}

    def _see_asked(self, seen: Seen, now: float) -> None:
        arrays = {job.array for job in seen.jobs}
        self._asked = [
            asked
            for asked in self._asked
            if asked.array not in arrays and seen.looked_at < asked.at + _UNSEEN_S
        ]

    # Lives of jobs.

    def _see_jobs(self, seen: Seen, now: float) -> list[Action]:
        serving = {worker.job for worker in seen.workers if worker.job}
        if seen.broker_job:
            serving.add(seen.broker_job)
        notes: list[Action] = []
        for job in seen.jobs:
            if job.id in self._ended or self._is_older(job):
                continue
            if job.state == "pending":
                notes += self._see_requeued(job, job.reason)
            else:
                notes += self._see_start(job)
                if job.id in serving and job.id not in self._ready:
                    notes.append(self._see_ready(job, now))
                if job.state == "ended":
                    notes += self._see_end(job, seen, now)
        return notes

    def _is_older(self, job: Job) -> bool:
        """True for an ended job of another pool that was in this folder before."""
        return job.state == "ended" and (job.submitted_at or self._born) < self._born - _SLACK_S

    def _see_requeued(self, job: Job, reason: str = "") -> list[Action]:
        if job.id not in self._started:
            return []
        del self._started[job.id]
        self._ready.discard(job.id)
        self._drained.discard(job.id)
        self._served_at.pop(job.id, None)
        fields = {"job": job.id, "kind": job.kind, "reason": reason}
        return [Note("requeued", fields)]

    def _see_start(self, job: Job) -> list[Action]:
        if job.started_at is None or not job.host:
            return []
        notes: list[Action] = []
        if job.id in self._started:
            if job.started_at < self._started[job.id] + _SLACK_S:
                return []
            notes += self._see_requeued(job)  # between two looks
        self._started[job.id] = job.started_at
        fields: dict[str, Any] = {"job": job.id, "kind": job.kind, "host": job.host}
        if job.submitted_at is not None:
            fields["waited_s"] = round(max(0.0, job.started_at - job.submitted_at), 1)
            self._note_wait(fields["waited_s"])
        return [*notes, Note("started", fields)]

    def _see_ready(self, job: Job, now: float) -> Note:
        served_at = self._served_at.get(job.id, now)
        after_s = round(max(0.0, served_at - self._started.get(job.id, served_at)), 1)
        self._ready.add(job.id)
        self._starts.append(after_s)
        self._busy_at.setdefault(job.id, now)
        self._kind(job.kind).good(job.host)
        fields = {"job": job.id, "kind": job.kind, "host": job.host, "after_s": after_s}
        return Note("ready", fields)

    def _see_end(self, job: Job, seen: Seen, now: float) -> list[Action]:
        self._ended.add(job.id)
        self._busy_at.pop(job.id, None)
        self._served_at.pop(job.id, None)
        started_at = self._started.get(job.id)
        ends_at = job.ends_at or now
        ran_s = None if started_at is None else round(max(0.0, ends_at - started_at), 1)
        bad = self._is_bad(job, ran_s, seen)
        fields: dict[str, Any] = {"job": job.id, "kind": job.kind, "host": job.host}
        fields |= {"code": job.code}
        fields |= {"ran_s": ran_s, "bad": bad, "was_ready": job.id in self._ready}
        notes: list[Action] = [Note("ended", fields)]
        if bad:
            kind = self._kind(job.kind)
            kind.ended_badly(job.id, job.host)
            notes += self._judge(job.kind, kind)
        return notes

    def _is_bad(self, job: Job, ran_s: float | None, seen: Seen) -> bool:
        if job.code not in {*_BAD_CODES, _TIMEOUT} or ran_s is None:
            return False
        if (job.submitted_at or self._judged_since) < self._judged_since - _SLACK_S:
            return False
        started_at = self._started.get(job.id, 0.0)
        was_ready = job.id in self._ready or started_at < self._watched_since
        if job.code == _TIMEOUT:  # its workers need longer to start than the walltime
            return not was_ready and seen.broker_answers
        if job.code == "COMPLETED":
            # a worker may have been ready between two looks, or while no broker answered
            return not was_ready and ran_s < QUICK_S and seen.broker_answers
        return not was_ready or ran_s < QUICK_S

    def _judge(self, key: str, kind: _Kind) -> list[Action]:
        """Exclude a host, or pause the kind, after a bad end."""
        hosts = [host for _, host in kind.bad]
        last = hosts[-1]
        count = kind.bad_at[last]
        others = kind.good_hosts - {last, ""}
        if last and last not in self.excluded:
            if others and count >= 2:
                reason = f"{count} jobs ended badly there, and others work on {min(others)}"
                return self._exclude(key, last, reason, blind=False)
            only_here = set(hosts) == {last} and not others
            is_early = len(kind.bad) < MAX_BAD_ENDS
            if only_here and is_early and count >= 2 and not kind.was_excluded_blindly:
                kind.was_excluded_blindly = True
                reason = f"the last {count} jobs ended badly, all of them there"
                return self._exclude(key, last, reason, blind=True)
        if len(kind.bad) < MAX_BAD_ENDS:
            return []
        reason = f"the last {len(kind.bad)} jobs ended badly"
        where = sorted(set(hosts) - {""})
        reason += f", on {', '.join(where)}" if where else ""
        blamed = [host for host in where if kind.was_excluded_blindly and host in self.excluded]
        for host in blamed:  # it was not the host
            del self.excluded[host]
        notes = [Note("included", {"host": host}) for host in blamed]
        return [*notes, *self._pause(key, reason, kind.bad[-1][0])]

    def _exclude(self, key: str, host: str, reason: str, *, blind: bool) -> list[Action]:
        self.excluded[host] = reason
        if not blind:
            self._kind(key).bad.clear()
        return [Note("excluded", {"host": host, "kind": key, "reason": reason, "blind": blind})]

    def _pause(self, key: str, reason: str, job: str) -> list[Action]:
        kind = self._kind(key)
        if kind.paused:
            return []
        kind.paused = reason
        return [Note("paused", {"kind": key, "reason": reason, "job": job})]

    # How many jobs.

    def wanted_jobs(self, seen: Seen, now: float) -> dict[str, int]:
        """Return how many jobs of each kind are wanted now."""
        self.wanted_now = self.wanted_workers(seen, now)
        jobs = self.settings.jobs_wanted(self.wanted_now)
        return {BROKER_KIND: 1, **jobs} if self.settings.broker == "job" else jobs

    def wanted_workers(self, seen: Seen, now: float) -> dict[str, int]:
        """Return how many workers of each service are wanted now."""
        if self.settings.adapt is None:
            return dict(self.settings.want)
        wanted = {}
        for service in self.settings.want:
            low, high = self.settings.adapt_limits(service) or self.settings.adapt
            memory = self._kind(f"service {service}")
            need = min(high, max(low, self._need(service, memory, seen, now)))
            while memory.needs and memory.needs[0][0] < now - self.settings.idle_s:
                memory.needs.popleft()
            while memory.needs and memory.needs[-1][1] <= need:
                memory.needs.pop()  # so the first one is the largest of the time
            memory.needs.append((now, need))
            wanted[service] = memory.needs[0][1]
        return wanted

    def _need(self, service: str, memory: _Kind, seen: Seen, now: float) -> int:
        """Return how many workers finish what is queued before new ones could help."""
        state = seen.services.get(service, ServiceSeen())
        if not seen.broker_answers:
            return memory.needs[-1][1] if memory.needs else self.settings.want[service]
        if not memory.needs and now - self._watched_since < self.settings.idle_s:
            return self.settings.want[service]  # as the user asked, until --idle has passed
        if state.paused:
            memory.saturated_since = None
            before = memory.needs[-1][1] if memory.needs else self.settings.want[service]
            return max(before, state.busy + state.idle)
        asked = state.queued + state.busy
        if not asked:
            memory.saturated_since = None
            return 0
        horizon_s = max(_MIN_HORIZON_S, 2 * self._lead_s())
        backlog = 1
        if state.serving_s is not None:
            backlog = max(1, -(-int(1000 * asked * state.serving_s) // int(1000 * horizon_s)))
        ready = state.busy + state.idle
        if not (state.queued and state.busy and not state.idle):
            memory.saturated_since = None
        elif memory.saturated_since is None:
            memory.saturated_since = now
        elif now - memory.saturated_since >= max(_GROW_S, self._lead_s()):
            memory.saturated_since = now
            backlog = max(backlog, min(2 * ready, ready + state.queued))
        return max(backlog, state.busy)

    def _lead_s(self) -> float:
        """Return how long it takes from a submission to a worker that is ready."""
        return _usual(self._waits, _FIRST_WAIT_S) + _usual(self._starts, _FIRST_START_S)

    def leaves_at(self, job: Job) -> float | None:
        """Return when a running job's workers leave; None: not because of its walltime."""
        if job.ends_at is None or job.started_at is None:
            return None
        walltime_s = max(1.0, job.ends_at - job.started_at)
        kind = self.settings.kind(job.kind)
        longest_s = (
            max((self._served.get(name, 0.0) for name in kind.workers), default=0.0)
            if kind
            else 0.0
        )
        reserve_s = _LEAVE_S + min(_MAX_STAGGER_S, _STAGGER * walltime_s) + longest_s
        return job.ends_at - min(reserve_s, _MAX_RESERVE * walltime_s)

    def _balance(self, key: str, wanted: int, seen: Seen, now: float) -> list[Action]:
        kind = self._kind(key)
        mine = [job for job in seen.jobs if job.kind == key]
        pending = [job for job in mine if job.state == "pending"]
        leaving = self._leaving(seen)
        running = [job for job in mine if job.state == "running" and job.id not in leaving]
        unseen = sum(asked.count for asked in self._asked if asked.kind == key)
        oldest_s = max((now - (job.submitted_at or now) for job in pending), default=0.0)
        lead_s = max(self._lead_s(), min(oldest_s, 86400.0)) + _SLACK_S
        staying = [
            job for job in running if (self.leaves_at(job) or now + 2 * lead_s) > now + lead_s
        ]
        alive = len(staying) + len(pending) + unseen
        if alive < wanted:
            kind.excess_since = None
            count = min(wanted - alive, max(0, wanted - len(pending) - unseen))
            return self._submit(key, kind, count, len(pending) + unseen, running, seen)
        return self._shrink(kind, wanted, pending, running, unseen, lead_s, seen, now)

    def _leaving(self, seen: Seen) -> set[str]:
        """Return the jobs that were drained, those whose workers have all retired, and those whose
        broker is replaced or has handed over."""
        retired = {worker.job for worker in seen.workers if worker.is_retired}
        retired -= {worker.job for worker in seen.workers if not worker.is_retired}
        former = {
            job.id
            for job in seen.jobs
            if job.kind == BROKER_KIND and seen.broker_job and job.id in self._ready
        }
        outdated = {seen.outdated_broker} - {""}
        return self._drained | retired | (former - {seen.broker_job}) | outdated

    def _submit(
        self, key: str, kind: _Kind, count: int, waiting: int, running: Sequence[Job], seen: Seen
    ) -> list[Action]:
        if kind.paused or count < 1 or seen.looked_at < kind.uncertain_until:
            return []
        if key != BROKER_KIND and not seen.has_contact:
            return []
        if kind.bad:  # one at a time, until one is ready
            if waiting or any(job.id not in self._ready for job in running):
                return []
            count = 1
        why = "to replace those that end" if running else "to have the workers that are wanted"
        return [Submit(key, count, tuple(sorted(self.excluded)), why)]

    def _shrink(
        self,
        kind: _Kind,
        wanted: int,
        pending: Sequence[Job],
        running: Sequence[Job],
        unseen: int,
        lead_s: float,
        seen: Seen,
        now: float,
    ) -> list[Action]:
        # those that leave soon may have their successors already
        soon = now + 2 * lead_s + _UNSEEN_S
        lasting = [job for job in running if (self.leaves_at(job) or soon + 1) > soon]
        excess = len(lasting) + len(pending) + unseen - wanted
        if excess <= 0:
            kind.excess_since = None
            return []
        if kind.excess_since is None:
            kind.excess_since = now
        if now - kind.excess_since < _HOLD_S or unseen:
            return []
        kind.excess_since = None
        newest = sorted(pending, key=lambda job: job.submitted_at or 0.0, reverse=True)
        actions: list[Action] = []
        if doomed := tuple(job.id for job in newest[:excess]):
            actions.append(Cancel(doomed, "cancel", f"{wanted} jobs are wanted"))
        left = excess - len(doomed)
        drained = (
            tuple(job.id for job in self._drainable(lasting, seen, now)[:left]) if left else ()
        )
        if drained:
            actions.append(Cancel(drained, "drain", f"{wanted} jobs are wanted"))
        return actions

    def _drainable(self, running: Sequence[Job], seen: Seen, now: float) -> list[Job]:
        """Return the jobs that may be drained, first those that cost least.

        With `--adapt`, only those whose workers have been idle for `--idle`.
        """
        ready = sorted(
            running, key=lambda job: (job.id in self._ready, self._busy_at.get(job.id, 0.0))
        )
        if self.settings.adapt is None:
            return ready
        idle_s = self.settings.idle_s
        if not seen.broker_answers:
            return []
        return [
            job
            for job in ready
            if job.id in self._ready and now - self._busy_at.get(job.id, now) >= idle_s
        ]


def _usual(times: Iterable[float], first: float) -> float:
    """Return the second longest of the last times, or the longest of a few."""
    ordered = sorted(times)
    if not ordered:
        return first
    return ordered[-2] if len(ordered) >= 5 else ordered[-1]


def describe(note: Note) -> str:
    """Return a note as a line for people."""
    fields = dict(note.fields)
    where = f" on {fields['host']}" if fields.get("host") else ""
    job = f"job {fields.get('job')}{where}"
    match note.event:
        case "started":
            waited = fields.get("waited_s")
            return f"{job} started" + (f" after {short_text(waited)}" if waited else "")
        case "ready":
            return f"{job} is ready after {short_text(fields['after_s'])}"
        case "ended":
            ran = fields.get("ran_s")
            after = f" after {short_text(ran)}" if ran is not None else ""
            return f"{job} ended{after}: {fields['code']}" + (" (bad)" if fields["bad"] else "")
        case "requeued":
            return f"{job} was requeued ({fields['reason'] or 'no reason given'})"
        case "paused":
            return f"{fields['kind']}: no more jobs are submitted: {fields['reason']}"
        case "excluded":
            return f"no more jobs on {fields['host']}: {fields['reason']}"
        case "included":
            return f"jobs may start on {fields['host']} again"
        case "silent":
            return f"{fields['reason']}; nothing is decided until it answers"
        case "answers":
            return f"the batch system answers again, after {short_text(fields['after_s'])}"
        case _:
            return f"{note.event}: {fields}"
