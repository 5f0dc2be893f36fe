"""Run workers: each host core with its socket to the broker and its child process."""

from __future__ import annotations

import logging
import math
import multiprocessing
import multiprocessing.process
import os
import random
import signal
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from ..broker.management import PREFIX
from ..errors import MDPError, SettingsError, WorkerFailed
from ..settings import WorkerLife, WorkerSettings
from ..sockets import Channel, Dealer, Poll, Wakeup, clock, unix_time
from ..sockets.addresses import ClientKeys
from ..system.batch_job import BatchJob
from ..version import VERSION
from ..wire import service_name
from . import child, host, session
from .background import Background
from .broker_search import BrokerSearch
from .connector import Connector
from .job_end import JobEnd
from .worker import AnyWorker

log = logging.getLogger(__name__)


def serve_workers(
    broker: str,
    factories: Sequence[tuple[str, Callable[[], AnyWorker]]],
    stop: Wakeup,
    *,
    settings: WorkerSettings | None = None,
    prepare: Callable[[], None] | None = None,
    job: BatchJob | None = None,
    log_path: str = "",
    plan: str = "",
) -> None:
    """Run a worker for each (service, factory) until `stop` wakes the loop, or they have ended.

    Requests that are held are answered first.

    `broker` is an address, or @FILE for a contact file, which is read again for each connection.
    `factory` creates the worker in the child, and `prepare` runs there first (logging, say).
    Both must be picklable: a class, a function, a `functools.partial`. A second wake-up stops at
    once. `job` and `log_path`, the batch job and the log of this process, are told to the broker;
    `plan` is a part of the first line, such as the devices.

    Raises `SettingsError` for a bad address, and `WorkerFailed` when all workers have ended and one
    of them has failed (in `setup()` too often, or by its fingerprint), or when no broker has
    answered for too long.
    """
    settings = settings or WorkerSettings()
    connector = Connector(broker, settings, most=len(factories))
    facts = _facts(job, log_path)
    numbers: dict[str, int] = {}
    slots = []
    for service, factory in factories:
        number = numbers[service] = numbers.get(service, 0) + 1
        name = f"{service}#{number}"
        core = host.Host(
            _checked(service),
            settings,
            name=name,
            jitter=random.random,
            locate=connector.locate,
            facts=facts,
        )
        start = _Starter(core.name, factory, prepare)
        slots.append((core, start))
    workers = ", ".join(f"{service} x{count}" for service, count in numbers.items())
    about = [*_about(facts), *([plan] if plan else [])]
    log.info("%s: broker %s; %s", workers, connector.name(), ", ".join(about))
    company = _Company(slots, connector, stop, settings.life, job)
    try:
        company.run()
    finally:
        company.close()
    company.raise_failures()


def _facts(job: BatchJob | None, log_path: str) -> dict[str, Any]:
    """Return what the broker is told about this process."""
    facts = {"host": os.uname().nodename, "pid": os.getpid(), "version": VERSION, "log": log_path}
    return facts if job is None else {**facts, "job": job.id, "task": job.task}


def _about(facts: dict[str, Any]) -> list[str]:
    """Return the parts of the first line: `host n3`, `pid 812`, `job 8812_3 task 0`, ..."""
    job = [f"job {facts['job']} task {facts['task']}"] if "job" in facts else []
    return [f"host {facts['host']}", f"pid {facts['pid']}", *job, f"version {facts['version']}"]


def _checked(service: str) -> bytes:
    name = service_name(service)
    if name.startswith(PREFIX):
        raise SettingsError(f"want a service name that does not start with mmi., got {service!r}")
    return name


