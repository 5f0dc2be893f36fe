"""Set up the process of a command: error reports, log, signals and limits."""

from __future__ import annotations

import ctypes
import errno
import functools
import logging
import os
import resource
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from .errors import SettingsError
from .sockets import Wakeup
from .wire import one_line

Explain = Callable[[Exception], "str | None"]

FAILED, INTERRUPTED = 1, 130
"""Exit codes. A class of errors has its own in `exit_code`: 1 failed, 2 misused."""


@contextmanager
def errors_reported(program: str = "mdp", *, explain: Explain | None = None) -> Iterator[None]:
    """Report an error that has an `exit_code` as one line on stderr, and exit with that code.

    explain: returns a better text for an error, or None; an error with such a text but without an
    `exit_code` exits with 1. An error with neither is a bug, and is raised. Ctrl-C exits with 130.
    If the reader of stdout is gone, the process exits with 1 and prints nothing.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # a BrokenPipeError comes here, where it is caught
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
    """Log to stderr, one line per event, with time and zone; `quiet`: only warnings and errors."""
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
    """Format a time as ISO 8601, local with its zone: `2026-11-28T01:12:10.123+00:00`."""
    return datetime.fromtimestamp(unix_s).astimezone().isoformat(timespec="milliseconds")


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """End the block, without an error, at a stop signal and when stdout's reader is gone."""
    for number in stop_signals():
        signal.signal(number, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        return
    except BrokenPipeError:  # `mdp services --watch | head`
        _drop_stdout()


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that stop a command: Ctrl-C (SIGINT), SIGTERM and SIGHUP.

    SIGHUP comes when the terminal or the connection to it is closed. `nohup` makes a command ignore
    it; then it is not among the signals.
    """
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    drop_closed_terminal()
    for stop in stop_signals():
        signal.signal(stop, signal.SIG_IGN)  # a second signal would interrupt the cleanup
    raise KeyboardInterrupt


def _drop_stdout() -> None:
    """Discard the rest of the output, because its reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def drop_closed_terminal() -> None:
    """Discard output to a terminal that was closed: to write to it would be an error."""
    for descriptor in (1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


@contextmanager
def stop_signal() -> Iterator[Wakeup]:
    """Return a wake-up for `stop_signals`: one signal means drain, two mean stop at once.

    A SIGHUP is never the second signal: when a terminal is closed, the kernel and the shell send
    one each.
    """
    wakeup = Wakeup()
    try:
        yield _wake_at_signals(wakeup)
    finally:
        signal.set_wakeup_fd(-1)
        wakeup.close()


def _wake_at_signals(wakeup: Wakeup) -> Wakeup:
    # the wakeup fd ends the poll: a Python handler alone would run only after it, if the signal
    # comes just before the poll begins
    signal.set_wakeup_fd(wakeup.wake_fd(), warn_on_full_buffer=False)
    for number in stop_signals():
        is_hangup = number == signal.SIGHUP
        signal.signal(number, functools.partial(_wake_first, wakeup) if is_hangup else wakeup.wake)
    return wakeup


def _wake_first(wakeup: Wakeup, *_: object) -> None:
    drop_closed_terminal()
    if not wakeup.count:
        wakeup.wake()


def raise_file_limit() -> None:
    """Raise the soft limit of open files (often 1024) to the hard one.

    A broker has one for each peer; a worker's host has about eight for each worker.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies, even by SIGKILL (Linux)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)  # the parent died before the call above


def memory_bytes() -> int:
    """Return the memory that this process may use: the machine's, or its control group's limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        groups = Path("/proc/self/cgroup").read_text().split()
    except OSError:
        groups = []  # not Linux
    return min([machine, *(limit for group in groups for limit in _limits(group))])


def _limits(group: str) -> Iterator[int]:
    """Yield the limits of a control group and of its parents: a line of /proc/self/cgroup."""
    _, controllers, path = group.split(":", 2)
    if controllers and "memory" not in controllers.split(","):
        return
    root = Path("/sys/fs/cgroup/memory" if controllers else "/sys/fs/cgroup")
    name = "memory.limit_in_bytes" if controllers else "memory.max"
    folder = root / path.lstrip("/")
    for parent in (folder, *folder.parents):
        if not parent.is_relative_to(root):
            return
        try:
            yield int((parent / name).read_text())
        except (OSError, ValueError):
            continue  # the group is not visible here, or its limit is "max"
