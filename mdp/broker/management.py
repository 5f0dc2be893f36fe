"""The broker's own services under `mmi.`, which report its state. Pure.

RFC 8 (https://rfc.zeromq.org/spec/8/) defines `mmi.service`; the others are extensions of ours.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

import msgpack

from ..settings import BrokerSettings
from ..version import VERSION
from ..wire import NAME_BYTES, Frames, lease_of, printable, progress_in, progress_of, who_of
from .clients import Clients
from .state import Counters, Owner, PendingRequest, Service, WorkerState

PREFIX = b"mmi."
WORKERS = b"mmi.workers"
CLIENTS = b"mmi.clients"
NAMES_PEERS = (WORKERS, CLIENTS)
"""Reports that only an operator's key may read."""
_SHOWN_REQUESTS = 20  # of each client, the oldest ones


class Reported(Protocol):
    """The part of a broker that the reports read; they change nothing."""

    services: dict[bytes, Service]
    workers: dict[bytes, WorkerState]
    clients: Clients
    settings: BrokerSettings
    counters: Counters
    instance: bytes
    started_at: float
    user: str
    host: str
    draining: bool


def answer(broker: Reported, service: bytes, body: Frames, now: float) -> Frames:
    """Answer a request to an `mmi.` service: a code and, in most answers, a msgpack map."""
    if service == b"mmi.service":
        return [_served(broker, body)]
    report = _REPORTS.get(service)
    if report is None:
        return [b"501"]
    return ok(report(broker, body, now))


def ok(report: dict[str, Any]) -> Frames:
    """Return the answer of a report or a command that succeeded."""
    return [b"200", msgpack.packb(report)]


def _served(broker: Reported, body: Frames) -> bytes:
    """RFC 8: 200 if the service named in the body has a worker, 404 otherwise."""
    name = body[0] if body else b""
    service = broker.services.get(name) if isinstance(name, bytes) else None
    return b"200" if service is not None and service.workers else b"404"


def _services(broker: Reported, body: Frames, now: float) -> dict[str, Any]:
    return {
        service.text: {
            "workers": service.workers,
            "retired": service.retired,
            "idle": len(service.idle),
            "busy": service.busy,
            "queued": service.queued,
            "bytes": service.body_bytes,
            "answered": service.answered,
            "requeued": service.requeued,
            "time_limit_s": _finite(service.time_limit_s()),
            "serving_s": _serving(service),
            "paused": _pause(service, now),
        }
        for service in broker.services.values()
    }


def _pause(service: Service, now: float) -> dict[str, Any] | None:
    """Report who has paused a service, and for how long it has been paused; None: it is not."""
    pause = service.pause
    return None if pause is None else {"by": pause.by, "for_s": now - pause.at}


def _serving(service: Service) -> dict[str, float] | None:
    """Report how long workers held the requests that they answered; None: none was answered."""
    times = service.times
    if not times.measured:
        return None
    return {"p50": times.estimate(0.5), "p95": times.estimate(0.95), "measured": times.measured}


def _workers(broker: Reported, body: Frames, now: float) -> dict[str, Any]:
    return {
        "workers": [
            {
                "service": worker.service.text,
                "address": short_name(worker.name),
                "dialect": worker.dialect.name,
                "fingerprint": printable(worker.fingerprint),
                "retired": worker.retired,
                "dismissed": worker.dismissed,
                "since_s": now - worker.registered_at,
                "busy_s": None if worker.job is None else now - worker.asked_at,
                "heard_s": now - worker.heard_at,
                "facts": dict(worker.facts),
            }
            for worker in broker.workers.values()
        ]
    }


def short_name(name: bytes) -> str:
    """Return a short name of a peer for the report, and not the name by which it is reached.

    Who connects under the name of a worker that has just left may get its next request. And a name
    that the ROUTER gave out (RFC 28: it starts with a zero byte) is a counter: who knew it
    could claim the next name, and libzmq aborts the broker when it gives that name out itself.
    """
    return "(given by the broker)" if name[:1] == b"\0" else hashlib.sha256(name).hexdigest()[:16]


