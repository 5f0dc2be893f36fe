"""The log of a process: its level, as text or JSON, on stderr or in a file that is rotated."""

from __future__ import annotations

import fcntl
import functools
import itertools
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from ..errors import MDPError, SettingsError

_NUMBERS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
LEVELS = tuple(_NUMBERS)
_REQUEST = re.compile(r"\brequest ([0-9a-f]{16})\b")


class LogFileError(MDPError, OSError):
    """The log file cannot be written."""


@dataclass(frozen=True)
class LogSettings:
    """What the options --log-... say."""

    level: str = ""
    """One of `LEVELS`; empty: it follows from --verbose and --quiet."""
    json: bool = False
    """One JSON object per line instead of text."""
    file: str = ""
    """Absolute path of the file; empty: the log goes to stderr."""
    size_bytes: int = 10_000_000
    """The file is renamed, and a new one begun, before it would become larger."""
    kept: int = 5
    """Number of renamed files: FILE.1 (the latest), FILE.2, ..."""

    def __post_init__(self) -> None:
        if self.level and self.level not in LEVELS:
            raise SettingsError(f"want level as {', '.join(LEVELS)}, got {self.level!r}")
        if self.size_bytes < 1:
            raise SettingsError(f"want size_bytes of at least 1, got {self.size_bytes}")
        if self.kept < 0:
            raise SettingsError(f"want kept of at least 0, got {self.kept}")


class _Process:
    """What this process has been told about its log."""

    settings = LogSettings()
    request = ""
    """The id of the request that this process computes; empty: none."""
    file: logging.Handler | None = None
    stderr: logging.Handler | None = None


def choose(settings: LogSettings) -> None:
    """Set what `configure_logging` uses in this process; `with_log_options` calls it."""
    _Process.settings = settings
    _Process.file = _Process.stderr = None


def chosen() -> LogSettings:
    return _Process.settings


def configure_logging(
    *,
    verbose: bool = False,
    quiet: bool = False,
    default: str = "info",
    log: LogSettings | None = None,
) -> None:
    """Log one line per event, with time and zone, to stderr or into a file.

    verbose: level debug; quiet: level warning; else `default`, unless the settings have a level.
    With a file, stderr has only warnings and errors. log: the settings; None: those of `choose`.
    Raises `SettingsError` if the level contradicts `verbose` or `quiet`, and `LogFileError`.
    """
    settings = _Process.settings if log is None else log
    choose(settings)
    level = _level(settings, verbose=verbose, quiet=quiet, default=default)
    stderr = logging.StreamHandler(sys.stderr)
    handlers: list[logging.Handler] = [stderr]
    if settings.file:
        stderr.setLevel(max(level, logging.WARNING))
        _Process.file = _SharedFile(settings)
        handlers.append(_Process.file)
    for handler in handlers:
        handler.setFormatter(_Json() if settings.json else _Text())
    if not settings.file:
        _Process.stderr = stderr
    logging.basicConfig(level=level, handlers=handlers)


def logging_of_children(*, verbose: bool, quiet: bool) -> Callable[[], None]:
    """Return a function that sets up the log of a child process as that of this one. Picklable."""
    return functools.partial(configure_logging, verbose=verbose, quiet=quiet, log=_Process.settings)


def log_error(line: str) -> bool:
    """Add the error that ends this process to its log; return True if stderr shows it so, too."""
    record = logging.LogRecord("mdp", logging.ERROR, __file__, 0, line, None, None)
    if _Process.file is not None:
        _Process.file.handle(record)
    if _Process.stderr is None or not _Process.settings.json:
        return False
    _Process.stderr.handle(record)
    return True


@contextmanager
def computing(request: str) -> Iterator[None]:
    """Add this id to all lines that this process logs in the block."""
    _Process.request = request
    try:
        yield
    finally:
        _Process.request = ""


def timestamp(unix_s: float) -> str:
    """Format a time as ISO 8601, local with its zone: `2026-11-28T01:12:10.123+00:00`."""
    return datetime.fromtimestamp(unix_s).astimezone().isoformat(timespec="milliseconds")


def _level(settings: LogSettings, *, verbose: bool, quiet: bool, default: str) -> int:
    if verbose and quiet:
        raise SettingsError("--quiet cannot be combined with --verbose")
    level = settings.level
    if verbose and level not in ("", "debug"):
        raise SettingsError(f"--log-level {level} contradicts --verbose, which is debug")
    if quiet and level in ("debug", "info") and not settings.file:
        raise SettingsError(
            f"--log-level {level} contradicts --quiet, which is warning: leave one of them out, or"
            " add --log-file for a log beside a quiet terminal"
        )
    by_flag = "debug" if verbose else "warning" if quiet and not settings.file else default
    return _NUMBERS[level or by_flag]


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return timestamp(record.created)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        line = super().formatMessage(record)
        if _Process.request and _Process.request not in line:
            line += f" [request {_Process.request}]"
        return line


class _Json(logging.Formatter):
    """One object per line: time with zone, level, host, pid, logger, message, request, trace."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        found = _REQUEST.search(message)
        request = found[1] if found else _Process.request
        fields: dict[str, object] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "logger": record.name,
            "message": message,
        }
        if request:
            fields["request"] = request
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class _SharedFile(logging.Handler):
    """Appends lines to a file that other processes of this machine may append to, too.

    Each line is one `write`. A process that finds the file full renames it, while it holds a lock;
    the others notice that the file has another inode, and open the new one.
    """

    def __init__(self, settings: LogSettings) -> None:
        super().__init__()
        self._settings = settings
        self._file = -1
        self._has_failed = False
        try:
            os.makedirs(os.path.dirname(settings.file) or ".", exist_ok=True)
            self._lock = os.open(
                f"{settings.file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666
            )
            self._open()
        except OSError as error:
            text = f"cannot write --log-file {settings.file}: {error.strerror}"
            raise LogFileError(text) from None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                self._make_room(len(line))
                os.write(self._file, line)
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
            self._has_failed = False
        except OSError as error:  # a full disk must not end a broker
            self._complain(error)

    def _make_room(self, size: int) -> None:
        path = self._settings.file
        try:
            is_same = os.path.samestat(os.stat(path), os.fstat(self._file))
        except FileNotFoundError:
            is_same = False
        if not is_same:  # another process has renamed it, or somebody has removed it
            self._open()
        filled = os.fstat(self._file).st_size
        if not filled or filled + size <= self._settings.size_bytes:
            return
        names = [path, *(f"{path}.{number}" for number in range(1, self._settings.kept + 1))]
        if self._settings.kept == 0:
            os.unlink(path)
        for newer, older in reversed(list(itertools.pairwise(names))):
            if os.path.exists(newer):
                os.replace(newer, older)
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        file = os.open(self._settings.file, flags, 0o666)
        if self._file >= 0:
            os.close(self._file)
        self._file = file

    def _complain(self, error: OSError) -> None:
        """Say once on stderr that lines are lost, until one can be written again."""
        if not self._has_failed:
            reason = error.strerror or error
            sys.stderr.write(f"cannot write the log {self._settings.file}: {reason}\n")
        self._has_failed = True

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            os.close(self._lock)
            self._file = -1
        super().close()
