"""Why a pool does not work, and what to do: `pool doctor`.

`diagnose` judges what was seen, and is pure. `gather` reads the rest that it needs: the folder, the
logs and the partitions.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ..settings import short_text
from ..system.contact import NoContact
from ..system.contact import read as read_contact
from ..version import VERSION
from .job_logs import Cause, Life, cause, last_life
from .launcher import Job, LauncherError, LauncherSilent
from .pending import Partition, explain
from .pool_folder import PoolError, PoolFolder
from .slurm_launcher import run_slurm
from .status import Sight

Level = Literal["ok", "note", "WRONG"]

START_S = 30.0
"""A job may run for so long before its workers are ready."""
_LOG_S = 10.0  # after so long a running job has written the first line of its log
_BEATS = 10  # a keeper that missed so many looks is stuck
_LEAST_BYTES = 100 << 20
_LAST_LINES = 5  # of a failed job's log
_OWN_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/scratch/local", "/local")


class Finding(NamedTuple):
    """A line of the doctor. `note`: worth knowing, but the pool works."""

    level: Level
    text: str
    todo: str = ""
    """What to do."""
    lines: tuple[str, ...] = ()
    """The last lines of a log, as evidence."""


@dataclass(frozen=True)
class Evidence:
    """What a diagnosis needs besides one look at the pool."""

    folder: Sequence[Finding] = ()
    lives: Mapping[str, Life] = field(default_factory=dict)
    """The last life in the log of each job that is of interest; a job without a log has none."""
    history: Sequence[Mapping[str, Any]] = ()
    partitions: Mapping[str, Partition] = field(default_factory=dict)
    version: str = VERSION
    program: str = "mdp"


def is_wrong(findings: Iterable[Finding]) -> bool:
    return any(finding.level == "WRONG" for finding in findings)


def diagnose(sight: Sight, evidence: Evidence) -> list[Finding]:
    """Return what is right and what is wrong with a pool, in the order in which to mend it."""
    findings = [*evidence.folder]
    if sight.stopped_at is not None:
        return [*findings, *_after_stop(sight, evidence)]
    findings += [_broker(sight), _keeper(sight, evidence), _launcher(sight)]
    for judge in (_paused, _pending, _running, _ended, _hosts, _versions, _services):
        findings += judge(sight, evidence)
    return findings


def _after_stop(sight: Sight, evidence: Evidence) -> list[Finding]:
    ago = short_text(max(sight.now - (sight.stopped_at or 0.0), 0.0))
    earlier = [*_paused(sight, evidence), *_ended(sight, evidence)]
    again = f"{evidence.program} pool start {sight.name} starts it again"
    if is_wrong(earlier):
        again = f"correct what was wrong with it, which follows; then {again}"
    findings = [Finding("note", f"the pool was stopped {ago} ago", again), *earlier]
    if sight.silence:
        findings.append(_launcher(sight))
    left = [job for job in sight.jobs if job.state in ("pending", "running")]
    if left:
        ids = _ids(left)
        stop = f"{evidence.program} pool stop {sight.name}"
        text = f"{_jobs(left)} of it still in the queue or running: {ids}"
        findings.append(Finding("note", text, f"they end when they are drained; {stop} ends them"))
    return findings


# The broker, the keeper and the batch system.


def _broker(sight: Sight) -> Finding:
    broker = sight.broker
    where = f"{broker.address}{f' on {broker.host}' if broker.host else ''}"
    if broker.alive:
        return Finding("ok", f"the broker at {where} answers")
    if not broker.address:
        if sight.settings.broker == "job":
            return Finding("note", "the job with the broker has not started yet")
        return Finding("WRONG", broker.trouble, "the keeper starts a broker; is it alive?")
    todo = "the keeper starts it again on its host"
    if broker.job or sight.settings.broker == "job":
        todo = "the keeper submits a job for another one"
    elif sight.settings.broker != "here":
        todo = "it is yours (--broker): start it, or correct its address in pool.toml"
    return Finding("WRONG", f"no broker answers at {where}: {broker.trouble}", todo)


def _keeper(sight: Sight, evidence: Evidence) -> Finding:
    note = sight.keeper
    start = f"{evidence.program} pool start {sight.name} starts it again"
    beat_s = max(sight.now - note.beat, 0.0)
    if not note.pid:
        return Finding("WRONG", "the pool has no keeper: nothing is submitted", start)
    who = f"the keeper (pid {note.pid} on {note.host})"
    if not sight.keeper_alive:
        last = f"its last look was {short_text(beat_s)} ago"
        text = f"{who} is gone, {last}: ended jobs get no successors"
        return Finding("WRONG", text, start)
    if beat_s > max(_BEATS * note.every_s, 60.0):
        text = f"{who} has not looked for {short_text(beat_s)}"
        return Finding("WRONG", text, "see logs/keeper.log")
    if note.trouble:
        return Finding("WRONG", f"{who}: {note.trouble}", "see logs/keeper.log")
    return Finding("ok", f"{who} looked {short_text(beat_s)} ago")


def _launcher(sight: Sight) -> Finding:
    name = _launcher_name(sight)
    if not sight.silence:
        return Finding("ok", f"{name} answers")
    known = ""
    if sight.jobs_seen_at is not None:
        known = f"; what is said of jobs is {short_text(sight.now - sight.jobs_seen_at)} old"
    todo = "wait: running jobs go on, and nothing is submitted meanwhile"
    silent = sight.silence
    if "does not answer" not in silent:
        silent = f"{name} does not answer: {silent}"
    return Finding("WRONG", f"{silent}{known}", todo)


def _launcher_name(sight: Sight) -> str:
    return {"slurm": "Slurm", "local": "this machine"}.get(
        sight.settings.launcher, sight.settings.launcher
    )


def _paused(sight: Sight, evidence: Evidence) -> list[Finding]:
    resume = f"when it is mended, {evidence.program} pool start {sight.name} goes on"
    return [
        Finding("WRONG", f"no more jobs of {kind} are submitted: {reason}", resume)
        for kind, reason in (sight.keeper.paused or {}).items()
    ]


# The jobs.


def _pending(sight: Sight, evidence: Evidence) -> Iterator[Finding]:
    groups: defaultdict[tuple[str, str], list[Job]] = defaultdict(list)
    for job in sight.jobs:
        if job.state == "pending":
            groups[job.kind, job.reason].append(job)
    for (kind, reason), jobs in groups.items():
        verdict = explain(reason, sight.settings.resources, evidence.partitions)
        pend = "pends" if len(jobs) == 1 else "pend"
        text = f"{_ids(jobs)} ({kind}) {pend}: {reason or 'no reason yet'}: {verdict.meaning}"
        todo = verdict.todo.replace("JOB", jobs[0].id)
        if verdict.level == "ok":
            starts = min((j.started_at for j in jobs if j.started_at), default=None)
            if starts is not None and starts > sight.now:
                text += f"; starts in about {short_text(starts - sight.now)}"
        elif todo.startswith("--"):
            todo += _how_to_change(sight, evidence)
        yield Finding(verdict.level, text, todo)


def _how_to_change(sight: Sight, evidence: Evidence) -> str:
    """Say how an option is changed, because jobs in the queue keep what they asked for."""
    name, program = sight.name, evidence.program
    return f" (`{program} pool stop {name}`, then `{program} pool start {name}` with this option)"


def _running(sight: Sight, evidence: Evidence) -> Iterator[Finding]:
    registered = {sight.job_of(worker) for worker in sight.workers}
    ready = []
    for job in sight.jobs:
        if job.state != "running" or sight.settings.kind(job.kind) is None:
            continue  # a job that runs the broker has no workers
        life = evidence.lives.get(job.id)
        if job.id in registered or (sight.services is None and life and life.was_ready):
            ready.append(job)
        elif finding := _not_ready(sight, job, life):
            yield finding
    if ready:
        yield Finding("ok", f"{_jobs(ready)} with workers that are ready")


def _not_ready(sight: Sight, job: Job, life: Life | None) -> Finding | None:
    ran_s = sight.now - (job.started_at or sight.now)
    who = f"{job.id}{f' on {job.host}' if job.host else ''} ({job.kind})"
    if life is None and ran_s >= _LOG_S:
        text = f"{who} runs for {short_text(ran_s)} and wrote no log into {sight.folder}/logs"
        todo = "the node does not see the pool folder: use a folder that all nodes share"
        return Finding("WRONG", text, todo)
    why = cause(life.lines) if life else None
    if why and why.waits:
        return Finding("note", f"{who}: {why.text}", why.todo)
    if why and (ran_s >= START_S or why.todo):
        state = "was ready, and is not now" if life and life.was_ready else "never said READY"
        text = f"{who} ran {short_text(ran_s)} and {state}: {why.text}"
        todo = why.todo or _see_log(sight, job.id)
        if why.no_broker and not sight.broker.alive:
            todo = "it waits for the broker, which does not answer here either"
        return Finding("WRONG", text, todo)
    if ran_s < START_S:
        return Finding("ok", f"{who} starts, for {short_text(ran_s)} now")
    if life and life.was_ready:
        text = f"{who}: its workers were ready, and the broker does not know them now"
        return Finding("note", text, _see_log(sight, job.id))
    text = f"{who} runs for {short_text(ran_s)} and never said READY; its log names no error"
    last = tuple(life.lines[-_LAST_LINES:]) if life else ()
    return Finding("WRONG", text, _see_log(sight, job.id), last)


def _see_log(sight: Sight, job_id: str) -> str:
    return f"see {sight.folder}/logs/{job_id}.log"


def _ended(sight: Sight, evidence: Evidence) -> Iterator[Finding]:
    """Report jobs that ended badly; as a note if a later job of their kind was ready."""
    ready_at = {
        event.get("kind"): event["time"]
        for event in evidence.history
        if event.get("event") == "ready" and "time" in event
    }
    groups: defaultdict[tuple[Any, str], list[Mapping[str, Any]]] = defaultdict(list)
    for event in evidence.history:
        if event.get("event") == "ended" and event.get("bad"):
            why = _cause_of(evidence, event)
            groups[event.get("kind"), _without_numbers(why.text)].append(event)
    for (kind, _), events in groups.items():
        last = events[-1]
        is_over = ready_at.get(kind, -math.inf) > last.get("time", 0.0)
        yield _bad_end(sight, evidence, events, is_over=is_over)


def _cause_of(evidence: Evidence, event: Mapping[str, Any]) -> Cause:
    life = evidence.lives.get(str(event.get("job")))
    if life is None:
        return Cause("it wrote no log", "does the node see the pool folder?")
    return cause(life.lines) or Cause("its log names no error")


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "#", text)


def _bad_end(
    sight: Sight, evidence: Evidence, events: Sequence[Mapping[str, Any]], *, is_over: bool
) -> Finding:
    last = events[-1]
    job_id = str(last.get("job"))
    life, why = evidence.lives.get(job_id), _cause_of(evidence, last)
    code = last.get("code", "") if life is None or life.code is None else f"code {life.code}"
    where = f" on {last['host']}" if last.get("host") else ""
    before = f" (and {len(events) - 1} before it)" if len(events) > 1 else ""
    text = f"{job_id}{where} ({last.get('kind')}) ended with {code}{before}: {why.text}"
    if is_over:
        return Finding("note", f"{text}; a later job was ready")
    lines = tuple(life.lines[-_LAST_LINES:]) if life else ()
    return Finding("WRONG", text, why.todo or _see_log(sight, job_id), lines)


def _hosts(sight: Sight, evidence: Evidence) -> list[Finding]:
    todo = "tell the site's administrators; `exclude` in pool.toml is yours"
    return [
        Finding("note", f"no jobs are sent to {host}: {reason}", todo)
        for host, reason in (sight.keeper.excluded or {}).items()
    ]


# Versions and services.


def _versions(sight: Sight, evidence: Evidence) -> Iterator[Finding]:
    mine, brokers = evidence.version, sight.broker.version
    if brokers and brokers != mine:
        text = f"the broker has version {brokers}, and this command has {mine}"
        yield Finding("WRONG", text, "stop the pool and start it with one version")
    others: defaultdict[str, list[str]] = defaultdict(list)
    for worker in sight.workers:
        version = (worker.get("facts") or {}).get("version", "")
        if version and version != (brokers or mine):
            others[version].append(sight.job_of(worker) or "a job started by hand")
    for version, jobs in others.items():
        text = f"workers of {', '.join(sorted(set(jobs)))} have version {version}"
        todo = f"want {brokers or mine} everywhere: see --setup, --python and --container"
        yield Finding("WRONG", text, todo)


def _services(sight: Sight, evidence: Evidence) -> Iterator[Finding]:
    if sight.services is None:
        return
    for service, want in sight.want.items():
        report = sight.services.get(service, {})
        workers = report.get("workers", 0) - report.get("retired", 0)
        if workers or not want:
            continue
        kinds = {kind.key for kind in sight.settings.kinds if kind.workers.get(service)}
        if any(job.kind in kinds and job.state in ("pending", "running") for job in sight.jobs):
            text = f"{service} has no worker yet; its jobs are queued or start"
            yield Finding("note", text)
        elif not kinds & set(sight.keeper.paused or {}):
            text = f"{service} has no worker, and no job of it is queued or runs"
            yield Finding("WRONG", text, f"{evidence.program} pool logs {sight.name} --failed")


def _jobs(jobs: Sequence[Job]) -> str:
    return "1 job" if len(jobs) == 1 else f"{len(jobs)} jobs"


def _ids(jobs: Sequence[Job]) -> str:
    """Name jobs: `8812_0`, `8812_0 and 8812_1`, `8812_0 ... 8812_7 (8 jobs)`."""
    ids = [job.id for job in jobs]
    if len(ids) <= 2:
        return " and ".join(ids)
    return f"{ids[0]} ... {ids[-1]} ({len(ids)} jobs)"


# Gathering.


def gather(pool: PoolFolder, sight: Sight, *, program: str) -> Evidence:
    """Read what `diagnose` needs besides the look."""
    history = pool.history()
    bad = {str(e.get("job")) for e in history if e.get("event") == "ended" and e.get("bad")}
    running = {job.id for job in sight.jobs if job.state == "running"}
    logs = pool.job_logs()
    return Evidence(
        folder=[
            *folder_findings(pool, sight, has_logs=bool(logs)),
            *rights_findings(pool),
            *key_findings(pool, sight),
        ],
        lives={job: last_life(path) for job, path in logs.items() if job in bad | running},
        history=history,
        partitions=partitions() if sight.settings.launcher == "slurm" else {},
        program=program,
    )


def folder_findings(pool: PoolFolder, sight: Sight, *, has_logs: bool) -> list[Finding]:
    """Look at the pool folder: can it be written, is there room, and do the nodes see it?

    has_logs: a job has written its log into it, so at least one node sees it.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=pool.path, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(pool.path).free
    except OSError as error:
        text = f"{pool.path} cannot be written: {error.strerror}"
        return [Finding("WRONG", text, "make room or get the rights; jobs cannot write their logs")]
    if free < _LEAST_BYTES:
        text = f"{pool.path}: only {free >> 20} MiB are free"
        return [Finding("WRONG", text, "make room: logs and the history are written there")]
    top_folder = next((top for top in _OWN_FOLDERS if pool.path.is_relative_to(top)), None)
    if top_folder and sight.settings.launcher != "local" and not has_logs:
        text = f"{pool.path} is under {top_folder}, which each machine usually has for itself"
        todo = "if so, use a folder on a file system that all nodes share"
        return [Finding("note", text, todo)]
    return [Finding("ok", f"{pool.path} can be written, {_gib(free)} are free")]


