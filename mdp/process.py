"""What every command's process sets up: its errors, its log, its signals, its limits."""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import MDPError, SettingsError
from .sockets import Bell
from .wire import one_line


@contextmanager
def errors_reported() -> Iterator[None]:
    """An error is one line on stderr; a misuse exits with 2, a failure with 1."""
    try:
        yield
    except MDPError as error:
        print(f"mdp: {one_line(str(error))}", file=sys.stderr)
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `mdp services | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def configure_logging(*, verbose: bool) -> None:
    """One line an event, on stderr."""
    level = logging.DEBUG if verbose else logging.INFO
    line = "%(asctime)s %(levelname)-7s %(message)s"
    logging.basicConfig(level=level, format=line, stream=sys.stderr)


@contextmanager
def stop_bell() -> Iterator[Bell]:
    """A bell that SIGTERM and Ctrl-C ring: once to drain, twice to stop at once."""
    bell = Bell()
    try:
        yield _rung_by_signals(bell)
    finally:
        bell.close()


def _rung_by_signals(bell: Bell) -> Bell:
    signal.signal(signal.SIGTERM, bell.ring)
    signal.signal(signal.SIGINT, bell.ring)
    return bell


def raise_file_limit() -> None:
    """Each peer is an open file; the usual soft limit of 1024 is a habit, not a need."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
