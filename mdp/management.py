"""The broker's own services under `mmi.`, which report its state. Pure.

RFC 8 (https://rfc.zeromq.org/spec/8/) defines `mmi.service`; the others are extensions of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgpack

from .wire import RETIRE, Frames, printable

if TYPE_CHECKING:
    from .broker import Broker

PREFIX = b"mmi."
VERSION = "0.1.0"


def answer(broker: Broker, service: bytes, body: Frames, now: float) -> Frames:
    """Answer a request to `service`, under `mmi.`: a code and, with most of them, a msgpack map."""
    if service == b"mmi.service":
        return [_served(broker, body)]
    report = _REPORTS.get(service)
    if report is None:
        return [b"501"]
    return [b"200", msgpack.packb(report(broker, body, now))]


def _served(broker: Broker, body: Frames) -> bytes:
    """RFC 8: 200 if the service named in the body has a worker, 404 otherwise."""
    name = body[0] if body else b""
    service = broker.services.get(name) if isinstance(name, bytes) else None
    return b"200" if service is not None and service.workers else b"404"


def _services(broker: Broker, body: Frames, now: float) -> dict[str, Any]:
    return {
        service.text: {
            "workers": service.workers,
            "idle": len(service.idle),
            "busy": service.busy,
            "queued": service.queued,
            "bytes": service.body_bytes,
            "answered": service.answered,
            "requeued": service.requeued,
        }
        for service in broker.services.values()
    }


def _workers(broker: Broker, body: Frames, now: float) -> dict[str, Any]:
    return {
        "workers": [
            {
                "service": worker.service.text,
                "address": worker.name.hex(),
                "dialect": worker.dialect.name,
                "fingerprint": printable(worker.fingerprint),
                "since_s": now - worker.since,
                "busy_s": None if worker.job is None else now - worker.asked_at,
                "heard_s": now - worker.heard_at,
            }
            for worker in broker.workers.values()
        ]
    }


def _broker(broker: Broker, body: Frames, now: float) -> dict[str, Any]:
    """Report the broker, and those clients named in the body for which it has no requests."""
    return {
        "instance": broker.instance.hex(),
        "version": VERSION,
        "started_at": broker.started_at,
        "draining": broker.draining,
        "settings": {
            **vars(broker.settings),
            "pulse": vars(broker.settings.pulse),
            "time_limits_s": dict(broker.settings.time_limits_s),
        },
        "counters": asdict(broker.counters),
        "lost": [name for name in body if isinstance(name, bytes) and name not in broker.clients],
    }


def _retire(broker: Broker, body: Frames, now: float) -> dict[str, Any]:
    """Answer with an empty map: `Broker` itself retires the worker, before it calls this."""
    return {}


def _cancel(broker: Broker, body: Frames, now: float) -> dict[str, Any]:
    """Cancel the requests of the named clients.

    Routing ids that a ROUTER assigned (RFC 28: they start with a zero byte) can be guessed, so only
    the requests of clients that chose their own id are cancelled.
    """
    chosen = [name for name in body if isinstance(name, bytes) and name[:1] not in (b"", b"\0")]
    return {"cancelled": sum(broker.cancel(name) for name in chosen)}


_REPORTS: dict[bytes, Callable[[Broker, Frames, float], dict[str, Any]]] = {
    b"mmi.services": _services,
    b"mmi.workers": _workers,
    b"mmi.broker": _broker,
    b"mmi.cancel": _cancel,
    RETIRE: _retire,
}
