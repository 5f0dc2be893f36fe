"""A broker and workers of given classes, for tests of services."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from ..errors import SettingsError
from ..settings import BrokerSettings, Heartbeats, WorkerSettings
from .local_site import LocalSite
from .processes import BrokerProcess, Factory, WorkerProcess

QUICK = Heartbeats(interval_s=0.2, liveness=5)
"""A worker that falls silent is noticed within a second."""
_ORPHAN_S = 2.0


class ServingSite:
    """A broker and workers that serve. `serving` makes one.

    broker: the broker's address, for clients. broker_process: the broker, for faults.
    """

    def __init__(self, site: LocalSite) -> None:
        self.broker = site.broker
        self.broker_process = BrokerProcess(site)
        self._workers: dict[str, list[WorkerProcess]] = {}

    def workers(self, service: str) -> list[WorkerProcess]:
        """Return the workers of a service, for faults."""
        if service not in self._workers:
            raise SettingsError(f"want a service of {sorted(self._workers)}, got {service!r}")
        return list(self._workers[service])

    def _add(self, worker: WorkerProcess) -> None:
        self._workers.setdefault(worker.service, []).append(worker)

    def _begin_to_stop(self) -> None:
        """Ask all workers to end, so that they do so together."""
        for workers in self._workers.values():
            for worker in workers:
                worker.begin_to_stop()
        self.broker_process.let_go_on()  # the workers sign off there


@contextmanager
def serving(
    services: Mapping[str, Factory],
    *,
    workers: int = 1,
    settings: BrokerSettings | None = None,
    heartbeats: Heartbeats = QUICK,
) -> Iterator[ServingSite]:
    """Start a broker, and `workers` workers for each service; gives the site when all are ready.

    services: by name, the class of the workers, or another function that makes a worker and can be
    pickled, such as a `functools.partial`. settings: the broker's; by default, only its heartbeats
    are quicker than usual.

    All of them are processes, which end with the block. Raises `LocalFailed` if one of them ends
    before it serves, for example because `setup` fails, with the last line of its log; and
    `SettingsError` for classes that another process cannot import.
    """
    for factory in services.values():
        _check_importable(factory)
    if workers < 1:
        raise SettingsError(f"want at least 1 worker for each service, got {workers}")
    of_workers = WorkerSettings(
        heartbeats=heartbeats,
        reconnect_s=0.2,
        reconnect_max_s=1.0,
        max_setup_failures=1,
        orphan_s=_ORPHAN_S,
    )
    of_broker = settings or BrokerSettings(heartbeats=heartbeats)
    with ExitStack() as stack:
        local = stack.enter_context(LocalSite("mdp-test", of_broker))
        site = ServingSite(local)
        wanted = [
            (f"{service}#{number}", factory)
            for service, factory in services.items()
            for number in range(1, workers + 1)
        ]
        for index, (name, factory) in enumerate(wanted):
            worker = WorkerProcess(local, name, f"link{index}", factory, of_workers)
            local.enter(worker.link)
            worker.start()
            site._add(worker)
        stack.callback(site._begin_to_stop)
        local.wait_for_workers(len(wanted))
        yield site


class Serve(Protocol):
    """The type of pytest's fixture `mdp_serving`: `serving` without a `with` block."""

    def __call__(
        self,
        services: Mapping[str, Factory],
        *,
        workers: int = 1,
        settings: BrokerSettings | None = None,
        heartbeats: Heartbeats = QUICK,
    ) -> ServingSite: ...


def _check_importable(factory: Factory) -> None:
    target: Any = factory
    while isinstance(target, functools.partial):
        target = target.func
    name = getattr(target, "__qualname__", "")
    want = "want a class at the top level of a module, which the worker's process imports"
    if "<" in name:  # `test_it.<locals>.Smooth`, `<lambda>`
        raise SettingsError(f"{want}, got {name}")
    is_main = getattr(target, "__module__", "") == "__main__"
    if is_main and not hasattr(sys.modules["__main__"], "__file__"):
        raise SettingsError(
            f"{want}, got {name} of a notebook: put it into a file, with %%writefile"
        )
