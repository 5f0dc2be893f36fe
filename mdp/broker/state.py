"""The data that a broker holds: requests, clients, workers, services and counters. Pure.

`broker.Broker` makes all decisions and changes; `broker` lists the states.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .. import wire
from ..keys.rights import EVERYTHING, Rights
from ..wire import Frames, printable
from .fair_queue import FairQueue
from .serving_times import ServingTimes, WaitingTimes

# The time limit of a service whose workers are regular: so many times the 99 % quantile of the
# times in which they answered, once so many were measured.
LIMIT_FACTOR, LEAST_LIMIT_S = 10.0, 60.0
MEASURED, UNMEASURED_LIMIT_S = 100, 600.0

_UPDATE_EVERY = 2500  # answers of a worker: nobody reads its `p99`
ERROR_CODES = (400, 404, 413, 429, 500, 502, 503, 504)
OTHER = "other"
_CODES = {b"%d" % code: str(code) for code in ERROR_CODES}
"""The codes of errors that are counted by themselves: a worker may answer any code."""


@dataclass
class Counters:
    """Counts since the start.

    accepted = answered + refused + cancelled + undelivered + queued + held.
    """

    accepted: int = 0
    answered: int = 0
    undelivered: int = 0
    """Answers of workers that could not be sent: the client was gone, or did not read."""
    refused: int = 0
    """Requests that the broker itself answered with an error."""
    cancelled: int = 0
    clients_lost: int = 0
    """Clients that sent no heartbeat for as long as they had said: their requests are cancelled."""
    partials: int = 0
    requeued: int = 0
    dead_tokens: int = 0
    """Dropped replies: the worker no longer held the request that it answered."""
    malformed: int = 0
    """Dropped messages: they were not valid in any dialect."""
    unexpected: int = 0
    """Valid commands at the wrong time, answered with DISCONNECT."""
    unreachable: int = 0
    """Dropped messages: their receiver was gone or had not read for too long."""
    workers_lost: int = 0
    """Workers that fell silent, lost their connection, broke the protocol, left while they held a
    request, or exceeded the time limit; without those that died."""
    forbidden: int = 0
    """Commands and requests that the sender's key does not allow."""
    handshakes_failed: int = 0
    """Connections that were refused because they showed no known key."""
    hung_up: int = 0
    """Connections that ended before they showed a key; probes of ours, too."""
    workers_died: int = 0
    """Workers whose child process died while it computed a request, and foreign workers that left
    while they held one."""


class Pause(NamedTuple):
    """An operator's order that a service's requests wait in the queue."""

    by: str
    """The name of the key, and who has used it; for people."""
    at: float


class Owner:
    """A client: all its lanes share its turns and its limits. A foreign client has one socket.

    It is known while it has requests or, if it sends heartbeats, until its lease is over.
    """

    __slots__ = (
        "alarm_at",
        "body_bytes",
        "heard_at",
        "interactive",
        "lanes",
        "lease_s",
        "memory",
        "name",
        "progress",
        "rights",
        "where",
    )

    def __init__(self, name: bytes, *, interactive: bool, lease_s: float, now: float) -> None:
        self.name = name
        self.interactive = interactive
        self.lanes: dict[bytes, ClientState] = {}  # those that wait for an answer
        self.body_bytes = 0  # of its requests, queued and held
        self.memory = 0  # bytes that they take
        self.lease_s = lease_s  # infinite: it sends no heartbeats
        self.heard_at = now
        self.alarm_at = math.inf
        self.rights = EVERYTHING  # of the key that its lanes connect with
        self.where = ""  # as it says itself: `n7:812 taritree`
        self.progress = b""  # of its work, as it says itself (`wire.progress_of`)


class ClientState:
    """A peer that waits for answers: one lane of a client, or a foreign client."""

    __slots__ = ("jobs", "name", "owner", "rights", "unnamed")

    def __init__(self, name: bytes, owner: Owner, rights: Rights = EVERYTHING) -> None:
        self.name = name
        self.owner = owner
        self.rights = rights  # of the key that it has connected with
        self.jobs: dict[PendingRequest, None] = {}
        self.unnamed = 0  # heartbeats in a row of its client that do not name it


class PendingRequest:
    """One request that was accepted, until it is answered, refused or cancelled."""

    OVERHEAD_BYTES = 1500
    """The memory that a request takes beside its body, about."""

    __slots__ = (
        "accepted_at",
        "body",
        "body_bytes",
        "client",
        "deaths",
        "dialect",
        "gathered",
        "given_id",
        "losses",
        "over",
        "overtimes",
        "parts_sent",
        "queued_at",
        "service",
        "worker",
    )

    def __init__(
        self,
        client: ClientState,
        request: wire.Request,
        service: Service,
        body_bytes: int,
        now: float,
    ) -> None:
        self.client = client
        self.dialect = request.dialect
        self.service = service
        self.body = tuple(request.body)
        self.body_bytes = body_bytes  # and of `gathered`
        self.accepted_at = self.queued_at = now  # queued: since it was accepted, or requeued
        self.worker: WorkerState | None = None  # the worker that holds it; None: it is queued
        self.deaths = 0  # of workers that held it: their child process died
        self.losses = 0  # of workers that held it: their host or their connection went away
        self.overtimes = 0  # how often it was taken from a worker at the time limit
        self.over = False  # answered, refused or cancelled
        self.parts_sent = 0
        self.gathered: Frames | None = None  # parts, for a client of MDP/0.1
        self.given_id = request.id

    @property
    def id(self) -> bytes:
        """The request's id in logs, `ID_BYTES` long, which client, broker and worker know."""
        return self.given_id or wire.id_of_lane(self.client.name)


