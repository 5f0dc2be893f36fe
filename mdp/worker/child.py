"""The process that computes: it runs `setup()` once, then one request after the other.

It exchanges messages with its host over a socket pair. It ignores SIGINT, SIGTERM, SIGUSR1 and
SIGHUP, which a terminal or a batch system sends to the whole group, because the host handles them.
It is killed when the host dies.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack

from ..broker.fingerprints import fingerprint_of, known_facts
from ..broker.throttle import Throttle
from ..errors import MDPError, Refused
from ..sockets import ChildEnd, Stream, clock, pipe
from ..system.logs import computing
from ..system.process import die_with
from ..wire import MAX_BODY_FRAMES, error_body
from .worker import AnyWorker

log = logging.getLogger(__name__)
_failures = Throttle(log, burst=100)  # a client can cause one with each request

READY = b"ready"
REGULAR = b"regular"
SETUP_FAILED = b"setup failed"
PARTIAL = b"partial"
FINAL = b"final"
_MAX_TEXT = 2000  # characters of an exception's message
_MDP = Path(__file__).parents[1]
_OURS = (f"{_MDP / 'worker'}{os.sep}", f"{_MDP / 'arrays'}{os.sep}")  # they call `handle`


def run_child(
    factory: Callable[[], AnyWorker],
    stream: Stream,
    host_pid: int,
    prepare: Callable[[], None] | None,
    name: str,
) -> None:
    """Compute until the host closes its end of `stream`. `prepare` runs first (logging, say).

    `name` is the worker's name in the log: `echo#1`.
    """
    name = f"{name} (pid {os.getpid()})"
    os.setsid()  # a new process group: processes that the user's code starts are killed with it
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(stop, signal.SIG_IGN)
    die_with(host_pid)
    if prepare is not None:
        prepare()
    host = ChildEnd(stream)
    try:
        worker = factory()
        worker.check_class()
        worker.setup()
        fingerprint = fingerprint_of(worker.fingerprint)
        regular = REGULAR if worker.regular else b""
        facts = msgpack.packb(facts_of(worker))
    except (Exception, SystemExit) as error:  # code that the user wrote
        log.exception("%s: setup() failed", name)
        host.send([SETUP_FAILED, _describe(error).encode("utf-8", "backslashreplace")])
        stream.close()
        sys.exit(1)
    host.send([READY, fingerprint, regular, facts])
    while (message := host.receive()) is not None:
        number, *frames = message
        with computing(number[8:].hex()):  # the request's id follows the number
            for final, body in answers(worker, frames, name=name):
                host.send([FINAL if final else PARTIAL, number, *body])


def facts_of(worker: AnyWorker) -> dict[str, Any]:
    """Return what a worker says about itself, for its announcement."""
    device = "" if worker.device is None else str(worker.device)  # a library's object, say
    facts = known_facts({"threads": worker.threads, "device": device})
    return {name: fact for name, fact in facts.items() if fact}


def answers(
    worker: AnyWorker, frames: list[bytes], *, name: str = ""
) -> Iterator[tuple[bool, list[Any]]]:
    """Run `handle` and yield (is_last, frames) per part; an exception becomes an error reply."""
    try:
        reply = worker.handle_frames(frames)
        if isinstance(reply, (list, tuple)):
            yield True, _checked(reply)
            return
        if not isinstance(reply, Iterator):
            raise TypeError(f"want a list of frames, or a generator of lists, got {reply!r:.100}")
        last: list[Any] = []
        for number, part in enumerate(reply):
            if number:
                yield False, last
            last = [bytes(frame) for frame in _checked(part)]  # the handler may reuse its buffers
        yield True, last
    except Refused as error:
        yield True, error_body(400, str(error))
    except (Exception, SystemExit) as error:  # code that the user wrote
        _failures.exception(clock(), "%s: handle() failed", name or type(worker).__name__)
        text = f"{_describe(error)}{_place(error)} at worker {worker_name()}"
        yield True, error_body(500, text)


def _checked(part: Any) -> list[Any]:
    if not isinstance(part, (list, tuple)):
        raise TypeError(f"want a part to be a list of frames, got {part!r:.100}")
    if len(part) > MAX_BODY_FRAMES:
        raise ValueError(f"want at most {MAX_BODY_FRAMES} frames in a part, got {len(part)}")
    for frame in part:
        if not isinstance(frame, (bytes, bytearray, memoryview)):
            raise TypeError(f"want frames of bytes, got {frame!r:.100}")
    return [pipe.flat(f) if isinstance(f, memoryview) else f for f in part]


def worker_name() -> str:
    """Return the name of this process in error messages: `host:pid`."""
    return f"{os.uname().nodename}:{os.getpid()}"


def _place(error: BaseException) -> str:
    """Return the place of an error, ` (mymodule.py:12)`: the last line in the handler's file."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not frame.filename.startswith(_OURS)]
    if not outside:
        return ""  # `handle` returned something that is no answer
    last = [frame for frame in outside if frame.filename == outside[0].filename][-1]
    return f" ({os.path.basename(last.filename)}:{last.lineno})"


def _describe(error: BaseException) -> str:
    text = str(error)
    if len(text) > _MAX_TEXT:
        text = f"{text[:_MAX_TEXT]}..."
    if isinstance(error, MDPError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
