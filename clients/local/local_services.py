"""A broker and workers for one machine: `ssnet run --local`, `ssnet demo`, `ssnet batches FILE`.

They are processes that speak over a socket file in a folder of their own. They end with the block
that started them, and the kernel ends them with a process that is killed (Linux).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from mdp import Client, MDPError, RequestTimeout, Worker

from ..flow.progress import Progress
from ..flow.signals import uninterrupted
from ..flow.stopwatch import Stopwatch

_START_S = 120.0  # to load and convert large networks, on a slow disk
_LOOK_S = 0.1
_STOP_S = 10.0
_HURRY_S = 0.5
_MAX_PLACE = 80  # bytes: a socket's path has at most 107
_LAUNCH = (
    "import os, sys; from mdp.worker.child import die_with; die_with(int(sys.argv.pop(1)));"
    " from importlib import import_module; module = sys.argv.pop(1);"
    " sys.argv[0] = module; import_module(module + '.__main__').main()"
)


class LocalFailed(MDPError):
    """A process that was started here ended before it served."""


class LocalPool(Protocol):
    """Workers for this machine: `pools.Pool`, `feeds.FeedPool`."""

    @property
    def total(self) -> int:
        """How many workers, of all services."""

    def check(self) -> None:
        """Raise at once what would end each of the workers at its start."""

    def options(self) -> list[str]:
        """The arguments of `ssnet worker` that start them."""

    def factories(self) -> list[tuple[str, Callable[[], Worker]]]:
        """What `mdp` starts."""


@contextmanager
def services(
    pool: LocalPool, *, progress: Progress | None = None, watch: Stopwatch | None = None
) -> Iterator[str]:
    """Start a broker and a pool's workers; gives the broker's address when all of them are ready.

    `watch` gets the stages `start` and `stop`. Raises what the pool's `check` does, and
    `LocalFailed`.
    """
    watch, several = watch or Stopwatch(), "s" if pool.total > 1 else ""
    if progress:
        progress.step(f"starting {pool.total} worker{several} on this machine")
    with ExitStack() as stack:
        with watch.stage("start"):
            broker = _start(pool, stack)
        try:
            yield broker
        finally:
            with watch.stage("stop"):
                stack.close()


def _start(pool: LocalPool, stack: ExitStack) -> str:
    """The broker's address; `stack` ends what was started."""
    with ExitStack() as starting:
        folder = Path(starting.enter_context(_folder()))
        broker = f"ipc://{folder}/broker"
        pool.check()
        serve = ("clients", "worker", "--broker", broker, *pool.options())
        serve_broker = ("mdp", "broker", "--bind", broker)
        processes = [
            starting.enter_context(_process(folder / "broker.log", *serve_broker)),
            starting.enter_context(_process(folder / "workers.log", *serve)),
        ]
        with Client(broker) as client:
            _wait(client, pool.total, processes)
        stack.push(starting.pop_all())
        return broker


def _folder() -> tempfile.TemporaryDirectory[str]:
    """For a socket and logs; in /tmp where the usual place makes its path too long."""
    usual = tempfile.gettempdir()
    place = usual if len(os.fsencode(usual)) <= _MAX_PLACE else "/tmp"
    return tempfile.TemporaryDirectory(prefix="ssnet-", dir=place)


def _wait(client: Client, want: int, processes: list[_Process]) -> None:
    give_up_at = time.monotonic() + _START_S
    while True:
        try:
            there = client.services(timeout_s=1.0)
        except RequestTimeout:
            there = {}
        if sum(row["workers"] for row in there.values()) >= want:
            return
        for process in processes:
            if process.popen.poll() is not None:
                raise LocalFailed(f"{process.name} ended: {process.last_line()}")
        if time.monotonic() > give_up_at:
            raise LocalFailed(f"want {want} workers in {_START_S:g} s, got {there}")
        time.sleep(_LOOK_S)


class _Process:
    """A command of ours, and where it logs."""

    def __init__(self, log: Path, module: str, *arguments: str) -> None:
        self.name = f"{module} {arguments[0]}"
        self._log = log
        with log.open("wb") as stderr:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, str(os.getpid()), module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,  # a terminal's Ctrl-C is for us; we stop it in order
            )

    def last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self.popen.returncode}"

    def stop(self) -> None:
        """SIGTERM, and soon another one: nobody waits for what it has in hand. Then SIGKILL."""
        terminate, kill = self.popen.terminate, self.popen.kill
        for end, patience_s in ((terminate, _HURRY_S), (terminate, _STOP_S), (kill, _STOP_S)):
            end()
            try:
                self.popen.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
            return


@contextmanager
def _process(log: Path, module: str, *arguments: str) -> Iterator[_Process]:
    with uninterrupted():
        process = _Process(log, module, *arguments)
    try:
        yield process
    finally:
        process.stop()
