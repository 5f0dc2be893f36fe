"""Run workers: each host core with its socket to the broker and its child process."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import random
import signal
from collections.abc import Callable, Sequence
from typing import Any

from ..broker.management import PREFIX
from ..errors import MDPError, SettingsError, WorkerFailed
from ..settings import WorkerSettings
from ..sockets import Channel, Dealer, Poll, Wakeup, clock, new_context, target
from ..wire import service_name, worker_name
from . import child, host, session
from .worker import Worker

_SOCKETS = 6  # of a worker: a Dealer has 3, and the one before it may still send its last messages


def serve_workers(
    broker: str,
    factories: Sequence[tuple[str, Callable[[], Worker]]],
    stop: Wakeup,
    *,
    settings: WorkerSettings | None = None,
    prepare: Callable[[], None] | None = None,
) -> None:
    """Run a worker for each (service, factory) until `stop` wakes the loop.

    Requests that are held are answered first.

    `factory` creates the `Worker` in the child, and `prepare` runs there first (logging, say).
    Both must be picklable: a class, a function, a `functools.partial`. A second wake-up stops at
    once. Raises `SettingsError` for a bad address, and `WorkerFailed` when all workers have ended
    and one of them has failed: in `setup()` too often, or by its fingerprint.
    """
    settings = settings or WorkerSettings()
    connected_to = target(broker)
    context = new_context(max_sockets=1024 + _SOCKETS * len(factories))
    poll = Poll(stop)
    numbers: dict[str, int] = {}
    slots = []

    def connect() -> Dealer:
        name = worker_name(os.urandom(15))
        heartbeats = settings.heartbeats
        return Dealer(
            context, connected_to, name=name, linger_s=1, heartbeats=heartbeats, watch=True
        )

    for service, factory in factories:
        number = numbers[service] = numbers.get(service, 0) + 1
        name = f"{service}#{number}"
        core = host.Host(_checked(service), settings, name=name, jitter=random.random)
        start = _Starter(core.name, factory, prepare)
        slots.append(_Slot(core, start, connect, poll))
    try:
        _run(slots, poll, stop)
    finally:
        for slot in slots:
            slot.kill()
        context.term()
    failures = [slot.host.failure for slot in slots if slot.host.failure]
    if failures:
        raise WorkerFailed("; ".join(failures))


def _checked(service: str) -> bytes:
    name = service_name(service)
    if name.startswith(PREFIX):
        raise SettingsError(f"want a service name that does not start with mmi., got {service!r}")
    return name


def _run(slots: list[_Slot], poll: Poll, stop: Wakeup) -> None:
    count_seen = 0
    while not all(slot.host.ended for slot in slots):
        ready = poll.wait(min(slot.host.deadline() for slot in slots))
        now = clock()
        for slot in slots:
            slot.serve(ready, now)
        if stop.count > count_seen:
            stop.clear()
            count_seen = stop.count
            for slot in slots:
                steps = slot.host.drain(now) if count_seen == 1 else slot.host.stop(now)
                slot.carry_out(steps, now)


class _Starter:
    """Starts a new child process for one worker each time it is called."""

    def __init__(
        self, name: str, factory: Callable[[], Worker], prepare: Callable[[], None] | None
    ) -> None:
        self._name = name
        self._factory = factory
        self._prepare = prepare

    def __call__(self) -> tuple[multiprocessing.process.BaseProcess, Channel]:
        channel = Channel()
        process = multiprocessing.get_context("spawn").Process(
            target=child.run_child,
            args=(self._factory, channel.childs_end, os.getpid(), self._prepare, self._name),
            name=self._name,
        )
        try:
            process.start()
        except OSError:
            channel.close()
            raise
        channel.childs_end.close()
        return process, channel


class _Slot:
    """One worker's socket and child process, and the core that decides about them."""

    def __init__(
        self, core: host.Host, start: _Starter, connect: Callable[[], Dealer], poll: Poll
    ) -> None:
        self.host = core
        self._start = start
        self._connect = connect
        self._poll = poll
        self._dealer: Dealer | None = None
        self._process: multiprocessing.process.BaseProcess | None = None
        self._channel: Channel | None = None

    def serve(self, ready: dict[Any, int], now: float) -> None:
        """Handle the events that the poll returned, then do what is due."""
        if self._dealer is not None:
            self._serve_broker(self._dealer, ready, now)
        if self._channel is not None and self._channel.handle() in ready:
            self._receive_child(now)
        if self._process is not None and self._process.sentinel in ready:
            self._on_death(now)
        self.carry_out(self.host.tick(now), now)

    def carry_out(self, steps: Sequence[host.Step], now: float) -> None:
        for step in steps:
            match step:
                case session.Send(frames):
                    if self._dealer is not None:  # else its socket could not be opened
                        self._dealer.send(frames)
                case host.Work(number, body):
                    assert self._channel is not None
                    self._channel.send([number.to_bytes(8, "big"), *body])
                    self._watch_channel()
                case session.Open():
                    self._open(now)
                case session.Close(flush):
                    self._close(flush=flush)
                case host.StartChild():
                    self._start_child(now)
                case host.KillChild():
                    self._kill()

    def _open(self, now: float) -> None:
        try:
            self._dealer = self._connect()
        except MDPError as error:
            self.carry_out(self.host.disconnected(now, str(error)), now)
            return
        self._poll.add(self._dealer.handle())
        self._poll.add(self._dealer.monitor())

    def _start_child(self, now: float) -> None:
        try:
            self._process, self._channel = self._start()
        except OSError as error:
            self.carry_out(self.host.not_started(error.strerror or str(error), now), now)
            return
        self._poll.add(self._process.sentinel)
        self._watch_channel()

    def kill(self) -> None:
        """Kill the child, and close all that belongs to it and to the session."""
        self._kill()
        if self._process is not None:
            self._process.join()
            self._drop_child()
        self._close(flush=False)

    def _serve_broker(self, dealer: Dealer, ready: dict[Any, int], now: float) -> None:
        """Handle the broker's messages, then the end of the connection: it came after them."""
        broke = dealer.monitor() in ready
        if broke or dealer.handle() in ready:
            self._receive_broker(now)
        if broke and self._dealer is dealer:
            self.carry_out(self.host.disconnected(now), now)

    def _receive_broker(self, now: float) -> None:
        while self._dealer is not None:  # a DISCONNECT closes it
            frames = self._dealer.receive()
            if frames is None:
                return
            self.carry_out(self.host.receive(frames, now), now)

    def _close(self, *, flush: bool) -> None:
        if self._dealer is not None:
            self._poll.drop(self._dealer.handle())
            self._poll.drop(self._dealer.monitor())
            self._dealer.close(linger_s=None if flush else 0)
            self._dealer = None

    def _receive_child(self, now: float) -> None:
        assert self._channel is not None
        self._channel.flush()
        for kind, *rest in self._channel.messages():
            self.carry_out(self._on_message(kind, rest, now), now)
        self._watch_channel()

    def _on_message(self, kind: bytes, rest: list[bytes], now: float) -> list[host.Step]:
        if kind == child.READY:
            fingerprint, regular = rest
            return self.host.ready(now, fingerprint, regular=regular == child.REGULAR)
        if kind == child.SETUP_FAILED:
            return self.host.setup_failed(rest[0].decode(), now)
        number, *body = rest
        final = kind == child.FINAL
        return self.host.answered(int.from_bytes(number, "big"), body, final=final, now=now)

    def _watch_channel(self) -> None:
        assert self._channel is not None
        if self._channel.at_end:
            self._poll.drop(self._channel.handle())
        else:
            self._poll.add(self._channel.handle(), writing=self._channel.is_full)

    def _on_death(self, now: float) -> None:
        """Handle the child's death, after its last messages."""
        assert self._process is not None
        self._receive_child(now)
        self._kill()  # the processes that the child has started
        self._process.join()
        how = _cause(self._process.exitcode or 0)
        self._drop_child()
        self.carry_out(self.host.died(how, now), now)

    def _drop_child(self) -> None:
        assert self._process is not None
        assert self._channel is not None
        self._poll.drop(self._process.sentinel)
        self._poll.drop(self._channel.handle())
        self._channel.close()
        self._process.close()
        self._process = self._channel = None

    def _kill(self) -> None:
        """Kill the child, and the processes that it started."""
        if self._process is None or self._process.pid is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            self._process.kill()  # its process group does not exist, or not yet


def _cause(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exited with code {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"
