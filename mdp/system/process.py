"""Set up the process of a command: error reports, signals and limits."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ..sockets import Wakeup, clock
from ..wire import one_line
from .interrupts import drop_closed_terminal, interrupted_by_signals, stop_signals
from .logs import log_error

Explain = Callable[[Exception], "str | None"]

FAILED, INTERRUPTED = 1, 130
"""Exit codes. A class of errors has its own in `exit_code`: 1 failed, 2 misused."""


@contextmanager
def errors_reported(program: str = "mdp", *, explain: Explain | None = None) -> Iterator[None]:
    """Report an error that has an `exit_code` as one line on stderr, and exit with that code.

    explain: returns a better text for an error, or None; an error with such a text but without an
    `exit_code` exits with 1. An error with neither is a bug, and is raised. Ctrl-C exits with 130.
    If the reader of stdout is gone, the process exits with 1 and prints nothing. The error is also
    the last line of a log in a file (--log-file), or as JSON (--log-json).
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
        shown = f"{program}: {one_line(line)}"
        if not log_error(shown):
            print(shown, file=sys.stderr)
        sys.exit(FAILED if code is None else code)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """End the block, without an error, at a stop signal and when stdout's reader is gone."""
    try:
        with interrupted_by_signals(restores=False):
            yield
    except KeyboardInterrupt:
        return
    except BrokenPipeError:  # `mdp services --watch | head`
        _drop_stdout()


def _drop_stdout() -> None:
    """Discard the rest of the output, because its reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def stop_signal() -> Iterator[Wakeup]:
    """Return a wake-up for `stop_signals`: one signal means drain, two mean stop at once.

    `StopSignals` says which signals count as one. The process must end after the block: if a signal
    has stopped it, further ones are ignored, so that srun's second SIGTERM does not kill Python
    while it exits, and the exit code stays that of the command.
    """
    wakeup = Wakeup()
    try:
        yield _wake_at_signals(wakeup)
    finally:
        signal.set_wakeup_fd(-1)
        if wakeup.count:
            for number in stop_signals():
                signal.signal(number, signal.SIG_IGN)
        wakeup.close()


class StopSignals:
    """Counts stop signals: some are sent twice, though whoever sends them wants one.

    srun and its slurmstepd both pass on the SIGTERM at the end of a job's time, so a SIGTERM within
    `_SAME_S` of another one is the same. A closed terminal sends SIGHUP from the kernel and from
    the shell, so it counts only as the first signal. SIGUSR1 announces the end of a job: it drains,
    and the SIGTERM that follows it at the end still lets the process drain.
    """

    def __init__(self) -> None:
        self.count = 0
        self._terminated_at = -math.inf
        self._only_announced = False

    def counts(self, number: int, now: float) -> bool:
        """Return whether a signal that has arrived is a further one, and count it if so."""
        if number == signal.SIGTERM and now < self._terminated_at + _SAME_S:
            return False
        is_first = self.count == 0
        if number in (signal.SIGHUP, signal.SIGUSR1) and not is_first:
            return False
        if number == signal.SIGTERM:
            self._terminated_at = now
            if self._only_announced:
                self._only_announced = False
                return False
        self._only_announced = number == signal.SIGUSR1
        self.count += 1
        return True


_SAME_S = 2.0


def _wake_at_signals(wakeup: Wakeup) -> Wakeup:
    # the wakeup fd ends the poll: a Python handler alone would run only after it, if the signal
    # comes just before the poll begins
    signal.set_wakeup_fd(wakeup.wake_fd(), warn_on_full_buffer=False)
    signals = StopSignals()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            drop_closed_terminal()
        if signals.counts(number, clock()):
            wakeup.wake()

    for number in stop_signals():
        signal.signal(number, on_signal)
    return wakeup


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
