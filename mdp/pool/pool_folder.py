"""The pool folder, on a file system that all hosts share: what was asked for, and what happened.

NAME/pool.toml      the settings, with the names of the options; may be edited
NAME/broker.json    the contact file of the broker
NAME/keeper.json    which process keeps the pool, and what it last saw
NAME/logs/          ARRAY_TASK.log of each job, broker.log, keeper.log
NAME/history.jsonl  one line for each event
NAME/stopped        exists once the pool was stopped: a job that starts later ends at once
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from ..errors import MDPError, SettingsError
from ..sockets import unix_time
from .pool_settings import BROKER_KIND as BROKER_KIND
from .pool_settings import Kind as Kind
from .pool_settings import PoolSettings as PoolSettings
from .pool_settings import parse as parse
from .pool_settings import update

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LOG = re.compile(r"(\d+)_(\d+)\.log")
_MAX_HISTORY_BYTES = 8 << 20  # of the end of the history, which is what a command reads


class PoolError(MDPError):
    """A pool folder cannot be read or written, or is not one; or a pool is not as it must be."""


@dataclass(frozen=True)
class KeeperNote:
    """What the keeper writes about itself and its last look: `keeper.json`."""

    pid: int = 0
    host: str = ""
    start_ticks: int = 0
    """With the pid it names the process; a pid alone may be given out again."""
    beat: float = 0.0
    """Unix time of its last look."""
    every_s: float = 2.0
    """Seconds between two looks."""
    want: dict[str, int] | None = None
    """Workers of each service that the keeper aims at now, with `--adapt`."""
    paused: dict[str, str] | None = None
    """Kinds for which no jobs are submitted, and why."""
    excluded: dict[str, str] | None = None
    """Hosts on which no job may start, and why."""
    silent_since: float | None = None
    """Unix time since when the batch system has not answered; None: it answers."""
    trouble: str = ""
    """The error of the last look, in one line; empty if there was none."""


class PoolFolder:
    """The paths of a pool, and how its files are read and written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.abspath(path))
        self.name = self.path.name
        if not _NAME.fullmatch(self.name):
            want = "a name of letters, digits, '_', '-' and '.'"
            raise SettingsError(f"want {want} for a pool, got {self.name!r}")
        if not str(self.path).isprintable() or '"' in str(self.path) or "\\" in str(self.path):
            # sbatch cannot be told of such a folder, or squeue does not show it as it is
            raise SettingsError(
                "want a folder for a pool whose path is UTF-8 without control characters, '\"' and"
                f" '\\', got {str(self.path)!r}"
            )
        self.settings_file = self.path / "pool.toml"
        self.contact_file = self.path / "broker.json"
        self.keeper_file = self.path / "keeper.json"
        self.history_file = self.path / "history.jsonl"
        self.stopped_file = self.path / "stopped"
        self.lock_file = self.path / ".lock"
        self.logs = self.path / "logs"
        self.jobs = self.path / ".jobs"
        """Of the local launcher: one file for each of its processes."""

    @property
    def exists(self) -> bool:
        return self.settings_file.exists()

    def job_name(self, kind: str) -> str:
        return f"{self.name}.{kind}"

    def log_of(self, job_id: str) -> Path:
        """Return the log of a job: `logs/8812_3.log`."""
        return self.logs / f"{job_id}.log"

    def job_logs(self) -> dict[str, Path]:
        """Return the log of each job that has one, by the job's id."""
        try:
            names = os.listdir(self.logs)
        except OSError:
            return {}
        paths = {name[:-4]: self.logs / name for name in names if _LOG.fullmatch(name)}
        return dict(sorted(paths.items(), key=lambda item: _numbers(item[0])))

    def create(self) -> None:
        """Make the folder with mode 0700, and `logs/`.

        Raises `PoolError` if the file system refuses, or if others can write the folder.
        """
        with writing(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.check_rights()
        with writing(self.path):
            self.logs.mkdir(exist_ok=True)

    def mode(self) -> int:
        """Return the folder's permissions, such as 0o700. Raises `PoolError`."""
        try:
            return stat.S_IMODE(self.path.stat().st_mode)
        except OSError as error:
            raise PoolError(f"cannot read {self.path}: {error.strerror}") from None

    def check_rights(self) -> None:
        """Raise `PoolError` if others can write the folder: they could replace its broker."""
        mode = self.mode()
        if mode & 0o022:
            raise PoolError(
                f"others can write {self.path} (mode {mode:04o}), so they could take over the pool:"
                f" `chmod 700 {self.path}`"
            )

    def require(self) -> None:
        """Raise `PoolError` unless this is a pool folder."""
        if not self.exists:
            raise PoolError(
                f"{self.path} is not a pool: it has no pool.toml; `pool start` makes it"
            )

    # Settings.

    def read_settings(self) -> PoolSettings:
        try:
            text = self.settings_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            self.require()
            raise
        except OSError as error:
            raise PoolError(f"cannot read {self.settings_file}: {error.strerror}") from None
        return parse(text, str(self.settings_file))

    def write_settings(self, settings: PoolSettings) -> None:
        """Write `pool.toml`; comments and keys that a user added are left as they are."""
        try:
            document = tomlkit.parse(self.settings_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            document = tomlkit.document()
        update(document, settings)
        write_whole(self.settings_file, tomlkit.dumps(document))

    # History.

    def note(self, event: str, **fields: Any) -> None:
        """Append an event to the history: one line, in one write."""
        fields = {"time": round(unix_time(), 3), "event": event, **fields}
        line = json.dumps(fields).encode() + b"\n"
        with writing(self.history_file), open(self.history_file, "ab+", buffering=0) as file:
            if end := file.seek(0, os.SEEK_END):
                file.seek(end - 1)
                if file.read(1) != b"\n":  # a full disk has cut off the line before
                    line = b"\n" + line
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def history(self) -> list[dict[str, Any]]:
        """Return the events, oldest first; a line that is not whole is left out."""
        try:
            with open(self.history_file, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _MAX_HISTORY_BYTES))
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PoolError(f"cannot read {self.history_file}: {error.strerror}") from None
        return [event for line in lines if (event := _event(line))]

    # Markers, and who keeps the pool.

    @property
    def stopped_at(self) -> float | None:
        """Return when the pool was stopped (Unix time); None: it was not."""
        try:
            return float(self.stopped_file.stat().st_mtime)
        except OSError:
            return None

    def mark_stopped(self) -> None:
        with writing(self.stopped_file):  # an empty file: a full disk may have room for its name
            self.stopped_file.touch()

    def unmark_stopped(self) -> None:
        with writing(self.stopped_file):
            self.stopped_file.unlink(missing_ok=True)

    def keeper(self) -> KeeperNote:
        """Return what the keeper wrote last; an empty note if it never wrote one."""
        try:
            fields = json.loads(self.keeper_file.read_text(encoding="utf-8"))
            known = set(KeeperNote.__dataclass_fields__)
            return KeeperNote(**{name: fields[name] for name in known & set(fields)})
        except (OSError, ValueError, TypeError, AttributeError):
            return KeeperNote()

    def write_keeper(self, note: KeeperNote) -> None:
        fields = {name: getattr(note, name) for name in KeeperNote.__dataclass_fields__}
        write_whole(self.keeper_file, json.dumps(fields) + "\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the pool's lock: only one command at a time changes a pool.

        The lock ends with the process. Where the file system has no locks, there is none.
        """
        with writing(self.lock_file):
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _numbers(job_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in job_id.split("_"))


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one line with the path and the reason."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise PoolError(f"cannot write {error.filename or path}: {reason}") from None


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, and never a part."""
    with writing(path):
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
