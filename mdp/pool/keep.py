"""Keeps a pool: looks each `EVERY_S`, and does what the core (keeper.py) decides.

The keeper is one process beside the broker. It may be killed at any time and started again: the
batch system has the jobs, and the history has what happened to them.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import MDPError
from ..keys.key_folder import SITE, KeyFolder
from ..settings import clock_text
from ..sockets import Poll, Wakeup, clock, unix_time
from ..system.broker_report import is_alive
from ..system.contact import Contact, NoContact
from ..system.contact import read as read_contact
from . import job_script
from .keeper import Action, Cancel, Keeper, Note, Submit, describe
from .launcher import Job, JobArray, LauncherError, LauncherSilent, Resources
from .local_launcher import Process, reap, start_detached, start_ticks, this_process
from .observe import Observer, launcher_of, seen_by_keeper
from .pool_folder import KeeperNote, PoolError, PoolFolder, write_whole, writing
from .pool_settings import BROKER_KIND, PROGRAMS, PoolSettings

log = logging.getLogger(__name__)

EVERY_S = 2.0
_GONE_S = 60.0  # a network file system may be away for a moment
_BROKER_WAIT_S = 300  # a worker without a broker ends after this, and its job counts as bad
_START_BROKER_S = 15.0
_LOG_LINES = 12  # of a job that ended badly, in the history


# What jobs run.


def worker_command(pool: PoolFolder, settings: PoolSettings, key: str) -> list[str]:
    """Return the command of a kind's jobs, with the options that all kinds have."""
    kind = settings.kind(key)
    if kind is None:
        raise PoolError(f"{pool.name} has no kind {key!r}")
    common = ["--broker", f"@{pool.contact_file}", "--broker-wait", str(_BROKER_WAIT_S)]
    common += ["--until", "auto"]
    if settings.adapt and settings.adapt[0] == 0:
        common += ["--idle", f"{2 * settings.idle_s:g}"]  # in case that no keeper drains it
    asked = replace(settings, resources=_resources_of(settings, key))
    return _in_place(pool, asked, [*kind.command, *common])


def _broker_command(pool: PoolFolder, settings: PoolSettings) -> list[str]:
    command = ["mdp", "broker", *_broker_options(pool, settings)]
    return _in_place(pool, settings, [*command, "--take-over", "--until", "auto"])


def _broker_options(pool: PoolFolder, settings: PoolSettings) -> list[str]:
    if settings.launcher == "local":
        bind = ["--bind", "tcp://127.0.0.1:0", "--keys"]  # loopback belongs to all users here
    else:
        bind = ["--bind", "tcp://0.0.0.0:0", "--public"]  # with a contact file: with keys
    publish = ["--publish", settings.publish or "none"]
    return ["--supervise", "--contact", str(pool.contact_file), *bind, *publish]


def _in_place(pool: PoolFolder, settings: PoolSettings, command: list[str]) -> list[str]:
    """Return the command with the Python that has this project, or in the container."""
    if settings.container:
        return job_script.in_container(
            command, settings.container, folder=str(pool.path), gpus=settings.resources.gpus
        )
    return [*program(command[0], settings.python), *command[1:]]


def program(name: str, python: str = "") -> list[str]:
    """Return how to run `ssnet` or `mdp`: its script beside Python, which no file of the current
    folder can replace, or else its module."""
    python = python or sys.executable
    beside = os.path.join(os.path.dirname(python), name)
    return [beside] if os.access(beside, os.X_OK) else [python, "-m", PROGRAMS[name]]


def source_path() -> str:
    """Return the folder of a source tree that this project runs from; empty if it is installed."""
    parent = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    return "" if os.path.basename(parent) in ("site-packages", "dist-packages") else parent


