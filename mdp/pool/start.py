"""The verbs `pool start`, `scale`, `stop` and `script`.

Each may be interrupted or killed at any moment: the same command goes on. What was asked for is in
`pool.toml` before anything is submitted, and jobs are found by their names and their folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ..errors import SettingsError
from ..settings import short_text
from ..sockets import Poll, clock, unix_time
from ..system.contact import write_link
from .doctor import partitions
from .keep import (
    Hands,
    contact_of,
    ensure_broker,
    job_array,
    resources_text,
    start_keeper,
    stop_broker,
    tail,
    wind_down,
)
from .keeper import Keeper
from .launcher import Job, LauncherError, LauncherSilent
from .observe import Observer, keeper_is_alive, launcher_of, seen_by_keeper
from .pending import explain
from .pool_folder import PoolError, PoolFolder
from .pool_settings import BROKER_KIND, Kind, PoolSettings, with_kind, with_want
from .slurm_launcher import script_with_options

Say = Callable[[str], None]

_KEEPER_S = 15.0  # within which a keeper writes its first note
_END_OF_KEEPER_S = 240.0  # it ends within; longer than sbatch and scancel may take together
_POLL_S = 0.5
_OVER = "over"  # the event after which nothing of a pool is left


def check(settings: PoolSettings) -> None:
    """Raise `SettingsError` for settings with which no pool can run."""
    if not settings.kinds or (not any(settings.want.values()) and settings.adapt is None):
        raise SettingsError("want at least one worker: -n, or --adapt MIN:MAX")
    if settings.broker == "job" and settings.launcher == "local":
        raise SettingsError("--broker job needs --launcher slurm")
    if settings.publish and settings.broker not in ("here", "job"):
        raise SettingsError(
            "--publish is for the pool's own broker: give it to your `mdp broker`, without --broker"
        )


def _check_publish(pool: PoolFolder, settings: PoolSettings) -> None:
    """Raise `SettingsError` for a published file in the pool's folder, which is private."""
    if settings.publish and Path(settings.publish).is_relative_to(pool.path):
        raise SettingsError(
            f"want --publish outside of {pool.path}, which only you can read, got"
            f" {settings.publish!r}"
        )


def dry_run(pool: PoolFolder, settings: PoolSettings, say: Say) -> None:
    """Show the scripts, and when the batch system would start the jobs. Nothing is submitted."""
    check(settings)
    _check_publish(pool, settings)
    launcher = launcher_of(pool, settings)
    for key, count in _first_jobs(settings).items():
        array = job_array(pool, settings, key, count)
        say(script_with_options(array))
        kind = settings.kind(key)
        workers = kind.workers if kind else {"the broker": 1}
        content = ", ".join(f"{n} of {service}" for service, n in workers.items())
        asks = resources_text(array.resources)
        say(
            f"would submit {_jobs(count)} as one array: {array.name}"
            f"{', ' + asks if asks else ''}; each with {content}"
        )
        try:
            say(launcher.preview(array))
        except LauncherSilent as error:
            say(f"when they would start is not known: {error}")


def script(pool: PoolFolder, settings: PoolSettings, say: Say) -> None:
    """Print what to submit by hand on any other system."""
    for key in settings.jobs_wanted():
        say(script_with_options(job_array(pool, settings, key, 1)).rstrip())


def _first_jobs(settings: PoolSettings) -> dict[str, int]:
    want = dict(settings.want)
    if settings.adapt:
        for service, count in settings.want.items():
            low, high = settings.adapt_limits(service) or settings.adapt
            want[service] = min(high, max(low, count))
    jobs = {key: count for key, count in settings.jobs_wanted(want).items() if count}
    return {BROKER_KIND: 1, **jobs} if settings.broker == "job" else jobs


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


# Start.