def rights_findings(pool: PoolFolder) -> list[Finding]:
    """Look at who can write the pool folder, and who can read it."""
    try:
        mode = pool.mode()
    except PoolError as error:
        return [Finding("WRONG", str(error))]
    todo = f"chmod 700 {pool.path}"
    if mode & 0o022:
        text = f"others can write {pool.path} (mode {mode:04o}), and so take over the pool"
        return [Finding("WRONG", text, todo)]
    if mode & 0o077:
        text = (
            f"others can look into {pool.path} (mode {mode:04o}): they can read its settings and"
            " logs, but not its keys"
        )
        return [Finding("note", text, todo)]
    return []


def key_findings(pool: PoolFolder, sight: Sight) -> list[Finding]:
    """Look whether the broker has keys, and whether the contact file's keys can be used."""
    try:
        contact = read_contact(pool.contact_file)
    except NoContact as error:
        return [] if error.is_missing else [Finding("WRONG", str(error))]
    if contact.keys is not None:
        return []
    if contact.broker_key:
        text = f"{pool.contact_file} leads to a published file, which has no key of yours"
        todo = "ask the broker's owner for a file (`mdp keys new NAME`): --broker @NAME.json"
        return [Finding("WRONG", text, todo)]
    todo = "stop the pool, and start it again"
    if sight.settings.broker not in ("here", "job"):
        todo = "it is yours (--broker): start it with --contact FILE, and name it as @FILE"
    text = f"the broker at {contact.address} has no keys: anyone who reaches it can use it"
    return [Finding("note", text, todo)]


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.3g} GiB"


