"""Set up the process of a command: error reports, log, signals and limits."""

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
    """Report an error as one line on stderr, and exit: with 2 for misuse, with 1 for failure."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # a BrokenPipeError comes here, where it is caught
    except MDPError as error:
        print(f"mdp: {one_line(str(error))}", file=sys.stderr)
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `mdp services | head`
        _drop_stdout()
        sys.exit(1)


def configure_logging(*, verbose: bool, quiet: bool = False) -> None:
    """Log to stderr, one line per event, with time and zone; `quiet`: only warnings and errors."""
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
    """Format a time as ISO 8601, local with its zone: `2026-11-28T01:12:10.123+00:00`."""
    return datetime.fromtimestamp(unix_s).astimezone().isoformat(timespec="milliseconds")


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """End the block, without an error, at SIGINT, at SIGTERM and when stdout's reader is gone."""
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
        signal.signal(stop, signal.SIG_IGN)  # a second signal would interrupt the cleanup
    raise KeyboardInterrupt


def _drop_stdout() -> None:
    """Discard the rest of the output, because its reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def stop_bell() -> Iterator[Bell]:
    """Return a bell that SIGTERM and Ctrl-C ring: once means drain, twice means stop at once."""
    bell = Bell()
    try:
        yield _ring_at_signals(bell)
    finally:
        signal.set_wakeup_fd(-1)
        bell.close()


def _ring_at_signals(bell: Bell) -> Bell:
    # the wakeup fd ends the poll: a Python handler alone would run only after it, if the signal
    # comes just before the poll begins
    signal.set_wakeup_fd(bell.wake_fd(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, bell.ring)
    signal.signal(signal.SIGINT, bell.ring)
    return bell


def raise_file_limit() -> None:
    """Raise the soft limit of open files (often 1024) to the hard one: each peer uses one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