def start(pool: PoolFolder, asked: PoolSettings | None, say: Say) -> None:
    """Start a pool, or go on with one that was started.

    asked: the settings of the command line; None: those of `pool.toml`.
    """
    if asked is None:
        pool.require()
    was_there = pool.path.exists()
    # an earlier `start` may have been killed just after it submitted jobs
    began_at = unix_time() if was_there else 0.0
    settings = asked or pool.read_settings()
    check(settings)
    _check_publish(pool, settings)
    try:
        pool.create()
        with pool.locked():
            settings, runs = _settled(pool, asked, settings)
            observer = Observer(pool, settings, launcher_of(pool, settings))
            _check_possible(observer, settings, began_at, runs=runs)
            if not runs:
                _begin(pool, settings)
            keeper_runs = keeper_is_alive(pool.keeper()) and runs
            if settings.broker not in ("here", "job"):
                write_link(pool.contact_file, settings.broker)
            ensure_broker(pool, settings)
            say(_broker_line(pool, settings))
            if keeper_runs:
                say(f"keeper   runs already: pid {pool.keeper().pid} on {pool.keeper().host}")
            else:
                _submit_first(observer, settings, began_at, say)
    except (PoolError, LauncherError, LauncherSilent):
        if not was_there:
            _remove_empty(pool)
        raise
    ensure_keeper(pool, say)
    _show_jobs(observer, say)


def _settled(
    pool: PoolFolder, asked: PoolSettings | None, settings: PoolSettings
) -> tuple[PoolSettings, bool]:
    """Return the settings to use, and whether the pool runs already."""
    runs = pool.exists and pool.stopped_at is None
    if not runs or asked is None:
        return settings, runs
    present = pool.read_settings()
    same = replace(present, want=asked.want, adapt=asked.adapt, idle_s=asked.idle_s)
    if same != asked:
        names = [
            name
            for name in PoolSettings.__dataclass_fields__
            if getattr(present, name) != getattr(asked, name)
        ]
        raise PoolError(
            f"{pool.name} runs with other options ({', '.join(names)}): stop it first, or"
            f" `pool start {pool.name}` alone to go on with it as it is"
        )
    return present, True


def _check_possible(
    observer: Observer, settings: PoolSettings, began_at: float, *, runs: bool
) -> None:
    """Raise an error if the batch system is silent or refuses, or another pool has the name."""
    pool = observer.pool
    sight = observer.look(newer_than=began_at)
    if sight.silence:
        raise LauncherSilent(f"{sight.silence}: nothing was submitted; try again later")
    living = [job for job in observer.strangers if job.state != "ended"]
    if living:
        raise PoolError(
            f"another pool {pool.name} has jobs ({living[0].id}, ...): it is in"
            f" {living[0].folder}; take another name"
        )
    if not runs:
        for key, count in _first_jobs(settings).items():
            observer.launcher.preview(job_array(pool, settings, key, count))


def _begin(pool: PoolFolder, settings: PoolSettings) -> None:
    """Make the folder that of a pool that runs."""
    pool.write_settings(settings)
    if pool.stopped_at is not None:
        pool.note("resumed")
        pool.unmark_stopped()
    pool.note("start", want=settings.want, launcher=settings.launcher)


def _remove_empty(pool: PoolFolder) -> None:
    """Remove a folder that this command made and in which nothing began."""
    if not pool.exists:
        shutil.rmtree(pool.path, ignore_errors=True)


def _broker_line(pool: PoolFolder, settings: PoolSettings) -> str:
    contact = contact_of(pool)
    if settings.broker == "job":
        at = f"{contact.address} (job {contact.job})" if contact else "a job; workers follow it"
        return f"broker   {at}"
    if contact is None:
        return "broker   none yet"
    how = "here" if settings.broker == "here" else "yours"
    return f"broker   {contact.address} ({how})"


def _submit_first(observer: Observer, settings: PoolSettings, began_at: float, say: Say) -> None:
    """Submit what is missing, as the keeper would."""
    history = observer.pool.history()
    core = Keeper(settings, history, unix_time(), listed_since=began_at)
    core.resume()
    hands = Hands(observer, core)
    sight = observer.look(newer_than=began_at)
    hands.do(core.look(seen_by_keeper(sight), unix_time()))
    if core.paused:
        raise LauncherError(next(iter(core.paused.values())))
    system = settings.launcher.ljust(8)
    for kind, array, count in hands.arrays:
        say(f"{system} array {array} of {_jobs(count)}: {observer.pool.job_name(kind)}")


