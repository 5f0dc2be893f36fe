"""A broker and workers for one machine: `ssnet run --local`, `ssnet demo`, `ssnet batches FILE`.

A campaign (`ssnet campaign start --local`) has readers of files there, too.

They are processes that communicate through a socket file in a temporary folder. They end with the
block that started them; if that process is killed, the kernel kills them, too (Linux).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from mdp.system.logs import configure_logging
from mdp.testing import LocalSite

from ..flow.progress import Progress
from ..flow.stopwatch import Stopwatch
from ..terminal.process import errors_reported
from .reader_pool import ReaderPool
from .serving import Pool, serve


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
        pool.check()
        site = starting.enter_context(LocalSite("ssnet"))
        site.start("workers", _serve_pool, site.broker, pool)
        total = pool.total
        if readers is not None:
            mine = replace(readers, broker=site.broker)
            mine.check()
            # they stop first, while the planes still answer
            site.start("readers", _serve_pool, site.broker, mine)
            total += mine.total
        site.wait_for_workers(total)
        stack.push(starting.pop_all())
        return site.broker


def _serve_pool(broker: str, pool: Pool) -> None:
    with errors_reported():
        configure_logging(verbose=False)
        serve(pool, broker)
