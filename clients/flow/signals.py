"""Ctrl-C and SIGTERM: a command that is stopped takes back what it began."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from lartpc import Writer

_STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopped_cleanly() -> Iterator[None]:
    """The first SIGINT or SIGTERM raises KeyboardInterrupt; others cannot disturb the clean-up."""
    before = [signal.signal(number, _stop) for number in _STOPS]
    try:
        yield
    finally:
        for number, handler in zip(_STOPS, before, strict=True):
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    for each in _STOPS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def inherited_by_none() -> Iterator[None]:
    """Processes that the block starts never hear of SIGINT and SIGTERM; we do, after it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def uninterrupted(*, too_late: bool = False) -> Iterator[None]:
    """Signals wait until the block is done: ROOT makes other errors of a KeyboardInterrupt.

    `too_late`: the block ends the job, and a signal that came meanwhile is forgotten.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers in the main thread only
        return
    caught: list[int] = []
    before = [signal.signal(number, lambda n, _: caught.append(n)) for number in _STOPS]
    try:
        yield
    finally:
        for number, handler in zip(_STOPS, before, strict=True):
            signal.signal(number, handler)
        if caught and not too_late:
            signal.raise_signal(caught[0])


def close_output(writer: Writer) -> None:
    """Finish a file and give it its name. Who stopped us before it had that leaves nothing."""
    with uninterrupted():
        writer.finish()
    with uninterrupted(too_late=True):
        writer.close()
