"""A broker and workers for one machine: `ssnet run --local`, `ssnet demo`, `ssnet batches FILE`.

A campaign (`ssnet campaign start --local`) has readers of files there, too.

They are processes that communicate through a socket file in a temporary folder. They end with the
block that started them; if that process is killed, the kernel kills them, too (Linux).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from mdp import BrokerSettings, Client, MDPError, RequestTimeout
from mdp.system.logs import configure_logging
from mdp.system.process import raise_file_limit, stop_signal
from mdp.system.subprocesses import Subprocess, running

from ..flow.progress import Progress
from ..flow.stopwatch import Stopwatch
from ..terminal.process import errors_reported
from .reader_pool import ReaderPool
from .serving import Pool, serve

_START_S = 120.0  # to load and convert large networks, on a slow disk
_LOOK_S = 0.1
_MAX_PLACE = 80  # bytes: a socket's path has at most 107


class LocalFailed(MDPError):
    """A process that was started here ended before it served."""


@contextmanager
def services(
    pool: Pool,
    *,
    readers: ReaderPool | None = None,
    progress: Progress | None = None,
    watch: Stopwatch | None = None,
) -> Iterator[str]:
    """Start a broker and a pool's workers; gives the broker's address when all of them are ready.

    readers: readers of files, which ask the pool's workers; their `broker` is set here. `watch`
    gets the stages `start` and `stop`. Raises what the pools' `check` does, and `LocalFailed`.
    """
    watch, total = watch or Stopwatch(), pool.total + (readers.total if readers else 0)
    if progress:
        progress.step(f"starting {total} worker{'s' * (total > 1)} on this machine")
    with ExitStack() as stack:
        with watch.stage("start"):
            broker = _start(pool, readers, stack)
        try:
            yield broker
        finally:
            with watch.stage("stop"):
                stack.close()


def _start(pool: Pool, readers: ReaderPool | None, stack: ExitStack) -> str:
    """Start the processes, and return the broker's address; `stack` stops the processes."""
    with ExitStack() as starting:
        folder = Path(starting.enter_context(_folder()))
        broker = f"ipc://{folder}/broker"
        pool.check()
        processes = [
            starting.enter_context(_process(folder, "broker", _serve_broker, broker)),
            starting.enter_context(_process(folder, "workers", _serve_pool, broker, pool)),
        ]
        total = pool.total
        if readers is not None:
            mine = replace(readers, broker=broker)
            mine.check()
            # they stop first, while the planes still answer
            process = _process(folder, "readers", _serve_pool, broker, mine)
            processes.append(starting.enter_context(process))
            total += mine.total
        with Client(broker) as client:
            _wait(client, total, processes)
        stack.push(starting.pop_all())
        return broker


def _folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder for a socket and logs; in /tmp if the usual path is too long for a socket."""
    usual = tempfile.gettempdir()
    place = usual if len(os.fsencode(usual)) <= _MAX_PLACE else "/tmp"
    return tempfile.TemporaryDirectory(prefix="ssnet-", dir=place)


def _wait(client: Client, want: int, processes: list[Subprocess]) -> None:
    give_up_at = time.monotonic() + _START_S
    while True:
        try:
            served = client.services(timeout_s=1.0)
        except RequestTimeout:
            served = {}
        if sum(row["workers"] for row in served.values()) >= want:
            return
        for process in processes:
            if process.ended:
                raise LocalFailed(f"the {process.name} ended: {process.last_line()}")
        if time.monotonic() > give_up_at:
            raise LocalFailed(f"want {want} workers in {_START_S:g} s, got {served}")
        time.sleep(_LOOK_S)


# What the processes do.


def _process(
    folder: Path, name: str, target: Callable[..., object], *args: object
) -> AbstractContextManager[Subprocess]:
    return running(name, folder / f"{name}.log", target, *args)


def _serve_broker(address: str) -> None:
    from mdp.broker.broker_loop import serve_broker

    with errors_reported(), stop_signal() as stop:
        configure_logging(verbose=False)
        raise_file_limit()
        serve_broker([address], BrokerSettings(), stop)


def _serve_pool(broker: str, pool: Pool) -> None:
    with errors_reported():
        configure_logging(verbose=False)
        serve(pool, broker)
