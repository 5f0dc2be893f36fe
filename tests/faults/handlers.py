"""Workers that do what a test wants to happen to them."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mdp import Refused, Worker
from mdp.worker.worker import Body


class Obedient(Worker):
    """Does what the first frame says; the others are its arguments."""

    def handle(self, frames: list[bytes]) -> Body | Iterator[Body]:
        order, *arguments = frames
        do: Callable[..., Body | Iterator[Body]] = getattr(self, f"do_{order.decode()}")
        return do(*arguments)

    def do_reverse(self, text: bytes) -> Body:
        time.sleep(0.005)
        return [text[::-1]]

    def do_note_and_sleep(self, text: bytes, log: bytes, seconds: bytes) -> Body:
        """Add a line with the process id and the text to `log`, then sleep."""
        with open(log, "ab") as lines:
            lines.write(b"%d %s\n" % (os.getpid(), text))
        time.sleep(float(seconds))
        return [text]

    def do_make(self, size: bytes, log: bytes, count: bytes = b"1") -> Body:
        """Add a line to `log`, and answer with `count` frames of so many bytes."""
        with open(log, "ab") as lines:
            lines.write(b"%d\n" % os.getpid())
        return [bytes(int(size))] * int(count)

    def do_hold(self, text: bytes, note: bytes, seconds: bytes) -> Body:
        """The first worker that gets this leaves a note and takes its time; the next is quick."""
        if _leave(note):
            time.sleep(float(seconds))
        return [text[::-1]]

    def do_wait_for(self, text: bytes, note: bytes, release: bytes) -> Body:
        """The first worker that gets this leaves a note and waits for the file `release`."""
        if _leave(note):
            _wait_for(release)
        return [text[::-1]]

    def do_hold_the_gil(self, text: bytes, note: bytes, seconds: bytes) -> Body:
        """As pycaffe does in a forward pass: no other thread of this process runs."""
        if _leave(note):
            ctypes.PyDLL(None).usleep(int(float(seconds) * 1e6))
        return [text[::-1]]

    def do_die(self, text: bytes, note: bytes, how: bytes) -> Body:
        """The first worker that gets this dies of it; without a note, each does."""
        if not note or _leave(note):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            _DEATHS[how]()
        return [text[::-1]]

    def do_raise(self, text: bytes) -> Body:
        raise LookupError(text.decode())

    def do_refuse(self, text: bytes) -> Body:
        raise Refused(text.decode())

    def do_answer_nonsense(self) -> Body:
        return "a string"  # type: ignore[return-value]

    def do_stream(self, count: bytes) -> Iterator[Body]:
        for number in range(int(count)):
            yield [b"part", b"%d" % number]

    def do_stream_bytes(self, count: bytes, size: bytes, release: bytes) -> Iterator[Body]:
        """Two parts, and the rest when the file `release` is there."""
        for number in range(int(count)):
            if number == 2:
                _wait_for(release)
            yield [b"%d" % number, bytes(int(size))]

    def do_stream_until(self, release: bytes) -> Iterator[Body]:
        """The last part is computed only when the file `release` is there."""
        yield [b"first"]
        yield [b"second"]
        _wait_for(release)
        yield [b"last"]

    def do_stream_and_die(self, note: bytes) -> Iterator[Body]:
        """The first worker that gets this dies when two of four parts are on their way."""
        for number in range(4):
            if number == 3 and _leave(note):
                os.abort()
            yield [b"%d" % number]


def _leave(note: bytes) -> bool:
    """Leave a note with our process id and our host's, unless there is one already."""
    try:  # a link is made in one step, content and all
        os.symlink(f"{os.getpid()} {os.getppid()}", note)
    except FileExistsError:
        return False
    return True


def _wait_for(release: bytes) -> None:
    while not Path(release.decode()).exists():
        time.sleep(0.01)


def _segfault() -> None:
    ctypes.string_at(0)


_DEATHS: dict[bytes, Callable[[], object]] = {
    b"by SIGSEGV": _segfault,
    b"by SIGABRT": os.abort,
    b"by os._exit": lambda: os._exit(3),
}


class NeverReady(Worker):
    """Its setup always fails."""

    def setup(self) -> None:
        raise OSError("there is no network file")

    def handle(self, frames: list[bytes]) -> Body:
        return frames


class SlowToSetUp(Worker):
    """Says that it began, and does not come to an end."""

    def setup(self) -> None:
        print("setup began", file=sys.stderr, flush=True)
        time.sleep(600)

    def handle(self, frames: list[bytes]) -> Body:
        return frames
