"""The Majordomo broker as a state machine: it gets messages and the time, and returns messages.

Pure: `broker_loop` has the socket and the clock. docs/protocol.md lists the broker's guarantees.

In the Majordomo protocol (RFC 7 and RFC 18) clients and workers know only the broker. A worker
registers for one service, a name, with READY. A client sends a REQUEST to a service. The broker
queues the requests of each service, first in, first out, and gives the request at the head to the
worker that has been idle longest. A worker holds one request at a time and answers it with any
number of PARTIAL messages (MDP/0.1 has none) and one FINAL. The broker gives out each request
under a new token, and drops an answer under any other token: it comes too late. Every message from
a worker shows that it is alive; broker and worker send HEARTBEAT when nothing else is to be sent.

A worker is lost if it sends DISCONNECT or a second READY, if it is silent for liveness * interval,
or if a message to it cannot be sent; then its request goes to another worker. A worker's states:

event                   not registered          idle                    busy: it holds a request
--------------------    --------------------    --------------------    -------------------------
READY                   -> idle (1)             DISCONNECT, -> lost     DISCONNECT, -> lost
head of the queue       -                       REQUEST, -> busy        -
PARTIAL                 DISCONNECT              dropped                 forwarded to the client
FINAL                   DISCONNECT              dropped                 forwarded, -> idle
HEARTBEAT               DISCONNECT              stays                   stays
mmi.retire              -                       -> retired (2)          -> retired after its FINAL
DISCONNECT              ignored                 -> lost                 -> lost
silence                 -                       DISCONNECT, -> lost     DISCONNECT, -> lost
time limit is over      -                       -                       504, DISCONNECT, -> gone

(1) DISCONNECT instead if the broker drains, the name starts with `mmi.`, the fingerprint differs
    from that of the service's other workers, or the broker knows too many services.
(2) It stays registered and its heartbeats count, but it is not idle: it gets no more requests.

Each accepted request is in one of three states, and is counted by how it ended:

event                                         queued                    held by one worker
------------------------------------------    ----------------------    -------------------------
a worker of the service is idle               held, under a new token   -
FINAL under that token                        -                         over: answered
the worker is lost                            -                         queued, at the head (3)
no worker for `expiry_s`                      over: refused, 404        -
the service's time limit is over              -                         over: refused, 504
the client cancels, or cannot be reached      over: cancelled           over: cancelled (4)
`drain`                                       over: refused, 503        stays
`close`                                       over: refused, 503        over: refused, 503

(3) over: refused, 502, at the `max_attempts`-th loss. A worker that was already gone when the
    request was given to it does not count.
(4) The worker computes on and stays busy; the broker drops its answer.
A new request is refused at once if the queue is full (429), if the broker drains (503) or if it
knows too many services (429). A client of MDP/0.1 gets all parts in one reply; they count towards
`max_queue_bytes` of the service, and a request that exceeds it is refused with 500.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
from collections import deque

from .. import wire
from ..errors import WireError
from ..settings import BrokerSettings
from ..wire import Frames, printable
from . import management
from .fingerprints import Fingerprints, conflict
from .state import ClientState, Counters, PendingRequest, Service, WorkerState
from .throttle import Throttle

log = logging.getLogger(__name__)


class Broker:
    """Call `receive` for each message and `tick` at the `deadline`: both return messages to send.

    `instance` identifies this run of the broker: 8 random bytes. `started_at` is Unix time, for
    display.
    """

    def __init__(
        self, settings: BrokerSettings, now: float, *, instance: bytes, started_at: float = 0.0
    ) -> None:
        self.settings = settings
        self.instance = instance
        self.started_at = started_at
        self.services: dict[bytes, Service] = {}
        self.workers: dict[bytes, WorkerState] = {}
        self.clients: dict[bytes, ClientState] = {}  # those that wait for an answer
        self.counters = Counters()
        self.draining = False
        self._started = now
        self._fingerprints = Fingerprints()
        self._tokens = itertools.count(1)
        self._alarms: list[tuple[float, int, WorkerState | Service]] = []
        self._alarm_numbers = itertools.count()
        self._throttle = Throttle(log)

    # Called by the loop that has the socket.

    def receive(self, frames: Frames, now: float) -> list[Frames]:
        """Handle one message, as a ROUTER socket receives it: the peer's address comes first."""
        try:
            message = wire.parse(frames)
        except WireError as error:
            self.counters.malformed += 1
            self._throttle.warning(now, "dropped a malformed message: %s", error)
            return []
        peer = frames[0]
        assert isinstance(peer, bytes)
        if isinstance(message, wire.Request):
            return self._on_request(peer, message, now)
        if isinstance(message, wire.Ready):
            return self._on_ready(peer, message, now)
        worker = self.workers.get(peer)
        if worker is None:
            return self._on_unregistered(peer, message, now)
        worker.heard_at = now
        if isinstance(message, wire.Reply):
            return self._on_reply(worker, message, now)
        if isinstance(message, wire.Disconnect):
            self.counters.workers_lost += worker.job is not None
            return self._forget(worker, now, "left" if worker.job is None else "left its request")
        return []

    def tick(self, now: float) -> list[Frames]:
        """Do what is due: send heartbeats, drop silent workers, refuse requests that expired."""
        out: list[Frames] = []
        while self._alarms and self._alarms[0][0] <= now:
            at, _, thing = heapq.heappop(self._alarms)
            if at != thing.alarm_at:
                continue  # an earlier alarm replaced this one
            thing.alarm_at = math.inf
            if isinstance(thing, Service):
                out += self._check_service(thing, now)
            elif self.workers.get(thing.name) is thing:
                out += self._check_worker(thing, now)
        return out

    def deadline(self) -> float:
        """Return the time at which `tick` may next have something to do."""
        return self._alarms[0][0] if self._alarms else math.inf

    def unreachable(self, peer: bytes, now: float) -> list[Frames]:
        """Handle a message that could not be sent: the peer is gone, or does not read."""
        self.counters.unreachable += 1
        worker = self.workers.get(peer)
        if worker is not None:
            self.counters.workers_lost += 1
            return self._forget(worker, now, "cannot be reached", saw_request=worker.asked_at < now)
        given_up = self.cancel(peer)  # a client that misses one part must not get a later one
        if given_up:  # 0: the lost message was its last answer, or an answer of the broker's own
            line = "a client cannot be reached: cancelled its %d requests"
            self._throttle.warning(now, line, given_up)
        return []

    def drain(self, now: float) -> list[Frames]:
        """Refuse the queued requests now, and all new requests from now on."""
        self.draining = True
        queued = [job for job in self._unanswered() if job.worker is None]
        log.info("draining: %d requests held, refused %d in the queues", self.held, len(queued))
        return [frames for job in queued for frames in self._refuse(job, 503, _DRAINING, now)]

    def close(self, now: float) -> list[Frames]:
        """Refuse all requests that are not answered yet, and disconnect every worker."""
        out = [
            frames
            for job in self._unanswered()
            for frames in self._refuse(job, 503, _DRAINING, now)
        ]
        out += [worker.dialect.disconnect_to(worker.name) for worker in self.workers.values()]
        return out

    def cancel(self, client: bytes) -> int:
        """Cancel a client's requests and return their number. Answers of workers are dropped."""
        jobs = [*self.clients[client].jobs] if client in self.clients else []
        for job in jobs:
            self.counters.cancelled += 1
            self._end(job)
        return len(jobs)

    @property
    def held(self) -> int:
        """The number of requests that workers hold and clients wait for."""
        return sum(w.job is not None and not w.job.over for w in self.workers.values())

    def _unanswered(self) -> list[PendingRequest]:
        return [job for client in self.clients.values() for job in client.jobs]

    # Messages from clients.

    def _on_request(self, peer: bytes, request: wire.Request, now: float) -> list[Frames]:
        worker = self.workers.get(peer)
        if worker is not None:
            worker.heard_at = now  # every message from a worker counts as its heartbeat
        if request.service.startswith(management.PREFIX):
            body = self._manage(peer, request, now)
            return [request.dialect.to_client(peer, request.service, body, final=True)]
        self.counters.accepted += 1
        service = self._service(request.service, now)
        if service is None:
            return self._refuse_new(peer, request, 429, "the broker knows too many services", now)
        if self.draining:
            return self._refuse_new(peer, request, 503, _DRAINING, now)
        body_bytes = sum(map(len, request.body))
        if full := self._why_full(service, body_bytes):
            return self._refuse_new(peer, request, 429, full, now)
        client = self.clients.get(peer)
        if client is None:
            client = self.clients[peer] = ClientState(peer)
        job = PendingRequest(client, request, service, now)
        client.jobs[job] = None
        service.body_bytes += body_bytes
        service.jobs.append(job)
        if not service.workers:
            self._watch(service, now + self.settings.expiry_s)
        return self._dispatch(service, now)

    def _manage(self, peer: bytes, request: wire.Request, now: float) -> Frames:
        """Answer an `mmi.` request: three of these services change the broker, others report."""
        match request.service:
            case wire.FINGERPRINT:
                return self._fingerprints.announce(peer, request.body, self.services)
            case wire.RETIRE:
                if peer in self.workers:
                    self._retire(self.workers[peer])
                return management.ok({})
            case wire.CANCEL:
                return management.ok({"cancelled": self._cancel_named(request.body)})
        return management.answer(self, request.service, request.body, now)

    def _cancel_named(self, body: Frames) -> int:
        # routing ids that a ROUTER assigned (RFC 28: they start with a zero byte) can be guessed,
        # so only the requests of clients that chose their own id are cancelled
        names = [name for name in body if isinstance(name, bytes) and name[:1] not in (b"", b"\0")]
        return sum(self.cancel(name) for name in names)

    def _why_full(self, service: Service, body_bytes: int) -> str | None:
        if service.queued >= self.settings.max_queue:
            return f"the queue of {service.text} is full: {service.queued} requests"
        total = service.body_bytes + body_bytes
        if total > self.settings.max_queue_bytes:
            limit = self.settings.max_queue_bytes
            return f"the queue of {service.text} is full: {total} bytes, want at most {limit}"
        return None

    def _refuse_new(
        self, peer: bytes, request: wire.Request, code: int, text: str, now: float
    ) -> list[Frames]:
        self.counters.refused += 1
        self._throttle.warning(now, "refused a request with %d: %s", code, text)
        body = wire.error_body(code, text)
        return [request.dialect.to_client(peer, request.service, body, final=True)]

    # Messages from workers.

    def _on_ready(self, peer: bytes, ready: wire.Ready, now: float) -> list[Frames]:
        known = self.workers.get(peer)
        if known is not None:  # RFC 7: a second READY is an error
            self.counters.unexpected += 1
            self.counters.workers_lost += 1
            return [known.dialect.disconnect_to(peer), *self._forget(known, now, "second READY")]
        fingerprint = self._fingerprints.take(peer, ready.service)
        reserved = ready.service.startswith(management.PREFIX)
        service = None if reserved else self._service(ready.service, now)
        why_not = conflict(service, fingerprint)
        if service is None or self.draining or why_not:
            self.counters.unexpected += 1
            why = f": {why_not}" if why_not else ""
            name = printable(ready.service)
            self._throttle.warning(now, "disconnected a worker for %r at its READY%s", name, why)
            return [ready.dialect.disconnect_to(peer)]
        worker = WorkerState(peer, ready.dialect, service, now=now, fingerprint=fingerprint)
        self.workers[peer] = worker
        service.workers += 1
        service.fingerprint = fingerprint
        service.idle[worker] = None
        name, dialect, count = peer.hex(), ready.dialect.name, service.workers
        log.info("%s: worker %s is ready (%s), %d now", service.text, name, dialect, count)
        self._watch(worker, self._due(worker))
        return self._dispatch(service, now)

    def _on_unregistered(self, peer: bytes, message: wire.Message, now: float) -> list[Frames]:
        if isinstance(message, wire.Disconnect):
            return []  # the broker has forgotten the worker already
        if isinstance(message, wire.Reply):
            self.counters.dead_tokens += 1
        self.counters.unexpected += 1
        self._throttle.warning(now, "disconnected a worker that is not registered")
        return [message.dialect.disconnect_to(peer)]

    def _on_reply(self, worker: WorkerState, reply: wire.Reply, now: float) -> list[Frames]:
        job = worker.job
        if job is None or reply.token != worker.token:
            self.counters.dead_tokens += 1
            self._throttle.warning(now, "%s: dropped a reply that is too late", worker.service.text)
            return []
        if not reply.final:
            return self._on_partial(worker, job, reply, now)
        out: list[Frames] = []
        if not job.over:
            body = reply.body if job.gathered is None else [*job.gathered, *reply.body]
            self._end(job)
            self.counters.answered += 1
            worker.service.answered += 1
            out.append(job.dialect.to_client(job.client.name, job.service.name, body, final=True))
            if log.isEnabledFor(logging.DEBUG):
                all_s, held_s, name = (
                    now - job.accepted_at,
                    now - worker.asked_at,
                    worker.name.hex(),
                )
                log.debug(
                    "%s: %s answered in %.3f s of %.3f s", job.service.text, name, held_s, all_s
                )
        worker.job = None
        if not worker.retired:
            worker.service.idle[worker] = None
        if worker.service.jobs:
            out += self._dispatch(worker.service, now)
        return out

    def _on_partial(
        self, worker: WorkerState, job: PendingRequest, reply: wire.Reply, now: float
    ) -> list[Frames]:
        if job.over:
            return []
        if worker.parts_skipped < job.parts_sent:
            worker.parts_skipped += 1  # the request was requeued: its client has this part
            return []
        job.parts_sent += 1
        worker.parts_skipped += 1
        self.counters.partials += 1
        if not job.dialect.streams:
            if job.gathered is None:
                job.gathered = []
            job.gathered += reply.body
            return self._bounded(job, sum(map(len, reply.body)), now)
        return [job.dialect.to_client(job.client.name, job.service.name, reply.body, final=False)]

    def _bounded(self, job: PendingRequest, more_bytes: int, now: float) -> list[Frames]:
        """Refuse the job if its answer's parts bring the service above `max_queue_bytes`."""
        job.service.body_bytes += more_bytes
        limit = self.settings.max_queue_bytes
        if job.service.body_bytes <= limit:
            return []
        text = f"the parts of the answer do not fit into {limit} bytes; use MDP/0.2, it has parts"
        return self._refuse(job, 500, text, now)

    # Requests.

    def _dispatch(self, service: Service, now: float) -> list[Frames]:
        """Give the requests at the head of the queue to the least recently used workers."""
        out: list[Frames] = []
        jobs, idle = service.jobs, service.idle
        while jobs and idle:
            job = jobs.popleft()
            if job.over:
                service.gone -= 1
                continue
            worker, _ = idle.popitem(last=False)
            job.worker = worker
            worker.job = job
            worker.token = self.instance + next(self._tokens).to_bytes(8, "big")
            worker.parts_skipped = 0
            worker.asked_at = worker.sent_at = now
            if service.time_limit_s < math.inf:
                self._watch(worker, self._due(worker))
            out.append(worker.dialect.to_worker(worker.name, worker.token, job.body))
        return out

    def _refuse(self, job: PendingRequest, code: int, text: str, now: float) -> list[Frames]:
        """Answer the client with an error, in place of the service."""
        self._end(job)
        self.counters.refused += 1
        line = "%s: refused a request with %d after %.1f s: %s"
        values = (job.service.text, code, now - job.accepted_at, text)
        if code in (502, 504):  # each one costs workers, so they are rare: log all of them
            log.warning(line, *values)
        else:
            self._throttle.warning(now, line, *values)
        body = wire.error_body(code, text)
        return [job.dialect.to_client(job.client.name, job.service.name, body, final=True)]

    def _requeue(self, job: PendingRequest, now: float, why: str, *, counts: bool) -> list[Frames]:
        service = job.service
        job.attempts += counts
        if job.attempts >= self.settings.max_attempts:
            text = f"{job.attempts} workers of {service.text} in a row were lost; the last: {why}"
            return self._refuse(job, 502, text, now)
        self.counters.requeued += 1
        service.requeued += 1
        waited_s = now - job.accepted_at
        log.warning("%s: requeued a request of %.1f s: worker %s", service.text, waited_s, why)
        job.worker = None
        service.jobs.appendleft(job)  # head of the queue: it has waited longest
        return []

    def _end(self, job: PendingRequest) -> None:
        """Mark the job as over. It stays in the queue or with its worker, which check `over`."""
        job.over = True
        job.service.body_bytes -= job.body_bytes
        job.body = ()
        job.gathered = None
        del job.client.jobs[job]
        if not job.client.jobs:
            del self.clients[job.client.name]
        if job.worker is None:
            self._sweep(job.service)

    def _sweep(self, service: Service) -> None:
        """Count one more queued job that is over, and remove such jobs when they are many."""
        service.gone += 1
        if service.gone > 64 and service.gone > service.queued:
            service.jobs = deque(job for job in service.jobs if not job.over)
            service.gone = 0

    # Workers and services.

    def _retire(self, worker: WorkerState) -> None:
        """Give the worker no more requests: it will leave. It still answers the one it holds."""
        worker.retired = True
        worker.service.idle.pop(worker, None)

    def _forget(
        self, worker: WorkerState, now: float, why: str, *, saw_request: bool = True
    ) -> list[Frames]:
        """Remove a worker; the request that it holds goes back to the head of its queue."""
        service, job = worker.service, worker.job
        del self.workers[worker.name]
        service.workers -= 1
        service.idle.pop(worker, None)
        worker.job = None
        name, stayed_s = worker.name.hex(), now - worker.registered_at
        log.info("%s: worker %s %s after %.1f s", service.text, name, why, stayed_s)
        out: list[Frames] = []
        if job is not None and not job.over:
            # a worker that was silent before it got the request did not die of it
            was_alive = (
                worker.asked_at < worker.heard_at + 1.5 * self.settings.heartbeats.interval_s
            )
            out += self._requeue(job, now, why, counts=saw_request and was_alive)
        if not service.workers:
            service.unserved_since = now
            self._watch(service, now + self.settings.expiry_s)
        return out + self._dispatch(service, now)

    def _due(self, worker: WorkerState) -> float:
        heartbeats = self.settings.heartbeats
        due = min(worker.sent_at + heartbeats.interval_s, worker.heard_at + heartbeats.silence_s)
        if worker.job is not None:
            due = min(due, worker.asked_at + worker.service.time_limit_s)
        return due

    def _check_worker(self, worker: WorkerState, now: float) -> list[Frames]:
        heartbeats, service, job = self.settings.heartbeats, worker.service, worker.job
        out: list[Frames] = []
        if now >= worker.heard_at + heartbeats.silence_s:
            self.counters.workers_lost += 1
            out.append(worker.dialect.disconnect_to(worker.name))
            return out + self._forget(worker, now, f"silent for {now - worker.heard_at:.1f} s")
        if job is not None and now >= worker.asked_at + service.time_limit_s:
            self.counters.workers_lost += 1
            if not job.over:
                text = f"{service.text} took longer than its limit of {service.time_limit_s:g} s"
                out += self._refuse(job, 504, text, now)
            out.append(worker.dialect.disconnect_to(worker.name))
            return out + self._forget(worker, now, "over its time limit")
        if now >= worker.sent_at + heartbeats.interval_s:
            worker.sent_at = now
            out.append(worker.dialect.heartbeat_to(worker.name))
        self._watch(worker, self._due(worker))
        return out

    def _check_service(self, service: Service, now: float) -> list[Frames]:
        """Refuse the requests that have waited too long for a worker of the service."""
        out: list[Frames] = []
        while service.jobs and not service.workers:
            job = service.jobs[0]
            if job.over:
                service.jobs.popleft()
                service.gone -= 1
                continue
            expires_at = max(job.accepted_at, service.unserved_since) + self.settings.expiry_s
            if now < expires_at:
                self._watch(service, expires_at)
                break
            text = f"no worker for {service.text} came within {self.settings.expiry_s:g} s"
            out += self._refuse(job, 404, text, now)
        return out

    def _service(self, name: bytes, now: float) -> Service | None:
        """Return the service, creating it if it is new; None if there are too many services."""
        service = self.services.get(name)
        if service is not None:
            return service
        if len(self.services) >= self.settings.max_services:
            unused = [s for s in self.services.values() if not (s.workers or s.jobs)]
            for old in unused:
                del self.services[old.name]
            if not unused:
                return None
        limit_s = self.settings.time_limits_s.get(printable(name), math.inf)
        service = self.services[name] = Service(name, time_limit_s=limit_s, now=now)
        return service

    def _watch(self, thing: WorkerState | Service, at: float) -> None:
        """Make `tick` check `thing` at time `at`, or earlier."""
        if at < thing.alarm_at:
            thing.alarm_at = at
            heapq.heappush(self._alarms, (at, next(self._alarm_numbers), thing))


_DRAINING = "the broker is about to stop and accepts no new requests"