def partitions() -> dict[str, Partition]:
    """Return the partitions of the cluster by name; empty if `sinfo` does not answer."""
    try:
        listing = run_slurm(["sinfo", "--noheader", "--format=%P|%l|%a|%T|%D"], 15.0)
    except (LauncherError, LauncherSilent):
        return {}
    return parse_partitions(listing)


def parse_partitions(listing: str) -> dict[str, Partition]:
    """Read lines of `sinfo`: name, longest walltime, up or down, state of nodes, their number."""
    partitions_by_name: dict[str, Partition] = {}
    for line in listing.splitlines():
        fields = line.split("|")
        if len(fields) != 5:
            continue
        name, limit, up, state, count = fields
        usable = int(count) if count.isdigit() and _is_usable(state) else 0
        earlier = partitions_by_name.get(name.rstrip("*"))
        partitions_by_name[name.rstrip("*")] = Partition(
            name.rstrip("*"),
            limit_s=_limit_s(limit),
            up=up == "up",
            usable=usable + (earlier.usable if earlier else 0),
            default=name.endswith("*"),
        )
    return partitions_by_name


def _is_usable(state: str) -> bool:
    return re.match(r"(idle|mixed|allocated|completing|reserved)\b(?!\*)", state) is not None


def _limit_s(text: str) -> float:
    """Read a walltime of `sinfo`: `infinite`, `2:00` (minutes), `4:00:00`, `1-00:00:00`."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if not match:
        return math.inf
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