class WorkerState:
    """A registered worker. It is idle if it holds no job and has not retired."""

    __slots__ = (
        "alarm_at",
        "asked_at",
        "dialect",
        "dismissed",
        "facts",
        "fingerprint",
        "heard_at",
        "is_ours",
        "job",
        "limit_at",
        "name",
        "parts",
        "registered_at",
        "retired",
        "rights",
        "sent_at",
        "service",
        "times",
        "token",
    )

    def __init__(
        self,
        name: bytes,
        dialect: wire.Dialect,
        service: Service,
        *,
        now: float,
        fingerprint: bytes = b"",
        facts: Mapping[str, object] | None = None,
        rights: Rights = EVERYTHING,
        named: bool = True,
    ) -> None:
        self.name = name
        self.dialect = dialect
        self.service = service
        self.fingerprint = fingerprint  # the same for all workers of the service that serve
        self.facts = facts or {}  # what it has announced about itself
        # It is a worker of ours: it understands `mmi.stop`, and says when its child has died.
        self.is_ours = facts is not None
        self.rights = rights  # of the key that it has connected with
        # for which it held the requests that it answered; the rest of the service shares one
        self.times = ServingTimes(_UPDATE_EVERY) if named else service.rest
        self.registered_at = self.heard_at = self.sent_at = now
        self.alarm_at = math.inf
        self.retired = False  # it will leave, and gets no more requests
        self.dismissed = False  # an operator wants it to end; then it has retired, too
        self.job: PendingRequest | None = None
        # For the job that it holds: token, start, time limit, and
        # the number of parts that it has sent.
        self.token = b""
        self.asked_at = math.inf
        self.limit_at = math.inf
        self.parts = 0

    @property
    def place(self) -> str:
        """Where it runs, for texts: " on n7 (job 8812_3)"; empty if it has not said so."""
        host, job = self.facts.get("host"), self.facts.get("job")
        return (f" on {host}" if host else "") + (f" (job {job})" if job else "")


class Service:
    """A queue of requests and the workers that serve it; for example, one per detector plane."""

    __slots__ = (
        "alarm_at",
        "answered",
        "body_bytes",
        "failed",
        "fingerprint",
        "idle",
        "limit_s",
        "name",
        "pause",
        "queue",
        "regular",
        "requeued",
        "rest",
        "retired",
        "times",
        "unserved_since",
        "waiting",
        "workers",
    )

    def __init__(
        self, name: bytes, *, limit_s: float | None = None, regular: bool = False, now: float
    ) -> None:
        self.name = name
        self.queue: FairQueue[Owner, PendingRequest] = FairQueue()
        self.body_bytes = 0  # of the requests that are queued and held
        self.workers = 0
        self.retired = 0  # those of them that will leave
        self.fingerprint = b""  # of its workers that have not retired; while it has some
        self.idle: OrderedDict[WorkerState, None] = OrderedDict()  # least recently used first
        self.unserved_since = now  # meaningful only while it has no workers
        self.pause: Pause | None = None  # its requests wait in the queue
        self.answered = 0  # FINALs sent to clients; not those of cancelled requests
        self.requeued = 0
        self.limit_s = limit_s  # set by the user; None: not set
        self.regular = regular  # without `limit_s`, its limit follows from the times measured
        self.times = ServingTimes()  # for which its workers held the requests that they answered
        self.rest = ServingTimes()  # as `times`, of the workers that reports do not name
        self.waiting = WaitingTimes()  # in the queue, of the requests that were handed out
        self.failed: dict[str, int] = {}  # errors that its clients got, by code
        self.alarm_at = math.inf

    @property
    def queued(self) -> int:
        return self.queue.length

    @property
    def busy(self) -> int:
        return self.workers - len(self.idle)  # retired workers, too: they cannot take a request

    @property
    def serving(self) -> int:
        """The number of its workers that have not retired."""
        return self.workers - self.retired

    @property
    def text(self) -> str:
        return printable(self.name)

    def count_failed(self, code: object) -> None:
        """Count an error; code: as on the wire."""
        text = _CODES.get(code, OTHER) if isinstance(code, bytes) else OTHER
        self.failed[text] = self.failed.get(text, 0) + 1

    def time_limit_s(self) -> float:
        """Return how long a worker may hold a request."""
        if self.limit_s is not None:
            return self.limit_s
        if not self.regular:
            return math.inf
        if self.times.measured < MEASURED:
            return UNMEASURED_LIMIT_S
        return max(LEAST_LIMIT_S, LIMIT_FACTOR * self.times.p99)
