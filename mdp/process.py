"""What every command's process sets up: its errors, its log, its signals, its limits."""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import NoReturn

from .errors import MDPError, SettingsError
from .sockets import Bell
from .wire import one_line


@contextmanager
def errors_reported() -> Iterator[None]:
    """An error is one line on stderr; a misuse exits with 2, a failure with 1."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here a reader that has left is still caught
    except MDPError as error:
        print(f"mdp: {one_line(str(error))}", file=sys.stderr)
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `mdp services | head`
        _drop_stdout()
        sys.exit(1)


def configure_logging(*, verbose: bool, quiet: bool = False) -> None:
    """One line an event, on stderr; its time has its zone. Quiet: from warnings on."""
    if verbose and quiet:
        raise SettingsError("want --verbose or --quiet, got both")
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


class _Formatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return timestamp(record.created)


def timestamp(unix_s: float) -> str:
    """ISO 8601 in local time with its zone: `2026-11-28T01:12:10.123+00:00`."""
    return datetime.fromtimestamp(unix_s).astimezone().isoformat(timespec="milliseconds")


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the block, and that is all they do. So does a reader that leaves."""
    for number in _STOPS:
        signal.signal(number, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        return
    except BrokenPipeError:  # `mdp services --watch | head`
        _drop_stdout()


_STOPS = (signal.SIGINT, signal.SIGTERM)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    for stop in _STOPS:
        signal.signal(stop, signal.SIG_IGN)  # the second one would disturb the end
    raise KeyboardInterrupt


def _drop_stdout() -> None:
    """What is left to be written goes nowhere: nobody reads any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def stop_bell() -> Iterator[Bell]:
    """A bell that SIGTERM and Ctrl-C ring: once to drain, twice to stop at once."""
    bell = Bell()
    try:
        yield _rung_by_signals(bell)
    finally:
        signal.set_wakeup_fd(-1)
        bell.close()


def _rung_by_signals(bell: Bell) -> Bell:
    # a signal that comes just before a poll begins would wait for its end: Python's handlers do
    signal.set_wakeup_fd(bell.wake_fd(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, bell.ring)
    signal.signal(signal.SIGINT, bell.ring)
    return bell


def raise_file_limit() -> None:
    """Each peer is an open file; the usual soft limit of 1024 is a habit, not a need."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
