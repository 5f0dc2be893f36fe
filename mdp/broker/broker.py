"""The Majordomo broker as a state machine: it gets messages and the time, and returns messages.

Pure: `broker_loop` has the socket and the clock. docs/protocol.md lists the broker's guarantees.

In the Majordomo protocol (RFC 7 and RFC 18) clients and workers know only the broker. A worker
registers for one service, a name, with READY. A client sends a REQUEST to a service. The broker
queues the requests of each service, serves its clients in turn (`fair_queue`), and gives the next
request to the worker that has been idle longest. A worker holds one request at a time and answers
it with any number of PARTIAL messages (MDP/0.1 has none) and one FINAL. The broker gives out each
request under a new token, and drops an answer under any other token: it comes too late. Every
message from a worker shows that it is alive; broker and worker send HEARTBEAT when nothing else is
to be sent.

A worker is lost if it sends DISCONNECT or a second READY, if it is silent for liveness * interval,
or if a message to it cannot be sent; then its request goes to another worker. A worker of ours
whose child process died of its request says so (mmi.crashed); foreign workers cannot, so one that
leaves its request counts as died. A worker's states:

event                   not registered          idle                    busy: it holds a request
--------------------    --------------------    --------------------    -------------------------
READY                   -> idle (1)             DISCONNECT, -> lost     DISCONNECT, -> lost
next in the queue       -                       REQUEST, -> busy        -
PARTIAL                 DISCONNECT              dropped                 forwarded to the client
FINAL                   DISCONNECT              dropped                 forwarded, -> idle
HEARTBEAT               DISCONNECT              stays                   stays
mmi.retire              -                       -> retired (2)          -> retired after its FINAL
mmi.crashed             -                       -                       -> died
DISCONNECT              ignored                 -> lost                 -> lost; foreign: -> died
silence                 -                       DISCONNECT, -> lost     DISCONNECT, -> lost
request is cancelled    -                       -                       STOP `grace`, stays (3)
time limit is over      -                       -                       STOP `now` (3), DISCONNECT,
                                                                        -> lost

(1) DISCONNECT instead if the broker drains, the name starts with `mmi.`, the fingerprint differs
    from that of the service's workers that have not retired, the worker has announced that it
    looks for another broker, or the broker knows too many services.
(2) It stays registered and its heartbeats count, but it is not idle: it gets no more requests.
(3) Only to a worker that understands it (`fingerprints`). At `grace` it kills the process that
    computes if that does not end soon, and leaves; at `now` it kills it at once.

Each accepted request is in one of three states, and is counted by how it ended:

event                                         queued                    held by one worker
------------------------------------------    ----------------------    -------------------------
a worker of the service is idle               held, under a new token   -
FINAL under that token                        -                         over: answered
the worker has died                           -                         queued, as the next (4)
the worker is lost                            -                         queued, as the next (5)
no worker for `expiry_s`                      over: refused, 404        -
the service's time limit is over              -                         queued, as the next (6)
the client cancels, is lost, cannot be        over: cancelled           over: cancelled (7)
reached, or no longer waits for it (8)
`drain`                                       over: refused, 503        stays
`close`                                       over: refused, 503        over: refused, 503

(4) over: refused, 502, at the `max_attempts`-th death: the request itself may be the cause.
(5) over: refused, 502, at the `max_lost`-th loss. Hosts go away for reasons of their own, so this
    limit is higher. A worker that was already gone when the request was given to it does not count.
(6) over: refused, 504, at the second time.
(7) The worker stays busy until it answers or leaves; the broker drops its answer.
(8) `liveness` heartbeats of the client in a row do not name its lane: mmi.cancel was lost.
A new request is refused at once if it is too large (413), if the queue or the memory is full (429),
if the broker drains (503) or if it knows too many services (429). A client of MDP/0.1 gets all
parts in one reply; they count towards the limits of memory, and a request that exceeds them is
refused with 413.

A client of ours has many sockets, its lanes; their names tell that they belong together
(`wire.owner`), so they share their turns and limits. It sends heartbeats while it waits
(`mmi.broker`), with a lease: a client that is silent for longer is lost.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
from collections.abc import Callable, Mapping

from .. import wire
from ..errors import Cancelled, WireError
from ..keys.rights import EVERYTHING, Rights
from ..settings import BrokerSettings
from ..wire import MDP02, Frames, printable
from . import figures, management
from .clients import Clients
from .fingerprints import Fingerprints
from .orders import ORDERS, Orders
from .state import Counters, Owner, Pause, PendingRequest, Service, WorkerState
from .throttle import Throttle

log = logging.getLogger(__name__)

_MAX_OVERTIMES = 2  # a request at its time limit is tried on one more worker
_LINES = 20  # log lines of one kind at once; then they are throttled


class Broker:
    """Call `receive` for each message and `tick` at the `deadline`: both return messages to send.

    `instance` identifies this run of the broker: 8 random bytes. `started_at` is Unix time, for
    display. `user` runs the broker, on machine `host`: peers are told both. `process` returns
    figures of the broker's process, for `mmi.metrics`.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        now: float,
        *,
        instance: bytes,
        started_at: float = 0.0,
        user: str = "",
        host: str = "",
        process: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self.settings = settings
        self.instance = instance
        self.started_at = started_at
        self.user = user
        self.host = host
        self.process = process
        self.services: dict[bytes, Service] = {}
        self.workers: dict[bytes, WorkerState] = {}
        self.clients = Clients(settings, instance)  # those that wait for an answer
        self.counters = Counters()
        self.received_bytes = 0  # of the bodies of requests and answers
        self.draining = False
        self._started = now
        about = {"instance": instance.hex(), "user": user, "host": host}
        limits = {"max_bytes": settings.max_queue_bytes}
        self._fingerprints = Fingerprints(instance.hex(), {**limits, **about})
        self._tokens = itertools.count(1)
        self._alarms: list[tuple[float, int, WorkerState | Service | Owner]] = []
        self._alarm_numbers = itertools.count()
        self._answered: PendingRequest | None = None  # by the latest message
        self._throttle = Throttle(log)
        self._lives = Throttle(log, burst=_LINES)  # of workers and requests
        self.orders = Orders(self, self._lives)

    # Called by the loop that has the socket.

    def receive(self, frames: Frames, now: float, rights: Rights = EVERYTHING) -> list[Frames]:
        """Handle one message, as a ROUTER socket receives it: the peer's address comes first.

        rights: of the key with which the peer has connected.
        """
        self._answered = None
        try:
            message = wire.parse(frames)
        except WireError as error:
            self.counters.malformed += 1
            self._throttle.warning(now, "dropped a malformed message: %s", error)
            return []
        peer = frames[0]
        assert isinstance(peer, bytes)
        if isinstance(message, wire.Request):
            return self._on_request(peer, message, now, rights)
        if isinstance(message, wire.Ready):
            return self._on_ready(peer, message, now, rights)
        worker = self._worker_of(peer, rights)
        if worker is None:
            return self._on_unregistered(peer, message, now)
        worker.heard_at = now
        if isinstance(message, wire.Reply):
            return self._on_reply(worker, message, now)
        if isinstance(message, wire.Disconnect):
            return self._on_disconnect(worker, now)
        return []

    def revoke(self, rights: Rights, now: float) -> list[Frames]:
        """Forget the workers and the requests of a key that is not valid any more."""
        out: list[Frames] = []
        for worker in [w for w in self.workers.values() if w.rights == rights]:
            self.counters.workers_lost += 1
            why = f"was disconnected (its key {rights.name} was revoked)"
            out += self._forget(worker, now, why, counts=False)
        earlier = self.counters.cancelled
        for lane in [lane for lane in self.clients.lanes.values() if lane.rights == rights]:
            out += self.cancel(lane.name, now)
        if count := self.counters.cancelled - earlier:
            log.warning("cancelled %d requests: their key %s was revoked", count, rights.name)
        return out

    def handshakes_failed(self, count: int, unknown: list[tuple[str, str]], now: float) -> None:
        """Count connections that showed no known key. unknown: (public key, address) of some."""
        self.counters.handshakes_failed += count
        some = "1 connection" if count == 1 else f"{count} connections"
        such = ""
        if unknown:
            public, address = unknown[0]
            such = f": from {address} with the key {public}, which is unknown or was revoked"
        self._throttle.warning(now, "refused %s that showed no known key%s", some, such)

    def tick(self, now: float) -> list[Frames]:
        """Do what is due: send heartbeats, drop silent workers, refuse requests that expired."""
        self._answered = None
        out: list[Frames] = []
        while self._alarms and self._alarms[0][0] <= now:
            at, _, thing = heapq.heappop(self._alarms)
            if at != thing.alarm_at:
                continue  # an earlier alarm replaced this one
            thing.alarm_at = math.inf
            if isinstance(thing, Service):
                out += self._check_service(thing, now)
            elif isinstance(thing, Owner):
                out += self._check_owner(thing, now)
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
            return self._forget(worker, now, "cannot be reached", counts=worker.asked_at < now)
        answered = self._answered
        if answered is not None and answered.client.name == peer:
            self._answered = None
            self.counters.answered -= 1
            self.counters.undelivered += 1
            answered.service.answered -= 1
        # a client that misses one part must not get a later one
        count = len(self.clients.requests_of(peer))
        if count:
            line = "a client cannot be reached: cancelled its %d requests"
            self._throttle.warning(now, line, count)
        return self.cancel(peer, now)

    def drain(self, now: float) -> list[Frames]:
        """Refuse the queued requests now, and all new requests from now on."""
        self.draining = True
        queued = [job for job in self.clients if job.worker is None]
        log.info("draining: %d requests held, refused %d in the queues", self.held, len(queued))
        return [frames for job in queued for frames in self._refuse(job, 503, _DRAINING, now)]

    def release(self, now: float) -> list[Frames]:
        """Disconnect the workers that hold no request, so that they join the next broker."""
        out: list[Frames] = []
        for worker in [worker for worker in self.workers.values() if worker.job is None]:
            out.append(worker.dialect.disconnect_to(worker.name))
            out += self._forget(worker, now, "was sent to the next broker")
        return out

    def close(self, now: float) -> list[Frames]:
        """Refuse all requests that are not answered yet, and disconnect every worker."""
        out = [
            frames
            for job in list(self.clients)
            for frames in self._refuse(job, 503, _DRAINING, now)
        ]
        out += [worker.dialect.disconnect_to(worker.name) for worker in self.workers.values()]
        return out

    def cancel(self, client: bytes, now: float) -> list[Frames]:
        """Cancel the requests of a peer. Its workers are told, and their answers are dropped."""
        out: list[Frames] = []
        for job in self.clients.requests_of(client):
            self.counters.cancelled += 1
            self._end(job)
            worker = job.worker
            if worker is not None and worker.is_ours:
                line = "%s: told worker %s that its request was cancelled: request %s"
                self._lives.info(now, line, job.service.text, worker.name.hex(), job.id.hex())
                out.append(MDP02.stop_to(worker.name, worker.token, wire.GRACE))
        return out

    @property
    def held(self) -> int:
        """The number of requests that workers hold and clients wait for."""
        return sum(w.job is not None and not w.job.over for w in self.workers.values())

    # Messages from clients.

    def _on_request(
        self, peer: bytes, request: wire.Request, now: float, rights: Rights
    ) -> list[Frames]:
        worker = self._worker_of(peer, rights)
        if worker is not None:
            worker.heard_at = now  # every message from a worker counts as its heartbeat
        if request.service.startswith(management.PREFIX):
            return self._manage(peer, request, now, rights)
        self.counters.accepted += 1
        service = self._service(request.service, now)
        if service is None:
            return self._refuse_new(peer, request, 429, "the broker knows too many services", now)
        if self.draining:
            return self._refuse_new(peer, request, 503, _DRAINING, now)
        owner = self.clients.owner(peer, now, rights)
        size = sum(map(len, request.body))
        self.received_bytes += size
        if why_not := self.clients.why_refused(owner, service, size):
            return self._refuse_new(peer, request, *why_not, now)
        job = self.clients.add(owner, peer, request, service, size, now, rights)
        self._watch(owner, now + owner.lease_s)
        if service.idle and service.pause is None:
            return [self._hand_out(job, now)]  # a worker is idle only if nothing is queued
        service.queue.append(owner, job)
        if not service.workers:
            self._watch(service, now + self.settings.expiry_s)
        return []

    def _manage(
        self, peer: bytes, request: wire.Request, now: float, rights: Rights
    ) -> list[Frames]:
        """Answer an `mmi.` request: peers send four of these, operators `ORDERS`; others report."""
        out: list[Frames] = []
        body: Frames
        match request.service:
            case wire.CRASHED:
                worker = self._worker_of(peer, rights)
                if worker is not None and worker.job and request.body == [worker.token]:
                    return self._on_crashed(worker, now)  # it leaves, and reads no answer
                body = [b"404"]
            case wire.FINGERPRINT:
                body = self._announce(peer, request.body, now, rights)
            case wire.RETIRE:
                if worker := self._worker_of(peer, rights):
                    self._retire(worker)
                body = management.ok({})
            case wire.CANCEL:
                earlier = self.counters.cancelled
                out = self._cancel_named(request.body, now, rights)
                body = management.ok({"cancelled": self.counters.cancelled - earlier})
            case figures.METRICS:
                body = management.ok(figures.report(self, rights, now))
            case name if name in (*management.NAMES_PEERS, *ORDERS) and not rights.may_operate:
                self._forbid(rights, f"{name.decode()} asks for an operator", now)
                text = f"key {rights.name!r} is a {rights.role}'s, want an operator's"
                body = [b"403", text.encode()]
            case name if name in ORDERS:
                body, out = self.orders.obey(name, request.body, now, rights)
            case _:
                if owner := self.clients.heartbeat(peer, request.body, now, rights):
                    self._watch(owner, now + owner.lease_s)
                    lanes = self.clients.given_up(owner, now)
                    out = [frames for lane in lanes for frames in self.cancel(lane, now)]
                body = management.answer(self, request.service, request.body, now)
        return [request.dialect.to_client(peer, request.service, body, final=True), *out]

    def _announce(self, peer: bytes, body: Frames, now: float, rights: Rights) -> Frames:
        service = body[0] if body else b""
        if isinstance(service, bytes) and not rights.may_serve(service):
            self._forbid(rights, f"it serves {printable(service)}", now)
            return [b"403", _may_not_serve(rights, service).encode()]
        return self._fingerprints.announce(peer, body, self.services)

    def _forbid(self, rights: Rights, what: str, now: float) -> None:
        self.counters.forbidden += 1
        line = "refused what the key %s (%s) does not allow: %s"
        self._throttle.warning(now, line, rights.name, rights.role, what)

    def _worker_of(self, peer: bytes, rights: Rights) -> WorkerState | None:
        """Return the worker with this address, if the peer has connected with the worker's key."""
        worker = self.workers.get(peer)
        if worker is None or worker.rights is rights:
            return worker
        return worker if worker.rights == rights else None

    def _cancel_named(self, body: Frames, now: float, rights: Rights) -> list[Frames]:
        # routing ids that a ROUTER assigned (RFC 28: they start with a zero byte) can be guessed,
        # so only the requests of clients that chose their own id are cancelled
        names = [name for name in body if isinstance(name, bytes) and name[:1] not in (b"", b"\0")]
        lanes = [self.clients.lanes[name] for name in names if name in self.clients.lanes]
        allowed = [lane for lane in lanes if rights.may_operate or lane.rights == rights]
        if len(allowed) < len(lanes):
            self._forbid(rights, "it cancels requests of another key", now)
        return [frames for lane in allowed for frames in self.cancel(lane.name, now)]

    def _check_owner(self, owner: Owner, now: float) -> list[Frames]:
        """Cancel the requests of a client that is lost; forget one that has no requests."""
        if self.clients.owners.get(owner.name) is not owner:
            return []
        if now < owner.heard_at + owner.lease_s:
            self._watch(owner, owner.heard_at + owner.lease_s)
            return []
        lanes = [*owner.lanes]
        if not lanes:
            del self.clients.owners[owner.name]
            return []
        owner.lease_s = math.inf  # so it is forgotten with its last request
        self.counters.clients_lost += 1
        line = "a client was silent for %.1f s: cancelled its requests on %d lanes"
        self._lives.warning(now, line, now - owner.heard_at, len(lanes))
        return [frames for lane in lanes for frames in self.cancel(lane, now)]

    def _refuse_new(
        self, peer: bytes, request: wire.Request, code: int, text: str, now: float
    ) -> list[Frames]:
        self.counters.refused += 1
        self._throttle.warning(now, "refused a request with %d: %s", code, text)
        body = wire.error_body(code, text)
        if service := self.services.get(request.service):
            service.count_failed(body[1])
        return [request.dialect.to_client(peer, request.service, body, final=True)]

    # Messages from workers.

    def _on_ready(self, peer: bytes, ready: wire.Ready, now: float, rights: Rights) -> list[Frames]:
        if not rights.may_serve(ready.service):
            self._forbid(rights, f"it serves {printable(ready.service)}", now)
            return [ready.dialect.disconnect_to(peer)]
        known = self.workers.get(peer)
        if known is not None:  # RFC 7: a second READY is an error
            self.counters.unexpected += 1
            self.counters.workers_lost += 1
            return [known.dialect.disconnect_to(peer), *self._forget(known, now, "second READY")]
        announced = self._fingerprints.take(peer, ready.service)
        reserved = ready.service.startswith(management.PREFIX)
        service = None if reserved else self._service(ready.service, now)
        why_not = self._fingerprints.why_refused(service, announced)
        if service is None or self.draining or why_not:
            self.counters.unexpected += 1
            why = f": {why_not}" if why_not else ""
            name = printable(ready.service)
            self._throttle.warning(now, "disconnected a worker for %r at its READY%s", name, why)
            return [ready.dialect.disconnect_to(peer)]
        worker = WorkerState(
            peer,
            ready.dialect,
            service,
            now=now,
            fingerprint=announced.fingerprint,
            facts=announced.facts,
            rights=rights,
            named=figures.is_named(peer, len(self.workers)),
        )
        self.workers[peer] = worker
        service.workers += 1
        service.fingerprint = announced.fingerprint
        service.regular = announced.regular or self._limit_is_auto(service)
        service.idle[worker] = None
        name, dialect, count = peer.hex(), ready.dialect.name, service.workers
        line = "%s: worker %s%s is ready (%s), %d now"
        self._lives.info(now, line, service.text, name, worker.place, dialect, count)
        self._watch(worker, self._due(worker))
        if service.pause is not None and worker.is_ours:
            return [MDP02.notice_to(peer, wire.PAUSED, b"1")]
        return self._dispatch(service, now)

    def _on_disconnect(self, worker: WorkerState, now: float) -> list[Frames]:
        if worker.job is None:
            return self._forget(worker, now, "left")
        died = not worker.is_ours  # a foreign worker cannot say why it leaves
        self.counters.workers_died += died
        self.counters.workers_lost += not died
        return self._forget(worker, now, "left its request", died=died)

    def _on_crashed(self, worker: WorkerState, now: float) -> list[Frames]:
        """Handle the death of a worker's child: its DISCONNECT, which follows, changes nothing."""
        self.counters.workers_died += 1
        return self._forget(worker, now, "lost its child process", died=True)

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
        if reply.number not in (None, worker.parts):
            self.counters.workers_lost += 1
            out = [worker.dialect.disconnect_to(worker.name)]
            return out + self._forget(worker, now, "lost a part of its answer", counts=False)
        self.received_bytes += sum(map(len, reply.body))
        if not reply.final:
            return self._on_partial(worker, job, reply, now)
        out = []
        if not job.over:
            body = reply.body if job.gathered is None else [*job.gathered, *reply.body]
            self._end(job)
            self._answered = job
            self.counters.answered += 1
            service = worker.service
            service.answered += 1
            worker.times.count(service.times.add(now - worker.asked_at))
            if len(body) == 3 and body[0] == wire.ERROR:
                service.count_failed(body[1])
            out.append(_answer(job, body, final=True))
            if len(body) == 3 and body[0] == wire.ERROR:
                line = "%s: answered with error %s%s: request %s"
                self._lives.info(now, line, *_failure(job, worker, body))
            elif log.isEnabledFor(logging.DEBUG):
                line = "%s: %s answered in %.3f s of %.3f s: request %s"
                held_s, all_s = now - worker.asked_at, now - job.accepted_at
                name = worker.name.hex()
                log.debug(line, job.service.text, name, held_s, all_s, job.id.hex())
        worker.job = None
        worker.limit_at = math.inf
        if not worker.retired:
            worker.service.idle[worker] = None
        elif worker.dismissed and not worker.is_ours:
            return [*out, *self.dismiss(worker, now)]
        if worker.service.queue.length:
            out += self._dispatch(worker.service, now)
        return out

    def _on_partial(
        self, worker: WorkerState, job: PendingRequest, reply: wire.Reply, now: float
    ) -> list[Frames]:
        worker.parts += 1
        if job.over or worker.parts <= job.parts_sent:
            return []  # the request was cancelled; or it was requeued, and its client has this part
        part = _answer(job, reply.body, final=False)
        job.parts_sent += 1
        self.counters.partials += 1
        if job.dialect.streams:
            return [part]
        if self.clients.gather(job, reply.body):
            return []
        limit = self.settings.max_queue_bytes
        text = f"the parts of the answer do not fit into {limit} bytes; use MDP/0.2, it has parts"
        return self._refuse(job, 413, text, now)

    # What an operator orders (`orders`).

    def set_pause(self, service: Service, pause: Pause | None, now: float) -> list[Frames]:
        """Hand out no requests of a service any more, or hand them out again.

        Its workers stay: those of ours are told, because idle ones may leave after a while. While
        it is paused, its requests do not expire; after that, they have all of `expiry_s` again.
        """
        service.pause = pause
        flag = b"1" if pause else b"0"
        out = [
            MDP02.notice_to(worker.name, wire.PAUSED, flag)
            for worker in self.workers.values()
            if worker.service is service and worker.is_ours
        ]
        if pause is None and not service.workers:
            service.unserved_since = now
            self._watch(service, now + self.settings.expiry_s)
        return out + self._dispatch(service, now)

    def dismiss(self, worker: WorkerState, now: float) -> list[Frames]:
        """Let a worker finish its request, and then end; it gets no other one.

        A worker of ours is told to end. A foreign one gets DISCONNECT when it holds no request.
        """
        self._retire(worker)
        worker.dismissed = True
        if worker.is_ours:
            return [MDP02.notice_to(worker.name, wire.LEAVE)]
        if worker.job is not None:
            return []
        out = [worker.dialect.disconnect_to(worker.name)]
        return out + self._forget(worker, now, "was dismissed")

    def abort(self, job: PendingRequest, text: str, now: float) -> list[Frames]:
        """Answer a request with error 410, and tell the worker that holds it to stop."""
        worker = job.worker
        out = self._refuse(job, Cancelled.code, text, now)
        if worker is not None and worker.is_ours:
            out.append(MDP02.stop_to(worker.name, worker.token, wire.GRACE))
        return out

    # Requests.

    def _dispatch(self, service: Service, now: float) -> list[Frames]:
        """Give the next requests of the queue to the least recently used workers."""
        out: list[Frames] = []
        queue, idle = service.queue, service.idle
        while queue.length and idle and service.pause is None:
            out.append(self._hand_out(queue.pop(), now))
        return out

    def _hand_out(self, job: PendingRequest, now: float) -> Frames:
        service = job.service
        worker, _ = service.idle.popitem(last=False)
        job.worker = worker
        worker.job = job
        worker.token = self.instance + next(self._tokens).to_bytes(8, "big") + job.id
        worker.parts = 0
        worker.asked_at = worker.sent_at = now
        service.waiting.add(now - job.queued_at)
        limit_s = service.time_limit_s()
        if limit_s < math.inf:
            worker.limit_at = now + limit_s
            self._watch(worker, self._due(worker))
        return worker.dialect.to_worker(worker.name, worker.token, job.body)

    def _refuse(self, job: PendingRequest, code: int, text: str, now: float) -> list[Frames]:
        """Answer the client with an error, in place of the service."""
        self._end(job)
        self.counters.refused += 1
        line = "%s: refused with %d after %.1f s: %s: request %s"
        throttle = self._lives if code in (502, 504) else self._throttle
        age_s = now - job.accepted_at
        throttle.warning(now, line, job.service.text, code, age_s, text, job.id.hex())
        body = wire.error_body(code, text)
        job.service.count_failed(body[1])
        return [job.dialect.to_client(job.client.name, job.service.name, body, final=True)]

    def _requeue(self, job: PendingRequest, now: float, why: str) -> list[Frames]:
        """Let a request that its worker did not answer be the next one, or refuse it with 502."""
        service, settings = job.service, self.settings
        if job.deaths >= settings.max_attempts:
            text = f"{job.deaths} workers of {service.text} died while they held the request"
            return self._refuse(job, 502, f"{text} (--max-attempts); the last: {why}", now)
        if job.losses >= settings.max_lost:
            text = f"{job.losses} workers of {service.text} were lost while they held the request"
            return self._refuse(job, 502, f"{text} (--max-lost); the last: {why}", now)
        self.counters.requeued += 1
        service.requeued += 1
        line = "%s: requeued after %.1f s: worker %s: request %s"
        self._lives.warning(now, line, service.text, now - job.accepted_at, why, job.id.hex())
        job.worker = None
        job.queued_at = now
        service.queue.put_back(job.client.owner, job)  # it has waited longest
        return []

    def _end(self, job: PendingRequest) -> None:
        """Mark the job as over. A worker that holds it stays busy, and checks `over`."""
        job.over = True
        if job.worker is None:
            job.service.queue.remove(job.client.owner, job)
        self.clients.remove(job)

    # Workers and services.

    def _retire(self, worker: WorkerState) -> None:
        """Give the worker no more requests: it will leave. It still answers the one it holds."""
        worker.service.retired += not worker.retired
        worker.retired = True
        worker.service.idle.pop(worker, None)

    def _forget(
        self,
        worker: WorkerState,
        now: float,
        why: str,
        *,
        died: bool = False,
        counts: bool = True,
    ) -> list[Frames]:
        """Remove a worker; the request that it holds is the next one of its service again.

        died: it counts as a death, for which the request may be the cause.
        counts: else it counts as a loss, if the worker was alive when it got the request.
        """
        service, job = worker.service, worker.job
        del self.workers[worker.name]
        service.workers -= 1
        service.retired -= worker.retired
        service.idle.pop(worker, None)
        worker.job, worker.limit_at = None, math.inf
        name, stayed_s = worker.name.hex(), now - worker.registered_at
        line = "%s: worker %s%s %s after %.1f s"
        self._lives.info(now, line, service.text, name, worker.place, why, stayed_s)
        out: list[Frames] = []
        if job is not None and not job.over:
            # a worker that was silent before it got the request was lost already
            was_alive = (
                worker.asked_at < worker.heard_at + 1.5 * self.settings.heartbeats.interval_s
            )
            job.deaths += died
            job.losses += counts and was_alive and not died
            out += self._requeue(job, now, f"{why}{worker.place}")
        if not service.workers:
            service.unserved_since = now
            self._watch(service, now + self.settings.expiry_s)
        return out + self._dispatch(service, now)

    def _due(self, worker: WorkerState) -> float:
        heartbeats = self.settings.heartbeats
        return min(
            worker.sent_at + heartbeats.interval_s,
            worker.heard_at + heartbeats.silence_s,
            worker.limit_at,
        )

    def _check_worker(self, worker: WorkerState, now: float) -> list[Frames]:
        heartbeats = self.settings.heartbeats
        out: list[Frames] = []
        if now >= worker.heard_at + heartbeats.silence_s:
            self.counters.workers_lost += 1
            out.append(worker.dialect.disconnect_to(worker.name))
            return out + self._forget(worker, now, f"silent for {now - worker.heard_at:.1f} s")
        if now >= worker.limit_at:
            return self._on_limit(worker, now)
        if now >= worker.sent_at + heartbeats.interval_s:
            worker.sent_at = now
            out.append(worker.dialect.heartbeat_to(worker.name))
        self._watch(worker, self._due(worker))
        return out

    def _on_limit(self, worker: WorkerState, now: float) -> list[Frames]:
        """Take the request from its worker: it goes to another one, or its client gets 504."""
        self.counters.workers_lost += 1
        service, job = worker.service, worker.job
        assert job is not None
        out: list[Frames] = []
        if worker.is_ours:
            out.append(MDP02.stop_to(worker.name, worker.token, wire.NOW))
        out.append(worker.dialect.disconnect_to(worker.name))
        held_s = now - worker.asked_at
        job.overtimes += 1
        if not job.over and job.overtimes >= _MAX_OVERTIMES:
            text = f"{job.overtimes} workers of {service.text} took longer than its limit"
            out += self._refuse(job, 504, f"{text}; the last: {held_s:.1f} s", now)
        why = f"exceeded the time limit ({held_s:.1f} s)"
        return out + self._forget(worker, now, why, counts=False)

    def _check_service(self, service: Service, now: float) -> list[Frames]:
        """Refuse the requests that have waited too long for a worker of the service."""
        out: list[Frames] = []
        while service.queue.length and not service.workers and service.pause is None:
            waiting = [(self._expires_at(job), job) for job in service.queue.heads()]
            expired = [job for expires_at, job in waiting if expires_at <= now]
            if not expired:
                self._watch(service, min(expires_at for expires_at, _ in waiting))
                break
            text = f"no worker for {service.text} came within {self.settings.expiry_s:g} s"
            out += [frames for job in expired for frames in self._refuse(job, 404, text, now)]
        return out

    def _expires_at(self, job: PendingRequest) -> float:
        return max(job.accepted_at, job.service.unserved_since) + self.settings.expiry_s

    def _service(self, name: bytes, now: float) -> Service | None:
        """Return the service, creating it if it is new; None if there are too many services."""
        service = self.services.get(name)
        if service is not None:
            return service
        if len(self.services) >= self.settings.max_services:
            unused = [
                service
                for service in self.services.values()
                if not (service.workers or service.queue.length or service.pause)
            ]
            for old in unused:
                del self.services[old.name]
            if not unused:
                return None
        limit_s = self.settings.time_limits_s.get(printable(name))
        service = self.services[name] = Service(name, limit_s=limit_s, now=now)
        return service

    def _limit_is_auto(self, service: Service) -> bool:
        """True if the user said that the time limit follows from the times measured."""
        limits = self.settings.time_limits_s
        return service.text in limits and limits[service.text] is None

    def _watch(self, thing: WorkerState | Service | Owner, at: float) -> None:
        """Make `tick` check `thing` at time `at`, or earlier."""
        if at < thing.alarm_at:
            thing.alarm_at = at
            heapq.heappush(self._alarms, (at, next(self._alarm_numbers), thing))


def _answer(job: PendingRequest, body: Frames, *, final: bool) -> Frames:
    """Return a message of the answer for its client; parts for a lane of ours are numbered."""
    client, service = job.client, job.service.name
    foreign = job.dialect is not MDP02 or client.owner.name == client.name
    if foreign or (final and not job.parts_sent):
        return job.dialect.to_client(client.name, service, body, final=final)
    return MDP02.part_to_lane(client.name, service, job.parts_sent, body, final=final)


def _failure(job: PendingRequest, worker: WorkerState, body: Frames) -> tuple[object, ...]:
    """Return the values of a line in the log: a worker has answered with an error."""
    code = bytes(body[1])[:3].decode("ascii", "replace")  # type: ignore[call-overload]
    return job.service.text, wire.one_line(code), worker.place, job.id.hex()


def _may_not_serve(rights: Rights, service: bytes) -> str:
    patterns = " ".join(rights.services) or "nothing"
    allowed = f"key {rights.name!r} ({rights.role}) may serve {patterns}"
    return f"{allowed}, not {printable(service)}: `mdp keys new NAME --role worker --services ...`"


_DRAINING = "the broker is about to stop and accepts no new requests"
