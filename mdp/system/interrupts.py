"""Raise KeyboardInterrupt at a stop signal, but never while Python takes or releases a lock.

Python runs a signal handler between any two instructions of the main thread, also inside
`threading.Condition.__enter__` after it has taken the lock. A KeyboardInterrupt that is raised
there leaves the lock taken for ever, and the next thread that needs it hangs.
"""

from __future__ import annotations

import _thread
import errno
import os
import signal
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_LOCKING = {
    "concurrent.futures._base",
    "concurrent.futures.thread",
    "logging",
    "queue",
    "threading",
}
"""The modules of the standard library whose functions, in Python, take and release locks."""
_WAITING = {"_wait_for_tstate_lock", "emit", "flush", "join", "wait"}
"""Their functions that may wait long: the stop must end these waits."""
_AGAIN_S = 0.01
_AGAIN = signal.SIGURG  # systems ignore it by default, so one that comes late does nothing


@contextmanager
def interrupted_by_signals(*, restores: bool = True) -> Iterator[None]:
    """Raise KeyboardInterrupt in the block at the first stop signal, and ignore further ones.

    The main thread must enter it. restores: set the earlier handlers again after the block; without
    it, the process must end after the block.
    """
    interruption = _Interruption()
    handlers = {number: signal.signal(number, interruption.begin) for number in stop_signals()}
    try:
        yield
        if interruption.is_delayed:
            raise KeyboardInterrupt
    finally:
        interruption.is_delayed = False
        if restores:
            for number, handler in handlers.items():
                signal.signal(number, handler)


class _Interruption:
    """A stop signal that has arrived; the KeyboardInterrupt may come up to some 20 ms later."""

    def __init__(self) -> None:
        self.is_delayed = False
        self._position: tuple[FrameType, int] | None = None

    def begin(self, number: int, frame: FrameType | None) -> None:
        drop_closed_terminal()
        for stop in stop_signals():
            signal.signal(stop, signal.SIG_IGN)  # a second signal would interrupt the cleanup
        self.is_delayed = True
        signal.signal(_AGAIN, self._look)
        self._look(number, frame)

    def _look(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt if the main thread holds no lock at `frame`, or look again."""
        if not self.is_delayed:
            return
        if frame is None or self._may_raise(frame):
            self.is_delayed = False
            self._position = None
            raise KeyboardInterrupt
        self._position = frame, frame.f_lasti
        # not a `threading.Thread`: to start one takes locks, which the main thread may hold now
        _thread.start_new_thread(_look_again, (_thread.get_ident(),))

    def _may_raise(self, frame: FrameType) -> bool:
        if frame.f_globals.get("__name__") not in _LOCKING:
            return True
        # in a waiting function, the same instruction as 10 ms ago is the one that waits
        has_moved = self._position != (frame, frame.f_lasti)
        return frame.f_code.co_name in _WAITING and not has_moved


def _look_again(main_thread: int) -> None:
    threading.Event().wait(_AGAIN_S)
    signal.pthread_kill(main_thread, _AGAIN)


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that stop a command: Ctrl-C (SIGINT), SIGTERM, SIGUSR1 and SIGHUP.

    Batch systems send SIGUSR1 some time before they end a job (`sbatch --signal=USR1@60`). SIGHUP
    comes when the terminal or the connection to it is closed. `nohup` makes a command ignore it;
    then it is not among the signals.
    """
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM, signal.SIGUSR1
    return signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP


def drop_closed_terminal() -> None:
    """Discard output to a terminal that was closed: to write to it would be an error."""
    for descriptor in (1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


@contextmanager
def inherited_by_none() -> Iterator[None]:
    """Keep the stop signals from the processes that are started inside this block.

    This process gets signals that arrive meanwhile when the block ends.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
