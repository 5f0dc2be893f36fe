"""Starts a function in a new Python process: for one call, or until a block ends.

All processes of this project are started by `multiprocessing`, so arguments are pickled objects
and not command lines. A terminal's Ctrl-C goes to the process that started them, which stops them
in order.
"""

from __future__ import annotations

import functools
import multiprocessing
import multiprocessing.process
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from .interrupts import inherited_by_none
from .process import die_with

A = TypeVar("A")
R = TypeVar("R")

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
_DRAIN_S = 0.5  # from SIGTERM to SIGINT: nobody waits for its requests any more
_STOP_S = 10.0


def call(function: Callable[[A], R], argument: A) -> R:
    """Run a function in a short-lived subprocess, so that its memory is freed.

    Returns its result or raises its exception; raises `BrokenProcessPool` if the process died.
    """
    context = multiprocessing.get_context("spawn")
    tether = functools.partial(die_with, os.getpid())
    with ProcessPoolExecutor(1, mp_context=context, initializer=tether) as executor:
        with inherited_by_none():
            running = executor.submit(function, argument)
        return running.result()


class Subprocess:
    """A function that runs in a process of its own and writes its log to a file."""

    def __init__(self, name: str, log: Path, target: Callable[..., object], *args: object) -> None:
        self.name = name
        self._log = log
        context = multiprocessing.get_context("spawn")
        self._process: multiprocessing.process.BaseProcess = context.Process(
            target=_run, args=(os.getpid(), log, target, *args), name=name
        )

    def start(self) -> None:
        with inherited_by_none():
            self._process.start()

    @property
    def ended(self) -> bool:
        return self._process.exitcode is not None

    def last_line(self) -> str:
        """The last line of its log, which says why it ended."""
        if not self._log.exists():
            return f"exit code {self._process.exitcode} before it began: its error is on stderr"
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.exitcode}"

    def stop(self) -> None:
        """Send SIGTERM, then SIGINT, then SIGKILL, until the process has ended.

        A quick second SIGTERM would count as the first one.
        """
        if self._process.pid is None:
            return
        try:
            for number, patience_s in (
                (signal.SIGTERM, _DRAIN_S),
                (signal.SIGINT, _STOP_S),
                (signal.SIGKILL, _STOP_S),
            ):
                if self.ended:
                    return
                self.send(number)
                self._process.join(patience_s)
        except BaseException:  # a second Ctrl-C
            self.kill()
            raise

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, unless it has ended."""
        if self._process.pid is not None and not self.ended:
            os.kill(self._process.pid, number)  # not ended: the pid cannot be another process's

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end."""
        self.send(signal.SIGKILL)
        if self._process.pid is not None:
            self._process.join()

    @property
    def pid(self) -> int | None:
        """The process id; None before the start."""
        return self._process.pid


@contextmanager
def running(
    name: str, log: Path, target: Callable[..., object], *args: object
) -> Iterator[Subprocess]:
    """Run a function in a process that ends with the block."""
    process = Subprocess(name, log, target, *args)
    try:
        process.start()
        yield process
    finally:
        process.stop()


def _run(parent_pid: int, log: Path, target: Callable[..., object], *args: object) -> None:
    os.setsid()  # a terminal's Ctrl-C is for the process that started this one
    _redirect(log)
    die_with(parent_pid)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)  # blocked since `inherited_by_none`
    target(*args)


def _redirect(log: Path) -> None:
    """Make stdin empty, and send stdout and stderr to the log."""
    for path, flags, numbers in (
        (os.devnull, os.O_RDONLY, (0,)),
        (log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, (1, 2)),
    ):
        file = os.open(path, flags, 0o600)
        for number in numbers:
            os.dup2(file, number)
        os.close(file)