def _environment() -> dict[str, str]:
    values = {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}
    values |= {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    if path := source_path():
        values["PYTHONPATH"] = os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH"))))
    return values


def job_array(
    pool: PoolFolder,
    settings: PoolSettings,
    key: str,
    count: int,
    exclude: Sequence[str] = (),
) -> JobArray:
    """Return the jobs of a kind that one call submits."""
    resources = settings.resources
    excluded = tuple(dict.fromkeys((*resources.exclude, *exclude)))
    if key == BROKER_KIND:
        resources = replace(resources, gpus=0, cpus=1, mem="", raw=())
        command = _broker_command(pool, settings)
    else:
        command = worker_command(pool, settings, key)
        resources = _resources_of(settings, key)
    script = job_script.script(
        command,
        program=settings.kinds[0].command[0],
        name=pool.name,
        folder=str(pool.path),
        directory=settings.directory,
        source="" if settings.container else source_path(),
        setup=settings.setup,
        stagger_s=0.0 if key == BROKER_KIND else settings.stagger_s,
        needs_contact=key != BROKER_KIND,
    )
    resources = replace(resources, exclude=excluded)
    return JobArray(pool.job_name(key), count, script, pool.path, resources)


def _resources_of(settings: PoolSettings, key: str) -> Resources:
    """Return what each job of a kind asks for; a kind of clients needs a core for each worker."""
    kind = settings.kind(key)
    if kind is None or not kind.calls_others:
        return settings.resources
    cores = sum(kind.workers.values())
    return replace(settings.resources, gpus=0, cpus=cores, mem="", raw=())


# The broker and the keeper, as processes of this machine.


def _record(pool: PoolFolder, name: str) -> Path:
    return pool.path / f".{name}.process"


def _recorded(pool: PoolFolder, name: str) -> Process | None:
    """Return a process that was started on this host and still runs."""
    try:
        host, pid, ticks = _record(pool, name).read_text().split()
        process = Process(int(pid), int(ticks))
    except (OSError, ValueError):
        return None
    return process if host == os.uname().nodename and process.is_running else None


def ensure_broker(pool: PoolFolder, settings: PoolSettings) -> Contact | None:
    """Start the pool's broker on this machine if none answers; return where it is.

    After `mdp keys rotate` the next broker is started, to which the running one hands over. With
    `--broker job`, or a broker of the user's own, nothing is started.
    """
    contact = contact_of(pool)
    if settings.broker != "here":
        return contact
    has_old_keys = contact is not None and keys_are_old(pool, contact)
    runs = _recorded(pool, BROKER_KIND) is not None or (contact is not None and is_alive(contact))
    if runs and not has_old_keys:
        return contact
    command = [*program("mdp"), "broker", *_broker_options(pool, settings)]
    if has_old_keys:
        log.info("the keys were rotated: the next broker takes over")
        command.append("--take-over")
    process = start_detached(
        command,
        log=pool.logs / "broker.log",
        folder=pool.path,
        environment=_environment(),
    )
    record = f"{os.uname().nodename} {process.pid} {process.start_ticks}\n"
    write_whole(_record(pool, BROKER_KIND), record)
    give_up_at = clock() + _START_BROKER_S
    poll = Poll()
    while clock() < give_up_at and process.is_running:
        started = contact_of(pool)
        if started and started != contact and is_alive(started, timeout_s=1.0):
            return started
        poll.wait(clock() + 0.1)
    lines = tail(pool.logs / "broker.log", 1)
    raise PoolError(f"the broker did not start: {lines[-1] if lines else 'see logs/broker.log'}")


def keys_are_old(pool: PoolFolder, contact: Contact) -> bool:
    """True if the pool's folder of keys has other keys than the running broker (`mdp keys rotate`).

    Raises `MDPError` if the keys cannot be read.
    """
    folder = KeyFolder(pool.contact_file)
    if not contact.broker_key or not folder.exists:
        return False
    present = (folder.pair("broker")["public"], folder.pair(SITE)["public"])
    return present != (contact.broker_key, contact.public_key)


def contact_of(pool: PoolFolder) -> Contact | None:
    try:
        return read_contact(pool.contact_file)
    except NoContact:
        return None


def broker_process(pool: PoolFolder, contact: Contact | None) -> Process | None:
    """Return the process of this pool's broker (its supervisor) if it runs on this host."""
    if recorded := _recorded(pool, BROKER_KIND):
        return recorded
    if contact is None or contact.host != os.uname().nodename or not contact.pid:
        return None
    for pid in (_parent(contact.pid), contact.pid):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"mdp broker" in words and os.fsencode(pool.contact_file) in words:
                return _process(pid)
    return None


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _process(pid: int) -> Process:
    return Process(pid, start_ticks(pid))


def start_keeper(pool: PoolFolder) -> Process:
    """Start the pool's keeper, detached from this process."""
    return start_detached(
        [*program("mdp"), "pool", "keep", str(pool.path)],
        log=pool.logs / "keeper.log",
        folder=pool.path,
        environment=_environment(),
    )


def tail(path: Path, count: int) -> list[str]:
    """Return the last lines of a log."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 16384))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip()][-count:]


# Doing what was decided.


class Hands:
    """Carries out actions, and writes the history."""

    def __init__(self, observer: Observer, core: Keeper) -> None:
        self.observer = observer
        self.core = core
        self.arrays: list[tuple[str, str, int]] = []
        """Kind, array and number of jobs of each submission."""
        self._pool = observer.pool

    def do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Submit():
                    self._submit(action)
                case Cancel(ids, how, why):
                    self.observer.launcher.cancel(ids, how)
                    self.core.cancelled(action)
                    self._note(_DONE[how], jobs=ids, why=why)
                    log.info("%s %s: %s", how, ", ".join(ids), why)
                case Note(event, fields):
                    self._write(action, event, dict(fields))

    def _submit(self, action: Submit) -> None:
        settings = self.core.settings
        array = job_array(self._pool, settings, action.kind, action.count, action.exclude)
        try:
            array_id = self.observer.launcher.submit(array)
        except LauncherSilent as error:
            self.core.unanswered(action, unix_time())
            log.warning("%s: %s", array.name, error)
            self._note("unanswered", kind=action.kind, reason=str(error))
        except LauncherError as error:
            log.error("%s: %s", array.name, error)
            self._note("refused", kind=action.kind, reason=str(error))
            self.do(self.core.refused(action, str(error)))
        else:
            self.core.submitted(action, array_id, unix_time())
            self.arrays.append((action.kind, array_id, action.count))
            excluded = {"exclude": list(action.exclude)} if action.exclude else {}
            self._note(
                "submitted", kind=action.kind, array=array_id, count=action.count, **excluded
            )
            log.info("%s: array %s of %d: %s", array.name, array_id, action.count, action.why)

    def _write(self, action: Note, event: str, fields: dict[str, Any]) -> None:
        is_bad = event == "paused" or (event == "ended" and fields.get("bad"))
        if is_bad and fields.get("job"):
            fields["log"] = tail(self._pool.log_of(str(fields["job"])), _LOG_LINES)
        self._note(event, **fields)
        level = logging.WARNING if event in _SERIOUS or is_bad else logging.INFO
        log.log(level, "%s", describe(action))
        for line in fields.get("log", ()) if event == "paused" else ():
            log.warning("    %s", line)

    def _note(self, event: str, **fields: Any) -> None:
        _note(self._pool, event, **fields)


def _note(pool: PoolFolder, event: str, **fields: Any) -> None:
    try:
        pool.note(event, **fields)
    except PoolError as error:
        log.error("%s", error)  # a full disk neither ends a pool nor keeps it from stopping


_DONE = {"cancel": "cancelled", "drain": "drained", "kill": "killed"}
_SERIOUS = {"paused", "excluded", "silent", "requeued"}


# The loop.


class Keeping:
    """The keeper's process."""

    def __init__(self, pool: PoolFolder, stop: Wakeup) -> None:
        pool.require()
        self._pool = pool
        self._stop = stop
        settings = pool.read_settings()
        self._observer = Observer(pool, settings, launcher_of(pool, settings))
        self._core = Keeper(settings, pool.history(), unix_time())
        self._hands = Hands(self._observer, self._core)
        self._settings_time = self._modified()
        self._trouble = ""
        self._contact: Contact | None = None
        self._gone_since: float | None = None

    def run(self) -> None:
        """Keep the pool until it is stopped, or this process is."""
        poll = Poll(self._stop)
        mine = this_process()
        with _only_keeper(self._pool) as lock:
            log.info("keeping %s: pid %d", self._pool.path, mine.pid)
            self._write_note()
            while not self._stop.count:
                began_at = clock()
                if self._is_replaced(lock):
                    log.error("%s is another folder now", self._pool.path)
                    break
                if self._is_gone(began_at):
                    self._guarded(self._leave)
                    break
                if self._pool.stopped_at is not None:
                    if self._wind_down():
                        break
                else:
                    self._guarded(self._look)
                self._write_note()
                poll.wait(began_at + EVERY_S)
            log.info("the keeper of %s ends", self._pool.name)

    def _guarded(self, step: Any) -> None:
        """Run a step; an error is logged once, and tried again at the next look."""
        try:
            step()
        except (MDPError, OSError) as error:
            text = " ".join(str(error).split())
            if text != self._trouble:
                log.error("%s", text)
            self._trouble = text
        else:
            self._trouble = ""

    def _is_replaced(self, lock: int) -> bool:
        """True if the folder was moved away, and another pool with a keeper has its path."""
        try:
            present = os.stat(_lock_file(self._pool))
        except OSError:
            return False
        return not os.path.samestat(present, os.fstat(lock))

    def _is_gone(self, now: float) -> bool:
        """True if there has been no pool at the path for `_GONE_S`."""
        if os.path.exists(self._pool.settings_file):
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = now
        return self._gone_since is not None and now - self._gone_since >= _GONE_S

    def _leave(self) -> None:
        """End what can be ended of a pool whose folder was moved or removed."""
        log.error("there is no %s any more: its jobs and its broker end", self._pool.path)
        stop_broker(self._pool, self._core.settings, self._contact)
        wind_down(self._observer)

    def _look(self) -> None:
        reap()
        self._read_settings()
        self._contact = ensure_broker(self._pool, self._core.settings) or self._contact
        seen = seen_by_keeper(self._observer.look())
        contact = self._contact
        if contact and contact.job == seen.broker_job and keys_are_old(self._pool, contact):
            seen = replace(seen, outdated_broker=contact.job)
        if self._pool.stopped_at is None:
            self._hands.do(self._core.look(seen, unix_time()))

    def _modified(self) -> int:
        try:
            return self._pool.settings_file.stat().st_mtime_ns
        except OSError:
            return 0

    def _read_settings(self) -> None:
        """Read pool.toml again after a change, which also ends a pause."""
        modified = self._modified()
        if modified == self._settings_time:
            return
        settings = self._pool.read_settings()
        self._settings_time = modified
        self._core.settings = self._observer.settings = settings
        self._core.resume()
        log.info("pool.toml has changed: %s", settings.want)

    def _write_note(self) -> None:
        mine = this_process()
        note = KeeperNote(
            pid=mine.pid,
            host=os.uname().nodename,
            start_ticks=mine.start_ticks,
            beat=unix_time(),
            every_s=EVERY_S,
            want=self._core.wanted_now,
            paused=self._core.paused,
            excluded=dict(self._core.excluded),
            silent_since=self._core.silent_since,
            trouble=self._trouble,
        )
        with contextlib.suppress(PoolError):
            self._pool.write_keeper(note)

    def _wind_down(self) -> bool:
        """Go on with `pool stop`; return whether nothing is left."""
        try:
            with self._pool.locked():
                left = wind_down(self._observer)
        except (MDPError, OSError) as error:
            log.error("%s", error)
            return False
        if left:
            return False
        stop_broker(self._pool, self._core.settings, contact_of(self._pool))
        return True


@contextlib.contextmanager
def _only_keeper(pool: PoolFolder) -> Iterator[int]:
    """Raise `PoolError` if another keeper of this pool runs. Yield the open lock file."""
    with writing(_lock_file(pool)):
        descriptor = os.open(_lock_file(pool), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PoolError(f"{pool.name} has a keeper already") from None
        except OSError:
            log.debug("this file system has no locks")
        yield descriptor
    finally:
        os.close(descriptor)


def _lock_file(pool: PoolFolder) -> Path:
    return pool.path / ".keeper.lock"


# Stopping.


def wind_down(observer: Observer, *, now: bool = False, newer_than: float = 0.0) -> list[Job]:
    """Cancel pending jobs and drain running ones, each once; return the jobs that are left.

    now: end running jobs without a drain.
    """
    pool, launcher = observer.pool, observer.launcher
    sight = observer.look(newer_than=newer_than)
    if sight.silence:
        raise LauncherSilent(sight.silence)
    left = [job for job in sight.jobs if job.state != "ended"]
    done: dict[str, str] = {}  # of each job, in this life
    for event in pool.history():
        if event["event"] in ("drained", "killed"):
            done |= dict.fromkeys(map(str, event.get("jobs", ())), str(event["event"]))
        elif event["event"] == "requeued":
            done.pop(str(event.get("job")), None)
    done |= observer.ended
    if pending := [job.id for job in left if job.state == "pending"]:
        launcher.cancel(pending, "cancel")
        _note(pool, "cancelled", jobs=pending, at_stop=True)
    running = [job.id for job in left if job.state == "running"]
    event_name = "killed" if now else "drained"
    gone = {"killed"} if now else {"drained", "killed"}
    if fresh := [job for job in running if done.get(job) not in gone]:
        launcher.cancel(fresh, "kill" if now else "drain")
        observer.ended |= dict.fromkeys(fresh, event_name)
        _note(pool, event_name, jobs=fresh, at_stop=True)
    return left


def stop_broker(pool: PoolFolder, settings: PoolSettings, contact: Contact | None) -> bool:
    """Stop the pool's own broker on this host; return whether none of it is left here."""
    if settings.broker == "job":
        return True
    if settings.broker != "here":
        pool.contact_file.unlink(missing_ok=True)  # the link to the user's own broker
        return True
    process = broker_process(pool, contact)
    if process is None:
        is_here = contact is None or contact.host == os.uname().nodename
        return is_here or not is_alive(contact) if contact else True
    process.signal(signal.SIGTERM)
    poll = Poll()
    give_up_at = clock() + 30.0
    while process.is_running and clock() < give_up_at:
        reap()
        poll.wait(clock() + 0.1)
    process.signal(signal.SIGTERM)
    return not process.is_running


def resources_text(resources: Resources) -> str:
    """Describe what each job asks for: `4:00:00, 1 GPU, partition gpu`."""
    parts = [
        clock_text(resources.time_s) if resources.time_s else "",
        f"{resources.gpus} GPU{'s' if resources.gpus > 1 else ''}" if resources.gpus else "",
        f"{resources.cpus} CPU{'s' if resources.cpus > 1 else ''}" if resources.cpus else "",
        resources.mem,
        f"partition {resources.partition}" if resources.partition else "",
        " ".join(resources.raw),
    ]
    return ", ".join(part for part in parts if part)
