"""Processes that are started again whenever they die, as a group's supervisor does."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

from tests.support.processes import Process

Mend = Callable[[], None]

TRACEBACK = "Traceback"  # what a process says of an error that nobody thought of
_REST_S = 0.2  # before it is started again
_STUTTER = ((signal.SIGSTOP, 0.08), (signal.SIGCONT, 0.02))


class Missed(Exception):
    """What was to be hurt is not there just now."""


class Signals:
    """Sends signals to one process, and never to another that got its number later."""

    def __init__(self, pid: int) -> None:
        try:
            self._descriptor: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._descriptor = None  # it has ended

    def send(self, number: signal.Signals) -> None:
        if self._descriptor is None:
            return
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            return

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def stop(pid: int) -> Mend:
    """SIGSTOP; SIGCONT when it is mended."""
    signals = Signals(pid)
    signals.send(signal.SIGSTOP)

    def go_on() -> None:
        signals.send(signal.SIGCONT)
        signals.close()

    return go_on


def stutter(pid: int) -> Mend:
    """SIGSTOP and SIGCONT in turn until it is mended."""
    signals = Signals(pid)
    mended = threading.Event()

    def go_on_and_off() -> None:
        for number, pause_s in itertools.cycle(_STUTTER):
            signals.send(number)
            if mended.wait(pause_s):
                break
        signals.send(signal.SIGCONT)
        signals.close()

    thread = threading.Thread(target=go_on_and_off, name=f"stutters {pid}", daemon=True)
    thread.start()

    def mend() -> None:
        mended.set()
        thread.join()

    return mend


def starve(pid: int) -> Mend:
    """Let a process open no file or socket more until it is mended. Raises `Missed`."""
    try:
        opened = len(os.listdir(f"/proc/{pid}/fd"))
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(opened, soft), hard))
    except OSError:
        raise Missed from None  # it has ended

    def feed() -> None:
        with suppress(OSError):  # it has ended meanwhile
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

    return feed


class Member:
    """One process of a site."""

    def __init__(self, name: str, start: Callable[[], Process]) -> None:
        self.name = name
        self.starts = 0
        self.complaints: list[str] = []
        """Ends that nobody caused."""
        self._start = start
        self._killed = False
        self._start_at = -1.0
        self.process = self._started()

    def _started(self) -> Process:
        self.starts += 1
        self._killed = False
        return self._start()

    def look(self, now: float) -> None:
        """Start it again if it has died."""
        code = self.process.popen.poll()
        if code is None:
            return
        if self._start_at < 0:
            self._start_at = now + _REST_S
            if not self._killed:
                self.complaints.append(ended(self.name, self.process, code))
            self._complain_of_a_traceback()
        elif now >= self._start_at:
            self._start_at = -1.0
            self.process.stderr_path.unlink()
            self.process = self._started()

    def kill(self) -> None:
        self._killed = True
        self.process.send(signal.SIGKILL)

    def leave(self) -> None:
        """SIGTERM, and its end in order."""
        if self.process.popen.poll() is None:
            self.process.send(signal.SIGTERM)
            code = self.process.exit_code()
            if code:
                self.complaints.append(ended(self.name, self.process, code))
            self._complain_of_a_traceback()

    def _complain_of_a_traceback(self) -> None:
        """Its own, or that of a child that it has started again since."""
        if TRACEBACK in self.process.stderr:
            self.complaints.append(f"{self.name} broke: {self.process.stderr[-1000:]}")


def ended(name: str, process: Process, code: int) -> str:
    """For people."""
    lines = process.stderr.strip().splitlines()
    return f"{name} ended with code {code}: {lines[-1] if lines else 'it said nothing'}"
