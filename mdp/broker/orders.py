"""What operators order a broker to do: pause, resume, dismiss, abort, drain. Pure.

Each order is a request to a service under `mmi.` (docs/protocol.md) that only the key of an
operator, or of the site, may send. Its body is one frame, a msgpack map. `by` in it says who sends
the order, as `user@host`; nobody checks that, so the log shows the name of the key before it.

The answer is `200` and a map; `400` if the map is not as it should be; or `404` if the broker does
not know what the order names. Codes other than 200 come with a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgpack

from ..errors import WireError
from ..keys.rights import Rights
from ..wire import Frames, one_line
from .clients import Clients
from .management import ok, short_name
from .state import Pause, PendingRequest, Service, WorkerState
from .throttle import Throttle

PAUSE, RESUME = b"mmi.pause", b"mmi.resume"
DISMISS, ABORT, DRAIN = b"mmi.dismiss", b"mmi.abort", b"mmi.drain"
ORDERS = (PAUSE, RESUME, DISMISS, ABORT, DRAIN)

_MAX_BYTES = 1 << 20  # of an order; the names of 50,000 workers fit
_MAX_BY = 128  # characters

Answer = tuple[Frames, list[Frames]]


class Commanded(Protocol):
    """The part of a broker that obeys; `Broker` says what each method does."""

    services: dict[bytes, Service]
    workers: dict[bytes, WorkerState]
    clients: Clients

    @property
    def held(self) -> int: ...

    def set_pause(self, service: Service, pause: Pause | None, now: float) -> list[Frames]: ...

    def dismiss(self, worker: WorkerState, now: float) -> list[Frames]: ...

    def abort(self, job: PendingRequest, text: str, now: float) -> list[Frames]: ...


class Orders:
    """Carries out the orders of operators. `drained_by`: who has ordered to drain, or None."""

    def __init__(self, broker: Commanded, log: Throttle) -> None:
        self.drained_by: str | None = None
        self._broker = broker
        self._log = log
        self._verbs: dict[bytes, Callable[[dict[str, Any], str, float], Answer]] = {
            PAUSE: self._pause,
            RESUME: self._resume,
            DISMISS: self._dismiss,
            ABORT: self._abort,
            DRAIN: self._drain,
        }

    def obey(self, order: bytes, body: Frames, now: float, rights: Rights) -> Answer:
        """Carry out an order. Return the body of its answer, and messages to others."""
        try:
            wanted = _unpacked(body)
            by = _who(rights, wanted.pop("by", ""))
            return self._verbs[order](wanted, by, now)
        except WireError as error:
            return _refusal(400, f"{order.decode()}: {error}")

    def _pause(self, wanted: dict[str, Any], by: str, now: float) -> Answer:
        service = self._service(wanted)
        if service is None:
            return self._no_service(wanted)
        if service.pause is None:
            line = "%s: paused by %s: %d requests queued, workers hold %d"
            self._log.warning(now, line, service.text, by, service.queued, self._held(service))
            out = self._broker.set_pause(service, Pause(by, now), now)
        else:
            out = []  # it stays that of who has paused it first
        return ok(self._state(service, now)), out

    def _resume(self, wanted: dict[str, Any], by: str, now: float) -> Answer:
        service = self._service(wanted)
        if service is None:
            return self._no_service(wanted)
        state = self._state(service, now)
        if service.pause is None:
            return ok(state), []
        line = "%s: resumed by %s after %.1f s: %d requests queued"
        self._log.warning(now, line, service.text, by, now - service.pause.at, service.queued)
        return ok(state), self._broker.set_pause(service, None, now)

    def _service(self, wanted: dict[str, Any]) -> Service | None:
        return self._broker.services.get(_text(wanted, "service").encode("utf-8", "replace"))

    def _no_service(self, wanted: dict[str, Any]) -> Answer:
        known = ", ".join(sorted(service.text for service in self._broker.services.values()))
        name = one_line(str(wanted.get("service")))
        return _refusal(404, f"no service {name!r} is known here, but {known or 'none at all'}")

    def _dismiss(self, wanted: dict[str, Any], by: str, now: float) -> Answer:
        names = set(_texts(wanted, "workers"))
        workers = [w for w in self._broker.workers.values() if _name(w.name) in names]
        out: list[Frames] = []
        for worker in workers:
            doing = "idle" if worker.job is None else "after its request"
            line = "%s: worker %s%s was dismissed by %s (%s)"
            name, service = short_name(worker.name), worker.service.text
            self._log.warning(now, line, service, name, worker.place, by, doing)
            out += self._broker.dismiss(worker, now)
        dismissed = sorted(short_name(worker.name) for worker in workers)
        return ok({"dismissed": dismissed, "unknown": sorted(names - set(dismissed))}), out

    def _abort(self, wanted: dict[str, Any], by: str, now: float) -> Answer:
        jobs = list(self._wanted_jobs(wanted))
        out = [
            frames
            for job in jobs
            for frames in self._broker.abort(job, f"cancelled by {by} (`mdp cancel`)", now)
        ]
        if jobs:
            whose = wanted.get("client", "one request")
            line = "cancelled %d by %s: client %s"
            self._log.warning(now, line, len(jobs), by, one_line(str(whose))[:_MAX_BY])
        return ok({"cancelled": [job.id.hex() for job in jobs]}), out

    def _wanted_jobs(self, wanted: dict[str, Any]) -> Iterator[PendingRequest]:
        """Yield the requests of a client, or those with these ids."""
        ids = set(_texts(wanted, "requests")) if "requests" in wanted else None
        client = _text(wanted, "client") if ids is None else ""
        for job in list(self._broker.clients):
            is_named = job.id.hex() in ids if ids else _name(job.client.owner.name) == client
            if is_named:
                yield job

    def _drain(self, wanted: dict[str, Any], by: str, now: float) -> Answer:
        self.drained_by = self.drained_by or by
        held = self._broker.held
        queued = sum(job.worker is None for job in self._broker.clients)
        return ok({"held": held, "queued": queued}), []

    def _state(self, service: Service, now: float) -> dict[str, Any]:
        """Return what a service does, for the answer of an order about it."""
        pause = service.pause
        return {
            "service": service.text,
            "queued": service.queued,
            "held": self._held(service),
            "workers": service.workers,
            "paused": None if pause is None else {"by": pause.by, "for_s": now - pause.at},
        }

    def _held(self, service: Service) -> int:
        """Return how many requests the workers of a service hold."""
        workers = self._broker.workers.values()
        jobs = [worker.job for worker in workers if worker.service is service]
        return sum(job is not None and not job.over for job in jobs)


def _unpacked(body: Frames) -> dict[str, Any]:
    """Return the map in the body of an order. Raises `WireError`."""
    frame = body[0] if len(body) == 1 else None
    if not isinstance(frame, bytes) or len(frame) > _MAX_BYTES:
        raise WireError(f"want one frame with a msgpack map of at most {_MAX_BYTES} bytes")
    try:
        unpacked = msgpack.unpackb(frame)
    except (ValueError, TypeError, msgpack.UnpackException):
        unpacked = None
    if not isinstance(unpacked, dict):
        raise WireError("want a msgpack map")
    return unpacked


def _text(wanted: dict[str, Any], name: str) -> str:
    value = wanted.get(name)
    if not isinstance(value, str):
        raise WireError(f"want {name!r} as a text, got {value!r:.100}")
    return value


def _texts(wanted: dict[str, Any], name: str) -> list[str]:
    values = wanted.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise WireError(f"want {name!r} as a list of texts, got {values!r:.100}")
    return values


def _who(rights: Rights, claimed: object) -> str:
    """Return who sends an order: the name of the key, and who the sender says to be."""
    user = one_line(claimed[:_MAX_BY])[:_MAX_BY] if isinstance(claimed, str) else ""
    if not rights.name:
        return user or "somebody"
    return f"key {rights.name} ({user})" if user else f"key {rights.name}"


def _name(peer: bytes) -> str | None:
    """Return the short name of a peer; None if all those that have chosen none share it."""
    return None if peer[:1] == b"\0" else short_name(peer)


def _refusal(code: int, text: str) -> Answer:
    return [b"%d" % code, text.encode("utf-8", "backslashreplace")], []