class _Company:
    """The workers of this process: what they have in common is the broker, and the job's end."""

    def __init__(
        self,
        workers: Sequence[tuple[host.Host, _Starter]],
        connector: Connector,
        stop: Wakeup,
        life: WorkerLife,
        job: BatchJob | None,
    ) -> None:
        self._connector = connector
        self._stop = stop
        self._background = Background()
        self._poll = Poll(stop, self._background)
        self._slots = [_Slot(core, start, connector, self._poll) for core, start in workers]
        self._hosts = [core for core, _ in workers]
        self._search = BrokerSearch(life.broker_wait_s)
        self._end = JobEnd(life.until, job)
        self._failure: str | None = None

    def run(self) -> None:
        count_seen = 0
        self._look_after(clock())
        while not all(core.ended for core in self._hosts):
            ready = self._poll.wait(self._deadline())
            now = clock()
            for slot in self._slots:
                slot.serve(ready, now)
            if self._stop.count > count_seen:
                self._stop.clear()
                count_seen = self._stop.count
                for slot in self._slots:
                    steps = slot.host.drain(now) if count_seen == 1 else slot.host.stop(now)
                    slot.carry_out(steps, now)
            self._look_after(now)

    def _deadline(self) -> float:
        hosts = min(core.deadline() for core in self._hosts)
        return min(hosts, self._search.deadline(), self._end.due_at)

    def _look_after(self, now: float) -> None:
        """Ask what has to be asked in the background, and hand on the answers."""
        for name, result in self._background.results():
            if name == _END:
                self._on_end(result, now)
            elif (line := self._search.explained(result, now)) is not None:
                log.warning("no broker answers at %s %s", self._connector.name(), line)
        alive = [core for core in self._hosts if not core.ended]
        for core in alive:
            self._connector.check_user(core.session.broker_user, core.session.broker_host)
        # a list: each of them notes that it is asked
        wants_end = [core.life.wants_end(now) for core in alive]
        if now >= self._end.due_at or any(wants_end):
            self._ask_end(now)
        is_looking = any(core.is_looking for core in alive)
        self._search.update(is_looking and not any(core.has_broker for core in alive), now)
        if self._search.asks(now):
            self._ask_why(alive, now)
        if (verdict := self._search.verdict(now)) is not None:
            self._failure = f"no broker answered at {self._connector.name()} {verdict}"
            for slot in self._slots:
                slot.carry_out(slot.host.stop(now), now)

    def _ask_end(self, now: float) -> None:
        if self._end.is_fixed:
            self._on_end(self._end.until, now)
        else:
            self._background.start(_END, self._end.ask)
        self._end.due_at = math.inf

    def _on_end(self, until: float | None, now: float) -> None:
        self._end.on_answer(until, now)
        ends_at = None if until is None else until - unix_time() + now
        for slot in self._slots:
            if not slot.host.ended:
                slot.carry_out(slot.host.end_known(ends_at, until, now), now)

    def _ask_why(self, hosts: Sequence[host.Host], now: float) -> None:
        wrong = next((h.session.wrong_broker for h in hosts if h.session.wrong_broker), None)
        self._background.start(_WHY, self._connector.why_silent if wrong is None else lambda: wrong)

    def raise_failures(self) -> None:
        failures = [core.failure for core in self._hosts if core.failure]
        if self._failure is not None:
            failures.append(self._failure)
        if failures:
            raise WorkerFailed("; ".join(failures))

    def close(self) -> None:
        for slot in self._slots:
            slot.kill()
        self._connector.close()
        self._background.close()


_END, _WHY = "the job's end", "why no broker answers"


class _Starter:
    """Starts a new child process for one worker each time it is called."""

    def __init__(
        self, name: str, factory: Callable[[], AnyWorker], prepare: Callable[[], None] | None
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

    def __init__(self, core: host.Host, start: _Starter, connector: Connector, poll: Poll) -> None:
        self.host = core
        self._start = start
        self._connector = connector
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
                case host.Work(number, body, request):
                    assert self._channel is not None
                    self._channel.send([number.to_bytes(8, "big") + request, *body])
                    self._watch_channel()
                case session.Open(address, keys):
                    self._open(address, keys, now)
                case session.Close(flush):
                    self._close(flush=flush)
                case host.StartChild():
                    self._start_child(now)
                case host.KillChild():
                    self._kill()

    def _open(self, address: str, keys: ClientKeys | None, now: float) -> None:
        try:
            self._dealer = self._connector.connect(address, keys)
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
            fingerprint, regular, facts = rest
            return self.host.ready(
                now,
                fingerprint,
                regular=regular == child.REGULAR,
                facts=msgpack.unpackb(facts),
            )
        if kind == child.SETUP_FAILED:
            return self.host.setup_failed(rest[0].decode(), now)
        number, *body = rest
        final = kind == child.FINAL
        return self.host.answered(int.from_bytes(number[:8], "big"), body, final=final, now=now)

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
