"""Real processes for the tests: brokers, workers and others. Nothing outlives its test."""

from __future__ import annotations

import functools
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from mdp import Client, ClientSettings, Heartbeats, MDPError
from tests.support import keys

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--heartbeat", "0.2", "--liveness", "3")
QUICK_CLIENT = ClientSettings(heartbeats=Heartbeats(0.2, 3), timeout_s=60.0, tries=3)
_MARK = "MDP_TEST_PROCESS"

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, *, within_s: float = 90.0) -> T:
    """Wait until `condition` gives something true, and return that; fail after `within_s`."""
    pause = threading.Event()
    give_up_at = time.monotonic() + within_s
    while not (got := condition()):
        if time.monotonic() > give_up_at:
            raise AssertionError(f"waited {within_s:g} s until {what}")
        pause.wait(0.01)
    return got


def free_port() -> int:
    """A loopback port that nobody serves; it can be served again after its broker is killed.

    It lies below the range out of which systems give ports to outgoing connections: a client that
    knocks at a dead broker's port in that range may be given this very port, and block it.
    Several runs of the tests on one machine, and the workers of one run, get different ports.
    """
    _, ports = _block_of_ports()
    return next(port for port in ports if _is_free(port))


@functools.cache
def _block_of_ports() -> tuple[socket.socket, Iterator[int]]:
    """The ports of this process alone; the socket keeps their first one, so others take no part."""
    for first in range(20_000, 32_000, 200):
        taken = socket.socket()
        try:
            taken.bind(("127.0.0.1", first))
        except OSError:
            taken.close()
            continue
        return taken, itertools.cycle(range(first + 1, first + 200))
    raise AssertionError("other processes hold all blocks of ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Process:
    """One process that a test started, with all that descends from it."""

    def __init__(self, command: list[str], stderr: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.stderr_path = stderr
        with stderr.open("wb") as log:
            self.popen = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, _MARK: self.mark},  # its descendants inherit it
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def send_group(self, number: signal.Signals) -> None:
        """As a terminal does at Ctrl-C, and many a batch system at the end of a job."""
        os.killpg(self.pid, number)

    def exit_code(self, *, within_s: float = 30.0) -> int:
        """Wait for its end."""
        try:
            return self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it runs on after {within_s:g} s:\n{self.stderr}") from None

    def alive(self) -> set[int]:
        """The process ids of all that live of it; zombies do not."""
        return marked(_MARK, self.mark)

    def wait_until_it_says(self, text: str, *, within_s: float = 30.0) -> None:
        what = f"{self.popen.args!r} says {text!r}"
        until(lambda: text in self.stderr, what, within_s=within_s)

    def wait_until_nothing_is_left(self) -> None:
        until(lambda: not self.alive(), f"nothing is left of {self.popen.args!r}")

    def kill(self) -> None:
        """Kill what is left of it."""
        for pid in self.alive():
            _kill(pid)
        self.popen.kill()
        self.popen.wait()
        self.wait_until_nothing_is_left()

    def resident_bytes(self) -> int:
        """VmRSS: the memory that it has now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"process {self.pid} is no more")


def marked(name: str, value: str) -> set[int]:
    """The process ids of all that have this in their environment; zombies have none."""
    mark = f"{name}={value}".encode()
    return {int(entry) for entry in os.listdir("/proc") if _has_mark(entry, mark)}


def children(host: Process) -> list[int]:
    """The processes in which a worker's host lets compute."""
    return [pid for pid in host.alive() if "spawn_main" in _command(pid)]


def kill_a_child(host: Process, dice: random.Random) -> None:
    """Kill one of a host's children by SIGKILL, as soon as there is one."""
    pids = until(lambda: children(host), "a child lives")
    os.kill(dice.choice(pids), signal.SIGKILL)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""  # it has ended meanwhile


def _has_mark(entry: str, mark: bytes) -> bool:
    if not entry.isdigit():
        return False
    try:
        return mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it ended, or is not ours


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class Processes:
    """What one test (or module) starts; `close` kills it, and shows what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Process] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        for process in self.started:
            process.kill()
        for process in self.started:
            print(f"--- {process.popen.args!r}\n{process.stderr}")

    def python(self, *arguments: str) -> Process:
        """`python ARGUMENTS` in the repository's root; a warning is an error there, too."""
        stderr = self.folder / f"{len(self.started)}.stderr"
        process = Process([sys.executable, "-W", "error", *arguments], stderr)
        self.started.append(process)
        return process

    def broker(self, endpoint: str, *options: str) -> Process:
        """`mdp broker`, serving already."""
        secured = keys.broker_options(endpoint)
        command = ("-m", "mdp", "broker", "--bind", endpoint)
        process = self.python(*command, *secured, *options)
        until(lambda: _answers(process, endpoint), f"a broker serves at {endpoint}")
        return process

    def worker(self, endpoint: str, service: str, target: str, *options: str) -> Process:
        """`mdp worker`; it may take a moment until it is ready."""
        return self.python("-m", "mdp", "worker", service, target, "--broker", endpoint, *options)


def _answers(process: Process, endpoint: str) -> bool:
    if process.popen.poll() is not None:
        raise AssertionError(f"the broker ended:\n{process.stderr}")
    try:
        with Client(endpoint) as client:
            client.management("broker", timeout_s=0.5)
    except MDPError:
        return False
    return True


def workers_of(client: Client, service: str) -> int:
    """How many workers live for the service."""
    return client.services().get(service, {}).get("workers", 0)


def held(client: Client, service: str) -> int:
    """What the broker holds of the service's requests: queued, and with workers."""
    row = client.services().get(service, {})
    return row.get("queued", 0) + row.get("busy", 0)


def wait_for_workers(client: Client, service: str, count: int) -> None:
    until(lambda: workers_of(client, service) == count, f"{service} has {count} workers")


def counters(client: Client) -> dict[str, int]:
    """What the broker has counted since its start."""
    counted: dict[str, int] = client.management("broker")["counters"]
    return counted


def strangers(client: Client) -> int:
    """How many connections have shown no known key; some hang up before the broker does."""
    counted = counters(client)
    return counted["handshakes_failed"] + counted["hung_up"]
