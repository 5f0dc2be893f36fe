"""The report of `mmi.metrics`: figures for a monitoring system, of bounded size. Pure.

Counts and histograms grow from the start of the broker, so the reader computes rates from two
reports. What one request costs does not depend on how many services, workers and clients there are.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from ..keys.rights import Rights
from ..version import VERSION
from .management import Reported, short_name
from .serving_times import BOUNDS_S, ServingTimes, WaitingTimes
from .state import Owner, Service, WorkerState

METRICS = b"mmi.metrics"
MOST_WORKERS, MOST_CLIENTS, MOST_SERVICES = 1000, 100, 200
"""So many are named in a report.

A worker is named if there are fewer when it becomes ready; it keeps that until it leaves, and so do
the others, which are summed by service. So no sum ever falls, as it would if a worker moved from
the sum to a name of its own. The clients with most requests are named.
"""


def is_named(worker: bytes, workers: int) -> bool:
    """Return whether reports name a new worker, beside so many others.

    A worker without a name of its own is not named: see `management.short_name`.
    """
    return workers < MOST_WORKERS and not worker.startswith(b"\0")


class Measured(Reported, Protocol):
    """The part of a broker that this report reads."""

    received_bytes: int
    process: Callable[[], Mapping[str, float]]


def report(broker: Measured, rights: Rights, now: float) -> dict[str, Any]:
    """Return the report for the owner of a key. Only an operator is told about peers."""
    named = _named_services(broker.services.values())
    out: dict[str, Any] = {
        "instance": broker.instance.hex(),
        "version": VERSION,
        "host": broker.host,
        "started_at": broker.started_at,
        "draining": broker.draining,
        "counters": asdict(broker.counters),
        "bytes": broker.clients.memory,
        "max_bytes": broker.settings.max_bytes,
        "received_bytes": broker.received_bytes,
        "process": dict(broker.process()),
        "bounds_s": list(BOUNDS_S),
        "services": {service.text: _service(service, now) for service in named},
        "services_left_out": len(broker.services) - len(named),
    }
    if not rights.may_operate:
        out["no_peers"] = f"key {rights.name!r} is a {rights.role}'s, want an operator's"
        return out
    return {**out, **_workers(broker.workers.values(), now), **_clients(broker)}


def _named_services(services: Iterable[Service]) -> list[Service]:
    """Return the services to report: those that workers have served come first."""
    everything = list(services)
    if len(everything) <= MOST_SERVICES:
        return everything
    return sorted(everything, key=lambda s: not (s.workers or s.answered))[:MOST_SERVICES]


def _service(service: Service, now: float) -> dict[str, Any]:
    accepted = [job.accepted_at for job in service.queue.heads()]
    idle, retired = len(service.idle), service.retired
    return {
        "idle": idle,
        "busy": service.workers - idle - retired,
        "retired": retired,
        "queued": service.queued,
        "bytes": service.body_bytes,
        "oldest_s": now - min(accepted, default=now),
        "answered": service.answered,
        "requeued": service.requeued,
        "failed": dict(service.failed),
        "waiting": _histogram(service.waiting),
        "serving": _histogram(service.times),
        "rest": {"answered": service.rest.measured, "p95_s": service.rest.estimate(0.95)},
    }


def _histogram(times: ServingTimes | WaitingTimes) -> dict[str, Any]:
    return {"up_to": times.up_to_bounds(), "sum_s": times.sum_s}


def _workers(workers: Iterable[WorkerState], now: float) -> dict[str, Any]:
    named, left_out = [], 0
    for worker in workers:
        if worker.times is worker.service.rest:
            left_out += 1
        else:
            named.append(_worker(worker, now))
    return {"workers": named, "workers_left_out": left_out}


def _worker(worker: WorkerState, now: float) -> dict[str, Any]:
    facts = worker.facts
    return {
        "service": worker.service.text,
        "worker": short_name(worker.name),
        "host": facts.get("host", ""),
        "job": facts.get("job", ""),
        "device": facts.get("device", ""),
        "restarts": facts.get("restarts", 0),
        "answered": worker.times.measured,
        "p95_s": worker.times.estimate(0.95),
        "busy_s": 0.0 if worker.job is None else now - worker.asked_at,
    }


def _clients(broker: Reported) -> dict[str, Any]:
    waiting: dict[Owner, int] = {}
    for service in broker.services.values():
        for owner, count in service.queue.lengths():
            waiting[owner] = waiting.get(owner, 0) + count
    in_flight: dict[Owner, int] = {}
    for worker in broker.workers.values():
        if worker.job is not None and not worker.job.over:
            owner = worker.job.client.owner
            in_flight[owner] = in_flight.get(owner, 0) + 1

    def count_of(owner: Owner) -> int:
        return waiting.get(owner, 0) + in_flight.get(owner, 0)

    owners = {*broker.clients.owners.values(), *waiting, *in_flight}
    with_name = [owner for owner in owners if not owner.name.startswith(b"\0")]
    named = heapq.nlargest(MOST_CLIENTS, with_name, key=count_of)
    clients: list[dict[str, Any]] = [
        {
            "client": short_name(owner.name),
            "key": owner.rights.name,
            "waiting": waiting.get(owner, 0),
            "in_flight": in_flight.get(owner, 0),
        }
        for owner in named
    ]
    rest = {
        "count": len(owners) - len(named),
        "waiting": sum(waiting.values()) - sum(row["waiting"] for row in clients),
        "in_flight": sum(in_flight.values()) - sum(row["in_flight"] for row in clients),
    }
    return {"clients": clients, "clients_left_out": rest}
