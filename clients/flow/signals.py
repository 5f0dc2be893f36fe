"""Handle the stop signals, such as Ctrl-C, so that a stopped command cleans up before it exits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mdp.system.interrupts import stop_signals

if TYPE_CHECKING:
    from lartpc import Writer


@contextmanager
def uninterrupted(*, too_late: bool = False) -> Iterator[Callable[[], None]]:
    """Delay signals to the end of the block: ROOT turns a KeyboardInterrupt into other errors.

    A long block calls the function that it is given where a delayed signal may stop it.
    `too_late`: the block is the end of the job, so signals that arrive in it are ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # Python runs signal handlers in the main thread only
        return
    caught: list[int] = []
    is_over = False
    handlers = {
        number: signal.signal(number, lambda n, _: caught.append(n)) for number in stop_signals()
    }

    def let_through() -> None:
        nonlocal is_over
        if caught and not is_over:
            is_over = True
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.raise_signal(caught[0])

    try:
        yield let_through
    finally:
        if not is_over:
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
