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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mdp import Client, MDPError, RequestTimeout

from .pools import Pool, check
from .signals import uninterrupted

_START_S = 120.0  # to load and convert large networks, on a slow disk
_LOOK_S = 0.1
_STOP_S = 10.0
_LAUNCH = (
    "import os, sys; from mdp.child import die_with; die_with(int(sys.argv.pop(1)));"
    " from importlib import import_module; module = sys.argv.pop(1);"
    " sys.argv[0] = module; import_module(module + '.cli').main()"
)


class LocalFailed(MDPError):
    """A process that was started here ended before it served."""


@contextmanager
def services(pool: Pool) -> Iterator[str]:
    """Start a broker and a pool's workers; gives the broker's address when all of them are ready.

    Raises `NetworkError` and `EngineError` for what cannot be served, and `LocalFailed`.
    """
    check(pool)
    with serve(pool.options(), pool.workers * len(pool.planes)) as broker:
        yield broker


@contextmanager
def serve(arguments: Sequence[str], workers: int) -> Iterator[str]:
    """Start a broker and `ssnet worker ARGUMENTS`; gives the address when so many are ready.

    Raises `LocalFailed`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ssnet-")))
        broker = f"ipc://{folder}/broker"
        command = ("clients", "worker", "--broker", broker, *arguments)
        processes = [
            stack.enter_context(_process(folder / "broker.log", "mdp", "broker", "--bind", broker)),
            stack.enter_context(_process(folder / "workers.log", *command)),
        ]
        with Client(broker) as client:
            _wait(client, workers, processes)
        yield broker


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
        """SIGTERM, twice, then SIGKILL: nobody waits for what it has in hand."""
        for end in (self.popen.terminate, self.popen.terminate, self.popen.kill):
            end()
            try:
                self.popen.wait(_STOP_S)
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
