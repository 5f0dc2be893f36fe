"""What the process of a command sets up: its errors, its log, its signals, its limits."""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import NoReturn

from .errors import SettingsError
from .sockets import Bell
from .wire import one_line

Explain = Callable[[Exception], "str | None"]

FAILED, INTERRUPTED = 1, 130
"""Exit codes. A class of errors has its own in `exit_code`: 1 failed, 2 misused."""


@contextmanager
def errors_reported(program: str = "mdp", *, explain: Explain | None = None) -> Iterator[None]:
    """End the process with one line on stderr for an error that has an `exit_code`.

    explain: a better text for an error, or None; with a text, other errors end with 1 as well.
    What has neither is a bug, and raised. Ctrl-C ends with 130; a reader of stdout that has left
    ends the process quietly, with 1.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # a reader that has left is found here, inside the outer try
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `mdp services | head`
        _drop_stdout()
        sys.exit(FAILED)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        text = explain(error) if explain else None
        if code is None and text is None:
            raise
        line = " ".join((text or str(error)).split())
        print(f"{program}: {one_line(line)}", file=sys.stderr)
        sys.exit(FAILED if code is None else code)


def configure_logging(*, verbose: bool, quiet: bool = False) -> None:
    """Log a line per event on stderr, with its time and zone; quiet: warnings and errors only."""
    if verbose and quiet:
        raise SettingsError("--quiet cannot be combined with --verbose")
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
    """End the block without an error on SIGINT, SIGTERM, or when the reader of stdout leaves."""
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
    """Discard what is still to be written to stdout: its reader has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def stop_bell() -> Iterator[Bell]:
    """A wake-up that SIGTERM and Ctrl-C ring: the first asks to drain, the second to stop."""
    bell = Bell()
    try:
        yield _rung_by_signals(bell)
    finally:
        signal.set_wakeup_fd(-1)
        bell.close()


def _rung_by_signals(bell: Bell) -> Bell:
    # Python runs a handler only after the poll; the file descriptor ends the poll at once
    signal.set_wakeup_fd(bell.wake_fd(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, bell.ring)
    signal.signal(signal.SIGINT, bell.ring)
    return bell


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one: each peer is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