def ensure_keeper(pool: PoolFolder, say: Say) -> None:
    """Start the keeper if none runs."""
    if keeper_is_alive(pool.keeper()):
        return
    process = start_keeper(pool)
    give_up_at = clock() + _KEEPER_S
    poll = Poll()
    while clock() < give_up_at:
        note = pool.keeper()
        if note.pid == process.pid and note.start_ticks == process.start_ticks:
            say(f"keeper   pid {note.pid} on {note.host}")
            return
        if not process.is_running:
            break
        poll.wait(clock() + 0.1)
    if keeper_is_alive(pool.keeper()):  # of another command, at the same time
        return
    lines = tail(pool.logs / "keeper.log", 1)
    raise PoolError(f"the keeper did not start: {lines[-1] if lines else 'see logs/keeper.log'}")


def _show_jobs(observer: Observer, say: Say) -> None:
    """Say what the jobs do, and what they wait for; raise an error if they wait for ever."""
    pool = observer.pool
    say(f"logs     {os.path.relpath(pool.logs)}")
    sight = observer.look(newer_than=unix_time())
    if sight.silence:
        say(f"jobs     not known: {sight.silence}")
        return
    jobs = [job for job in sight.jobs if job.state != "ended"]
    pending = [job for job in jobs if job.state == "pending"]
    running = len(jobs) - len(pending)
    parts = [f"{running} running"] if running else []
    if pending:
        starts = [job.started_at for job in pending if job.started_at]
        first = f", est. {datetime.fromtimestamp(min(starts)):%H:%M}" if starts else ""
        reasons = sorted({job.reason for job in pending if job.reason})
        why = f" ({', '.join(reasons)})" if reasons else ""
        parts.append(f"{len(pending)} queued{why}{first}")
    if parts:
        say(f"jobs     {'; '.join(parts)}")
    _check_pending(observer, pending)


def _check_pending(observer: Observer, pending: Sequence[Job]) -> None:
    known = partitions() if pending and observer.settings.launcher == "slurm" else {}
    for job in pending:
        verdict = explain(job.reason, observer.settings.resources, known)
        if verdict.level == "WRONG":
            raise LauncherError(
                f"{job.id} never starts: {job.reason}: {verdict.meaning}: {verdict.todo};"
                f" `pool stop {observer.pool.name}`, then start it anew"
            )


# Scale.


def scale(
    pool: PoolFolder,
    want: dict[str, int],
    say: Say,
    *,
    adapt: tuple[int, int] | None = None,
    idle_s: float | None = None,
    optional: Sequence[Kind] = (),
) -> None:
    """Change how many workers are wanted; the keeper does the rest.

    optional: kinds of jobs that the pool gets if workers of their services are asked for.
    """
    pool.require()
    with pool.locked():
        if pool.stopped_at is not None:
            raise PoolError(f"{pool.name} is stopped: `pool start {pool.name}` starts it again")
        settings = pool.read_settings()
        for kind in optional:
            if set(kind.workers) & (set(want) - set(settings.want)):
                settings = with_kind(settings, kind)
        changed = with_want(settings, want) if want else settings
        if set(want) - changed.callers and adapt is None:
            changed = replace(changed, adapt=None)
        if adapt is not None:
            changed = replace(changed, adapt=adapt)
        if idle_s is not None:
            changed = replace(changed, idle_s=idle_s)
        if not want and adapt is None and idle_s is None:
            raise SettingsError("want SERVICE=WORKERS, or --adapt MIN:MAX")
        check(changed)
        pool.write_settings(changed)
        pool.note("scaled", want=changed.want, adapt=list(changed.adapt or ()))
        pool.note("resumed")
    jobs = ", ".join(f"{_jobs(count)} of {key}" for key, count in changed.jobs_wanted().items())
    if changed.adapt:
        low, high = changed.adapt
        say(f"{low} to {high} workers of each service; idle ones end after {_idle(changed)}")
    else:
        say(f"{', '.join(f'{name}: {n}' for name, n in changed.want.items())} ({jobs})")
    ensure_keeper(pool, say)