def _clients(broker: Reported, body: Frames, now: float) -> dict[str, Any]:
    """Report the clients that wait for answers, each with the oldest of its requests."""
    return {"clients": [_client(owner, now) for owner in _waiting(broker.clients)]}


def _waiting(clients: Clients) -> list[Owner]:
    """Return the clients that have requests: one for each key, if several use one name."""
    return [*{id(lane.owner): lane.owner for lane in clients.lanes.values()}.values()]


def _client(owner: Owner, now: float) -> dict[str, Any]:
    jobs = [job for lane in owner.lanes.values() for job in lane.jobs]
    oldest = heapq.nsmallest(_SHOWN_REQUESTS, jobs, key=lambda job: job.accepted_at)
    return {
        "client": short_name(owner.name),
        "key": owner.rights.name,
        "where": owner.where,
        "interactive": owner.interactive,
        "queued": sum(job.worker is None for job in jobs),
        "held": sum(job.worker is not None for job in jobs),
        "bytes": owner.body_bytes,
        "services": sorted({job.service.text for job in jobs}),
        "oldest_s": max((now - job.accepted_at for job in jobs), default=0.0),
        "requests": [_request(job, now) for job in oldest],
        "progress": progress_of(owner.progress) if owner.progress else None,
    }


def _request(job: PendingRequest, now: float) -> dict[str, Any]:
    worker = job.worker
    return {
        "id": job.id.hex(),
        "service": job.service.text,
        "worker": None if worker is None else short_name(worker.name),
        "age_s": now - job.accepted_at,
        "held_s": None if worker is None else now - worker.asked_at,
    }


def _broker(broker: Reported, body: Frames, now: float) -> dict[str, Any]:
    """Report the broker's state, and of the lanes named in the body what they wait for.

    `lost`: those that have no requests here. `unserved`: the services without a worker in whose
    queues their requests are, and for how many seconds each has had none. `paused`: the services
    in whose queues they wait because an operator has paused them. `request_ids`: this broker
    understands `Dialect.request_with_id`.
    """
    names = _names(body)
    wanted = _wanted(broker, names)
    return {
        "instance": broker.instance.hex(),
        "version": VERSION,
        "started_at": broker.started_at,
        "user": broker.user,
        "host": broker.host,
        "draining": broker.draining,
        "settings": {
            **vars(broker.settings),
            "heartbeats": vars(broker.settings.heartbeats),
            "time_limits_s": dict(broker.settings.time_limits_s),
        },
        "counters": asdict(broker.counters),
        "bytes": broker.clients.memory,
        "lost": [name for name in names if name not in broker.clients.lanes],
        "unserved": {s.text: now - s.unserved_since for s in wanted if not s.workers},
        "paused": {s.text: _pause(s, now) for s in wanted if s.pause is not None},
        "request_ids": True,
    }


def _wanted(broker: Reported, lanes: list[bytes]) -> set[Service]:
    """Return the services in whose queues these lanes have requests."""
    jobs = [
        job
        for name in lanes
        if name in broker.clients.lanes
        for job in broker.clients.requests_of(name)
    ]
    return {job.service for job in jobs if job.worker is None}


def _names(body: Frames) -> list[bytes]:
    """Return the names in a heartbeat; not the long ones: an answer must not become too large."""
    frames = body
    if lease_of(body) is not None:
        frames = body[: -1 if who_of(body) is None else -2 - bool(progress_in(body))]
    return [name for name in frames if isinstance(name, bytes) and len(name) <= NAME_BYTES]


def _finite(seconds: float) -> float | None:
    return seconds if seconds < math.inf else None


_REPORTS: dict[bytes, Callable[[Reported, Frames, float], dict[str, Any]]] = {
    b"mmi.services": _services,
    WORKERS: _workers,
    CLIENTS: _clients,
    b"mmi.broker": _broker,
}
