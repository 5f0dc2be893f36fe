"""The data that a broker holds: requests, clients, workers, services and counters. Pure.

`broker.Broker` makes all decisions and changes; `broker` lists the states.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass

from .. import wire
from ..wire import Frames, printable


@dataclass
class Counters:
    """Counts since the start. accepted = answered + refused + cancelled + queued + held."""

    accepted: int = 0
    answered: int = 0
    refused: int = 0
    """Requests that the broker itself answered with an error."""
    cancelled: int = 0
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
    request, or exceeded the time limit."""


class ClientState:
    """A peer that waits for answers, and its requests."""

    __slots__ = ("jobs", "name")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.jobs: dict[PendingRequest, None] = {}


class PendingRequest:
    """One request that was accepted, until it is answered, refused or cancelled."""

    __slots__ = (
        "accepted_at",
        "attempts",
        "body",
        "client",
        "dialect",
        "gathered",
        "over",
        "parts_sent",
        "service",
        "worker",
    )

    def __init__(
        self, client: ClientState, request: wire.Request, service: Service, now: float
    ) -> None:
        self.client = client
        self.dialect = request.dialect
        self.service = service
        self.body = tuple(request.body)
        self.accepted_at = now
        self.worker: WorkerState | None = None  # the worker that holds it; None: it is queued
        self.attempts = 0  # losses of workers that held it
        self.over = False  # answered, refused or cancelled
        self.parts_sent = 0
        self.gathered: Frames | None = None  # parts, for a client of MDP/0.1

    @property
    def body_bytes(self) -> int:
        return sum(map(len, self.body)) + sum(map(len, self.gathered or ()))


class WorkerState:
    """A registered worker. It is idle if it holds no job and has not retired."""

    __slots__ = (
        "alarm_at",
        "asked_at",
        "dialect",
        "fingerprint",
        "heard_at",
        "job",
        "name",
        "parts_skipped",
        "registered_at",
        "retired",
        "sent_at",
        "service",
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
    ) -> None:
        self.name = name
        self.dialect = dialect
        self.service = service
        self.fingerprint = fingerprint  # the same for all workers of the service
        self.registered_at = self.heard_at = self.sent_at = now
        self.alarm_at = math.inf
        self.retired = False  # it will leave, and gets no more requests
        self.job: PendingRequest | None = None
        # For the job that it holds: token, start, and parts not to be sent to the client again.
        self.token = b""
        self.asked_at = math.inf
        self.parts_skipped = 0


class Service:
    """A queue of requests and the workers that serve it; for example, one per detector plane."""

    __slots__ = (
        "alarm_at",
        "answered",
        "body_bytes",
        "fingerprint",
        "gone",
        "idle",
        "jobs",
        "name",
        "requeued",
        "time_limit_s",
        "unserved_since",
        "workers",
    )

    def __init__(self, name: bytes, *, time_limit_s: float, now: float) -> None:
        self.name = name
        self.time_limit_s = time_limit_s
        self.jobs: deque[PendingRequest] = (
            deque()
        )  # with jobs that are over, until their turn or a sweep
        self.gone = 0  # the number of queued jobs that are over
        self.body_bytes = 0  # of the requests that are queued and held
        self.workers = 0
        self.fingerprint = b""  # of all its workers; meaningful only while it has some
        self.idle: OrderedDict[WorkerState, None] = OrderedDict()  # least recently used first
        self.unserved_since = now  # meaningful only while it has no workers
        self.answered = 0  # FINALs sent to clients; not those of cancelled requests
        self.requeued = 0
        self.alarm_at = math.inf

    @property
    def queued(self) -> int:
        return len(self.jobs) - self.gone

    @property
    def busy(self) -> int:
        return self.workers - len(self.idle)  # retired workers, too: they cannot take a request

    @property
    def text(self) -> str:
        return printable(self.name)