def _idle(settings: PoolSettings) -> str:
    return short_text(settings.idle_s)


# Stop.


def stop(pool: PoolFolder, say: Say, *, now: bool = False) -> None:
    """Stop a pool, and wait until none of its jobs is left; the same command goes on."""
    pool.require()
    asked_at = unix_time()
    settings = pool.read_settings()
    if pool.stopped_at is None:
        pool.mark_stopped()  # a job that starts from now on ends at once
        pool.note("stop", now=now)
    contact = contact_of(pool)
    observer = Observer(pool, settings, launcher_of(pool, settings), contact)
    _say_queued(observer, say)
    try:
        _end_jobs(observer, say, asked_at, now=now)
    except LauncherSilent as error:
        if not _was_over(pool):
            raise
        say(f"{pool.name} was stopped before, and nothing of it was left then; now {error}")
        return
    broker_is_gone = stop_broker(pool, settings, contact)
    if not broker_is_gone and contact:
        broker_is_gone = _wait_for_keeper(pool)
    if broker_is_gone or contact is None:
        _wait_for_end_of_keeper(pool, say)
        with contextlib.suppress(PoolError):  # a full disk
            pool.note(_OVER)
        say(f"{pool.name} is stopped; nothing of it is left")
    else:
        raise PoolError(
            f"the jobs have ended, but the broker still runs: pid {contact.pid} on"
            f" {contact.host}; run `pool stop` there"
        )


def _end_jobs(observer: Observer, say: Say, asked_at: float, *, now: bool) -> None:
    """Cancel or drain the jobs of a pool, and wait until they have ended."""
    pool, poll = observer.pool, Poll()
    last = ""
    while True:
        with pool.locked():
            wind_down(observer, now=now)  # as the last listing shows it, at once
        with pool.locked():
            left = wind_down(observer, now=now, newer_than=asked_at)
        if not left:
            return
        pending = sum(job.state == "pending" for job in left)
        line = f"waiting for {_jobs(len(left))} to end"
        line += f" ({pending} of them are queued, and cancelled)" if pending else ""
        if line != last:
            say(line)
        last = line
        poll.wait(clock() + _POLL_S)


def _was_over(pool: PoolFolder) -> bool:
    """True if an earlier `stop` has seen the end of everything."""
    history = pool.history()
    return bool(history) and history[-1]["event"] == _OVER


def _say_queued(observer: Observer, say: Say) -> None:
    sight = observer.look()
    queued = {
        name: report["queued"] + report["busy"]
        for name, report in (sight.services or {}).items()
        if report.get("queued", 0) + report.get("busy", 0)
    }
    if queued:
        rows = ", ".join(f"{count} of {name}" for name, count in queued.items())
        say(f"still asked for: requests of {rows}; their clients wait until workers come again")


def _wait_for_end_of_keeper(pool: PoolFolder, say: Say) -> None:
    """Wait for the keeper of this host, which ends when nothing is left of the pool.

    It may wait for sbatch, and then it ends the jobs that it has just submitted.
    """
    poll = Poll()
    began_at = clock()
    is_said = False
    while pool.keeper().host == os.uname().nodename and keeper_is_alive(pool.keeper()):
        if clock() >= began_at + _END_OF_KEEPER_S:
            raise PoolError(
                f"the keeper (pid {pool.keeper().pid}) does not end: kill it, then stop again"
            )
        if not is_said and clock() >= began_at + _KEEPER_S:
            say("waiting for the keeper, which waits for the batch system")
            is_said = True
        poll.wait(clock() + 0.1)


def _wait_for_keeper(pool: PoolFolder) -> bool:
    """Wait for the keeper on another host, which stops the broker there."""
    poll = Poll()
    give_up_at = clock() + 45.0
    while clock() < give_up_at:
        if contact_of(pool) is None:
            return True
        if not keeper_is_alive(pool.keeper()):
            return False
        poll.wait(clock() + 1.0)
    return False
