"""Handle Ctrl-C, SIGTERM and SIGHUP, so that a stopped command cleans up before it exits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from mdp.process import drop_closed_terminal, stop_signals

if TYPE_CHECKING:
    from lartpc import Writer


@contextmanager
def stopped_cleanly() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first stop signal; ignore others during the clean-up."""
    handlers = {number: signal.signal(number, _stop) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    drop_closed_terminal()
    for stop in stop_signals():
        signal.signal(stop, signal.SIG_IGN)
    raise KeyboardInterrupt


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


@contextmanager
def uninterrupted(*, too_late: bool = False) -> Iterator[None]:
    """Delay signals to the end of the block: ROOT turns a KeyboardInterrupt into other errors.

    `too_late`: the block is the end of the job, so signals that arrive in it are ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers in the main thread only
        return
    caught: list[int] = []
    handlers = {
        number: signal.signal(number, lambda n, _: caught.append(n)) for number in stop_signals()
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if caught and not too_late:
            signal.raise_signal(caught[0])


def close_output(writer: Writer) -> None:
    """Finish a file and rename it into place. A signal before the renaming leaves no file."""
    with uninterrupted():
        writer.finish()
    with uninterrupted(too_late=True):
        writer.close()
