"""The command `mdp bench`: measure a service under load, and a bare loop as the upper limit.

The load generator is a client with its own kind of sockets, so this file has sockets, too. One
ROUTER socket has the lanes of all clients, and another has all echo workers: thousands of peers,
each with its own connection, need only one poll.
"""

from __future__ import annotations

import json as json_text
import logging
import multiprocessing
import os
import signal
import socket as posix
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import zmq
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ..broker.broker_loop import Serving, serve_broker
from ..errors import MDPError, SettingsError
from ..settings import BrokerSettings
from ..sockets import Wakeup, connect, receive_message, send_message, target
from ..sockets.addresses import ClientKeys
from ..system.contact import read as read_contact
from ..system.process import die_with, raise_file_limit
from ..wire import DIALECTS, ERROR, MDP02, Dialect, Frames, worker_name
from . import tables

_MAX_LANES = 2000


@dataclass(frozen=True)
class LoadPlan:
    """The settings of a measurement."""

    broker: str | None
    service: str
    sizes: tuple[int, ...]
    windows: tuple[int, ...]
    workers: tuple[int, ...]
    seconds: float
    rounds: int
    dialect: Dialect
    ceiling: bool
    keys: ClientKeys | None = None
    """To connect to `broker`; None: it has no keys."""
    with_keys: bool = False
    """Measure a broker with keys; the ceiling is one without."""

    def __post_init__(self) -> None:
        if min(self.sizes) < 0:
            raise SettingsError(f"want sizes of at least 0, got {min(self.sizes)}")
        if min(self.windows) < 1:
            raise SettingsError(f"want windows of at least 1, got {min(self.windows)}")
        if self.ceiling and self.broker:
            raise SettingsError("--bare-loop cannot be combined with --broker")
        if self.with_keys and (self.ceiling or self.broker):
            other = "--broker" if self.broker else "--bare-loop"
            raise SettingsError(f"--with-keys cannot be combined with {other}")
        if min(self.workers) < (0 if self.broker else 1):
            least = "0" if self.broker else "1, or 0 with a --broker that has workers"
            raise SettingsError(f"want workers of at least {least}, got {min(self.workers)}")


@dataclass(frozen=True)
class Figure:
    """One measurement. `mb_per_s` is the payload in one direction; `cpu_us` is per request."""

    workers: int
    size: int
    window: int
    requests_per_s: float
    mb_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float | None
    ceiling_per_s: float | None = None
    ratio: float | None = None
    ceiling_cpu_us: float | None = None


def dialect_named(name: str) -> Dialect:
    if name not in DIALECTS:
        raise SettingsError(f"want a dialect of {', '.join(DIALECTS)}, got {name!r}")
    return DIALECTS[name]


def show(plan: LoadPlan, *, json: bool, quiet: bool) -> None:
    """Measure, and print the figures."""
    # an exit, unlike a kill, ends the child processes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    terminal = Console(stderr=True)
    cells = len(plan.workers) * len(plan.sizes) * len(plan.windows)
    figures = []
    hidden = quiet or not terminal.is_terminal
    with Progress(console=terminal, disable=hidden, transient=True) as progress:
        task = progress.add_task("measuring", total=cells)
        try:
            for figure in measure(plan):
                figures.append(figure)
                progress.advance(task)
        except zmq.ZMQError as error:
            raise MDPError(f"cannot load {plan.broker or 'the broker'}: {error}") from None
    if json:
        print(json_text.dumps([asdict(figure) for figure in figures], indent=2))
    else:
        Console().print(_table(figures, plan))


def measure(plan: LoadPlan) -> Iterator[Figure]:
    """Measure each cell of the plan, as the median of its rounds.

    In each round the ceiling is measured right after the broker.
    """
    for workers in plan.workers:
        with ExitStack() as stack:
            served = stack.enter_context(_served(plan, workers))
            bare = None
            if plan.ceiling:
                bare = stack.enter_context(_bare(workers))
            elif plan.with_keys:
                bare = stack.enter_context(_served(replace(plan, with_keys=False), workers))
            for size in plan.sizes:
                for window in plan.windows:
                    yield _cell(plan, workers, size, window, served, bare)


@dataclass(frozen=True)
class _Server:
    """The broker or bare loop under load; `pid` is None if this program did not start it."""

    endpoint: str
    pid: int | None
    request: Callable[[bytes], Frames]
    is_final: Callable[[Frames], bool]
    keys: ClientKeys | None = None


