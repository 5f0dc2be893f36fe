"""Runs workers: each host core with its socket to the broker and its child process."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from ..broker.management import PREFIX
from ..errors import SettingsError, WorkerFailed
from ..settings import WorkerSettings
from ..sockets import Bell, Channel, Dealer, Poll, clock, new_context, target
from ..wire import service_name
from . import child, host, session
from .worker import Worker


def serve_workers(
    broker: str,
    factories: Sequence[tuple[str, Callable[[], Worker]]],
    stop: Bell,
    *,
    settings: WorkerSettings | None = None,
    prepare: Callable[[], None] | None = None,
) -> None:
    """Run a worker for each (service, factory) until the bell rings and what they hold is done.

    `factory` makes the `Worker` in its child, and `prepare` runs there before it (logging, say):
    both must be picklable: a class, a function, a `functools.partial`. A second ring stops at
    once. Raises `SettingsError` for a bad address, and `WorkerFailed` when all have ended and a
    `setup()` had failed again and again.
    """
    settings = settings or WorkerSettings()
    connected_to = target(broker)
    context = new_context()
    poll = Poll(stop)
    numbers: dict[str, int] = {}
    posts = []
    for service, factory in factories:
        number = numbers[service] = numbers.get(service, 0) + 1
        core = host.Host(_checked(service), settings, name=f"{service}#{number}")
        start = _Starter(core.name, factory, prepare)
        posts.append(_Post(core, start, lambda: Dealer(context, connected_to, linger_s=1), poll))
    try:
        _run(posts, poll, stop)
    finally:
        for post in posts:
            post.kill()
        context.term()
    failures = [post.host.failure for post in posts if post.host.failure]
    if failures:
        raise WorkerFailed("; ".join(failures))


def _checked(service: str) -> bytes:
    name = service_name(service)
    if name.startswith(PREFIX):
        raise SettingsError(f"want a service of one's own, got {service!r}: that is the broker's")
    return name


def _run(posts: list[_Post], poll: Poll, stop: Bell) -> None:
    heard = 0  # rings
    while not all(post.host.ended for post in posts):
        ready = poll.wait(min(post.host.deadline() for post in posts))
        now = clock()
        for post in posts:
            post.serve(ready, now)
        if stop.rings > heard:
            stop.hush()
            heard = stop.rings
            for post in posts:
                steps = post.host.drain(now) if heard == 1 else post.host.stop(now)
                post.carry_out(steps, now)


class _Starter:
    """Starts one worker's child process, as often as it is called."""

    def __init__(
        self, name: str, factory: Callable[[], Worker], prepare: Callable[[], None] | None
    ) -> None:
        self._name = name
        self._factory = factory
        self._prepare = prepare

    def __call__(self) -> tuple[multiprocessing.process.BaseProcess, Channel]:
        channel = Channel()
        process = multiprocessing.get_context("spawn").Process(
            target=child.run,
            args=(self._factory, channel.childs_end, os.getpid(), self._prepare, self._name),
            name=self._name,
        )
        process.start()
        channel.childs_end.close()
        return process, channel


class _Post:
    """One worker's socket and process, and the core that says what to do with them."""

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
        """Do what the poll found, then what is due."""
        if self._dealer is not None and self._dealer.handle() in ready:
            self._hear_broker(now)
        if self._channel is not None and self._channel.handle() in ready:
            self._hear_child(now)
        if self._process is not None and self._process.sentinel in ready:
            self._bury(now)
        self.carry_out(self.host.tick(now), now)

    def carry_out(self, steps: Sequence[host.Step], now: float) -> None:
        for step in steps:
            if isinstance(step, session.Send):
                assert self._dealer is not None
                self._dealer.send(step.frames)
            elif isinstance(step, host.Work):
                assert self._channel is not None
                self._channel.send([step.number.to_bytes(8, "big"), *step.body])
                self._watch_channel()
            elif isinstance(step, session.Open):
                self._dealer = self._connect()
                self._poll.add(self._dealer.handle())
            elif isinstance(step, session.Close):
                self._close()
            elif isinstance(step, host.StartChild):
                self._process, self._channel = self._start()
                self._poll.add(self._process.sentinel)
                self._watch_channel()
            elif isinstance(step, host.KillChild):
                self._kill()

    def kill(self) -> None:
        """Leave nothing behind."""
        self._kill()
        if self._process is not None:
            self._process.join()
            self._drop_child()
        self._close()

    def _hear_broker(self, now: float) -> None:
        while self._dealer is not None:  # a DISCONNECT closes it
            frames = self._dealer.receive()
            if frames is None:
                return
            self.carry_out(self.host.receive(frames, now), now)

    def _close(self) -> None:
        if self._dealer is not None:
            self._poll.drop(self._dealer.handle())
            self._dealer.close()
            self._dealer = None

    def _hear_child(self, now: float) -> None:
        assert self._channel is not None
        self._channel.flush()
        for kind, *rest in self._channel.messages():
            self.carry_out(self._understand(kind, rest, now), now)
        self._watch_channel()

    def _understand(self, kind: bytes, rest: list[bytes], now: float) -> list[host.Step]:
        if kind == child.READY:
            return self.host.ready(now, rest[0])
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

    def _bury(self, now: float) -> None:
        """The child is dead: hear its last words, then say so."""
        assert self._process is not None
        self._hear_child(now)
        self._kill()  # what it may have started itself
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
            self._process.kill()  # it leads no group yet, or none any more


def _cause(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exited with code {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"
