"""The broker's own services under `mmi.`, which report its state. Pure.

RFC 8 (https://rfc.zeromq.org/spec/8/) defines `mmi.service`; the others are extensions of ours.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

import msgpack

from ..settings import BrokerSettings
from ..version import VERSION
from ..wire import NAME_BYTES, Frames, lease_of, printable
from .clients import Clients
from .state import Counters, Service, WorkerState

PREFIX = b"mmi."
WORKERS = b"mmi.workers"


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
        }
        for service in broker.services.values()
    }


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
                "address": shown(worker.name),
                "dialect": worker.dialect.name,
                "fingerprint": printable(worker.fingerprint),
                "retired": worker.retired,
                "since_s": now - worker.registered_at,
                "busy_s": None if worker.job is None else now - worker.asked_at,
                "heard_s": now - worker.heard_at,
                "facts": dict(worker.facts),
            }
            for worker in broker.workers.values()
        ]
    }


def shown(name: bytes) -> str:
    """Return a short name of a worker for the report, and not the name by which it is reached.

    Who connects under the name of a worker that has just left may get its next request. And a name
    that the ROUTER gave out (RFC 28: it starts with a zero byte) is a counter: who knew it
    could claim the next name, and libzmq aborts the broker when it gives that name out itself.
    """
    return "(given by the broker)" if name[:1] == b"\0" else hashlib.sha256(name).hexdigest()[:16]


def _broker(broker: Reported, body: Frames, now: float) -> dict[str, Any]:
    """Report the broker's state, and of the lanes named in the body what they wait for.

    `lost`: those that have no requests here. `unserved`: the services without a worker in whose
    queues their requests are, and for how many seconds each has had none.
    """
    names = _names(body)
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
        "unserved": _unserved(broker, names, now),
    }


def _unserved(broker: Reported, lanes: list[bytes], now: float) -> dict[str, float]:
    jobs = [
        job
        for name in lanes
        if name in broker.clients.lanes
        for job in broker.clients.requests_of(name)
    ]
    services = {job.service for job in jobs if job.worker is None and not job.service.workers}
    return {service.text: now - service.unserved_since for service in services}


def _names(body: Frames) -> list[bytes]:
    """Return the names in a heartbeat; not the long ones: an answer must not become too large."""
    frames = body if lease_of(body) is None else body[:-1]
    return [name for name in frames if isinstance(name, bytes) and len(name) <= NAME_BYTES]


def _finite(seconds: float) -> float | None:
    return seconds if seconds < math.inf else None


_REPORTS: dict[bytes, Callable[[Reported, Frames, float], dict[str, Any]]] = {
    b"mmi.services": _services,
    WORKERS: _workers,
    b"mmi.broker": _broker,
}