def _cell(
    plan: LoadPlan, workers: int, size: int, window: int, served: _Server, bare: _Server | None
) -> Figure:
    runs: list[_Run] = []
    tops: list[_Run] = []
    ratios = []
    for _ in range(plan.rounds):
        run = _load(served, size, window, plan.seconds)
        runs.append(run)
        if bare is not None:
            top = _load(bare, size, window, plan.seconds)
            tops.append(top)
            ratios.append(run.per_s / top.per_s)
    per_s = statistics.median(run.per_s for run in runs)
    return Figure(
        workers=workers,
        size=size,
        window=window,
        requests_per_s=per_s,
        mb_per_s=per_s * size / 1e6,
        p50_ms=statistics.median(run.p50_ms for run in runs),
        p99_ms=statistics.median(run.p99_ms for run in runs),
        cpu_us=_median([run.cpu_us for run in runs]),
        ceiling_per_s=_median([top.per_s for top in tops]),
        ratio=statistics.median(ratios) if ratios else None,
        ceiling_cpu_us=_median([top.cpu_us for top in tops]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return statistics.median(measured) if measured else None


# The load.


@dataclass(frozen=True)
class _Run:
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float | None


def _load(server: _Server, size: int, window: int, seconds: float) -> _Run:
    """Keep `window` requests in flight for some seconds.

    Each has its own lane; above `_MAX_LANES`, all are on one socket.
    """
    context: zmq.Context[Any] = zmq.Context()
    deep = window > _MAX_LANES
    socket = context.socket(zmq.DEALER if deep else zmq.ROUTER)
    socket.linger = 0
    socket.set_hwm(0)
    payload = b"\7" * size
    try:
        if deep:
            connect(socket, target(server.endpoint, server.keys))
            return _drive_deep(socket, server, payload, window, seconds)
        names = _connect(socket, server.endpoint, window, server.keys)
        return _drive(socket, names, server, payload, seconds)
    finally:
        context.destroy(linger=0)


def _connect(
    router: zmq.Socket[bytes], endpoint: str, count: int, keys: ClientKeys | None = None
) -> list[bytes]:
    """Connect one ROUTER `count` times, each time under another name."""
    names = [b"peer%d" % number for number in range(count)]
    router.router_mandatory = True
    to = target(endpoint, keys)
    for name in names:
        router.routing_id = worker_name(os.urandom(15))  # of the next connection
        router.setsockopt(zmq.CONNECT_ROUTING_ID, name)
        connect(router, to)
    return names


def _drive(
    lanes: zmq.Socket[bytes], names: list[bytes], server: _Server, payload: bytes, seconds: float
) -> _Run:
    sent: dict[bytes, float] = {}
    times: list[float] = []
    request = server.request(payload)

    def ask(name: bytes) -> None:
        sent[name] = time.perf_counter()
        send_message(lanes, [name, *request])

    def hear(until: float) -> None:
        while (now := time.perf_counter()) < until:
            if not lanes.poll(1000):
                _give_up_if_silent(now, sent, server)
            for frames in _messages(lanes):
                _check_answer(server, frames)
                if server.is_final(frames[1:]):
                    name = frames[0]
                    assert isinstance(name, bytes)
                    times.append(time.perf_counter() - sent[name])
                    ask(name)

    for name in names:
        ask(name)
    started = time.perf_counter()
    hear(started + min(0.3, seconds / 4))  # warm up
    times.clear()
    started, cpu = time.perf_counter(), _cpu_s(server.pid)
    hear(started + seconds)
    while len(times) < 20 and time.perf_counter() < started + 10 * seconds + 5:
        hear(time.perf_counter() + 0.1)  # with many large payloads in flight, answers take long
    passed = time.perf_counter() - started
    used = _cpu_s(server.pid)
    if len(times) < 2:
        raise MDPError(f"{len(times)} answers from {server.endpoint} in {passed:.1f} s")
    return _run_of(times, passed, cpu, used)


def _give_up_if_silent(now: float, sent: dict[bytes, float], server: _Server) -> None:
    if now - max(sent.values()) > 10:
        raise MDPError(f"no answer from {server.endpoint} within 10 s")


def _messages(socket: zmq.Socket[bytes]) -> Iterator[Frames]:
    try:
        for _ in range(1000):
            yield receive_message(socket, [])
    except zmq.Again:
        return


def _drive_deep(
    dealer: zmq.Socket[bytes], server: _Server, payload: bytes, window: int, seconds: float
) -> _Run:
    """Measure with one asynchronous client that has the whole window on one socket."""
    request = server.request(payload)
    sent: deque[float] = deque()
    times: list[float] = []

    def hear() -> None:
        for frames in _messages(dealer):
            _check_answer(server, frames)
            times.append(time.perf_counter() - sent.popleft())

    def ask_up_to(count: int) -> None:
        while len(sent) < count:
            for _ in range(min(100, count - len(sent))):
                sent.append(time.perf_counter())
                send_message(dealer, request)
            hear()  # else answers would pile up at the broker while the queue is filled

    ask_up_to(window)
    times.clear()
    started, cpu = time.perf_counter(), _cpu_s(server.pid)
    while time.perf_counter() < started + seconds or not times:
        if not dealer.poll(10_000):
            raise MDPError(f"no answer from {server.endpoint} within 10 s")
        hear()
        ask_up_to(window)
    return _run_of(times, time.perf_counter() - started, cpu, _cpu_s(server.pid))


def _run_of(times: list[float], passed_s: float, cpu_s: float | None, end_s: float | None) -> _Run:
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    cpu_us = None if cpu_s is None or end_s is None else (end_s - cpu_s) / len(times) * 1e6
    return _Run(len(times) / passed_s, cuts[49] * 1e3, cuts[98] * 1e3, cpu_us)


def _check_answer(server: _Server, frames: Frames) -> None:
    if ERROR in frames:
        code, text = frames[-2:]
        raise MDPError(f"{server.endpoint} answered an error: {code!r} {text!r}")


def _cpu_s(pid: int | None) -> float | None:
    """Return the CPU seconds that a process has used, with all its threads (Linux)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def idle_workers(count: int) -> Iterator[Callable[[], float]]:
    """Start a broker with `count` workers that only send heartbeats.

    Yields a function that returns the CPU seconds that the broker has used.
    """
    endpoint = _free_endpoint()
    with (
        _broker(endpoint) as pid,
        _process(_echo_fleet, endpoint, "echo", count, DIALECTS["MDP/0.2"].name),
    ):
        _wait_for(_Server(endpoint, pid, lambda body: MDP02.request(b"echo", [body]), bool))
        yield lambda: _cpu_s(pid) or 0.0


# The broker or bare loop under load.


@contextmanager
def _served(plan: LoadPlan, workers: int) -> Iterator[_Server]:
    """Yield the broker that the plan names, or a new one, after starting the echo workers."""
    dialect, service = plan.dialect, plan.service.encode()
    final = [*dialect.client_prefix, *dialect.client_final]

    def request(payload: bytes) -> Frames:
        return dialect.request(service, [payload])

    def is_final(frames: Frames) -> bool:
        return frames[: len(final)] == final

    with ExitStack() as stack:
        pid, keys = None, plan.keys
        endpoint = plan.broker or _free_endpoint()
        if plan.with_keys:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mdp-bench-"))
            file = os.path.join(folder, "broker.json")
            pid = stack.enter_context(_process(_serve, endpoint, file))
            keys = _keys_of(file)
        elif plan.broker is None:
            pid = stack.enter_context(_broker(endpoint))
        if workers:
            stack.enter_context(
                _process(_echo_fleet, endpoint, plan.service, workers, dialect.name, keys)
            )
        server = _Server(endpoint, pid, request, is_final, keys)
        _wait_for(server)
        yield server


@contextmanager
def _bare(workers: int) -> Iterator[_Server]:
    """Yield the upper limit: a loop that only forwards, with `workers` peers that echo."""
    front, back = _free_endpoint(), _free_endpoint()
    with _process(_forward, front, back, workers) as pid, _process(_echo_bare, back, workers):
        server = _Server(front, pid, lambda payload: [b"", payload], lambda frames: True)
        _wait_for(server)
        yield server


def _wait_for(server: _Server) -> None:
    """Wait for the first answer."""
    context: zmq.Context[Any] = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.routing_id = worker_name(os.urandom(15))
    try:
        connect(dealer, target(server.endpoint, server.keys))
        send_message(dealer, server.request(b"?"))
        if not dealer.poll(20_000):
            raise MDPError(f"no answer from {server.endpoint} within 20 s")
    finally:
        context.destroy(linger=0)


def _free_endpoint() -> str:
    with posix.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def _broker(endpoint: str) -> Iterator[int]:
    with _process(_serve, endpoint) as pid:
        yield pid


def _keys_of(file: str) -> ClientKeys | None:
    """Wait for the contact file of a broker that was started, and return its keys."""
    give_up_at = time.perf_counter() + 20.0
    while not os.path.exists(file):
        if time.perf_counter() > give_up_at:
            raise MDPError("the broker with keys has not started within 20 s")
        time.sleep(0.01)
    return read_contact(file).keys


def _serve(endpoint: str, contact: str | None = None) -> None:
    raise_file_limit()
    logging.disable(logging.CRITICAL)  # the peers that connect and leave would fill the log
    settings = BrokerSettings(max_queue=1_000_000)
    serving = Serving(contact=contact, keys=contact is not None)
    serve_broker([endpoint], settings, Wakeup(), serving)


@contextmanager
def _process(target: Callable[..., None], *args: object) -> Iterator[int]:
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=_tethered, args=(os.getpid(), target, *args), daemon=True)
    process.start()
    assert process.pid is not None
    try:
        yield process.pid
    finally:
        process.kill()
        process.join()


def _tethered(parent_pid: int, target: Callable[..., None], *args: object) -> None:
    """Run `target` until killed; this process is also killed when its parent process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(parent_pid)
    target(*args)


def _echo_fleet(
    endpoint: str, service: str, count: int, dialect_name: str, keys: ClientKeys | None = None
) -> None:
    """Run `count` echo workers of one service, with READY and heartbeats, until killed."""
    dialect = DIALECTS[dialect_name]
    fleet: zmq.Socket[bytes] = zmq.Context().socket(zmq.ROUTER)
    fleet.set_hwm(0)
    names = _connect(fleet, endpoint, count, keys)
    ready = dialect.ready(service.encode())
    asked = list(dialect.asked)
    answer = [*dialect.worker_prefix, dialect.final]
    disconnect = [*dialect.worker_prefix, dialect.disconnect]
    for name in names:
        send_message(fleet, [name, *ready])
    beats = deque((time.perf_counter() + number / count, name) for number, name in enumerate(names))
    while True:
        fleet.poll(20)
        for frames in _messages(fleet):
            command = frames[1 : len(asked) + 1]
            if command == asked:
                send_message(fleet, [frames[0], *answer, *frames[len(asked) + 1 :]])
            elif command == disconnect:
                send_message(fleet, [frames[0], *ready])
        now = time.perf_counter()
        while beats[0][0] <= now:
            _, name = beats.popleft()
            send_message(fleet, dialect.heartbeat_to(name))
            beats.append((now + 1.0, name))


def _echo_bare(endpoint: str, count: int) -> None:
    """Run `count` peers that send back each message, until killed."""
    fleet: zmq.Socket[bytes] = zmq.Context().socket(zmq.ROUTER)
    fleet.set_hwm(0)
    for name in _connect(fleet, endpoint, count):
        send_message(fleet, [name, b""])  # the forwarder can only send to connected peers
    while True:
        fleet.poll()
        for frames in _messages(fleet):
            send_message(fleet, frames)


def _forward(front: str, back: str, workers: int) -> None:
    """Run a bare ROUTER-DEALER loop: whole messages, with the same calls that the broker uses."""
    context: zmq.Context[Any] = zmq.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    poller = zmq.Poller()
    for socket, endpoint in ((router, front), (dealer, back)):
        socket.set_hwm(0)
        socket.bind(endpoint)
        poller.register(socket, zmq.POLLIN)
    for _ in range(workers):
        dealer.recv()  # each peer's first message: now it is connected
    while True:
        for socket, _ in poller.poll():
            other = dealer if socket is router else router
            for frames in _messages(socket):
                send_message(other, frames)


def _short(number: float) -> str:
    """Format a number with three digits, or with all digits before the point."""
    decimals = 2 if number < 10 else 1 if number < 100 else 0
    return f"{number:,.{decimals}f}"


def _table(figures: list[Figure], plan: LoadPlan) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1))
    columns = ["workers", "payload", "window", "req/s", "MB/s", "p50 ms", "p99 ms", "CPU us"]
    if plan.ceiling:
        columns += ["ceiling", "ratio"]
    if plan.with_keys:
        columns += ["no keys", "ratio", "its CPU us"]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for f in figures:
        cells = [str(f.workers), tables.size(f.size), str(f.window), f"{f.requests_per_s:,.0f}"]
        cells += [_short(f.mb_per_s), _short(f.p50_ms), _short(f.p99_ms)]
        cells.append("" if f.cpu_us is None else f"{f.cpu_us:.0f}")
        if f.ceiling_per_s is not None and f.ratio is not None:
            cells += [f"{f.ceiling_per_s:,.0f}", f"{f.ratio:.0%}"]
        if plan.with_keys:
            cells.append("" if f.ceiling_cpu_us is None else f"{f.ceiling_cpu_us:.0f}")
        table.add_row(*cells)
    return table
