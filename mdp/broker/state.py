"""What a broker holds: requests, their clients, workers, services, and what it has counted. Pure.

Nothing here decides anything: `broker.Broker` does.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass

from .. import wire
from ..wire import Frames, printable


@dataclass
class Counters:
    """What happened since the start. accepted = answered + refused + cancelled + queued + held."""

    accepted: int = 0
    answered: int = 0
    refused: int = 0
    """Answered by the broker itself with an error."""
    cancelled: int = 0
    partials: int = 0
    requeued: int = 0
    dead_tokens: int = 0
    """Replies to a request that was no longer the sender's: dropped."""
    malformed: int = 0
    """Messages that no dialect allows: dropped."""
    unexpected: int = 0
    """Valid commands at the wrong moment: answered with DISCONNECT."""
    unreachable: int = 0
    """Messages whose receiver was gone, or had not read for too long."""
    workers_lost: int = 0
    """Workers that fell silent, were cut off, or broke the protocol."""


class Client:
    """A peer that waits for something, and what it waits for."""

    __slots__ = ("jobs", "name")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.jobs: dict[Job, None] = {}


class Job:
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

    def __init__(self, client: Client, request: wire.Request, service: Service, now: float) -> None:
        self.client = client
        self.dialect = request.dialect
        self.service = service
        self.body = tuple(request.body)
        self.accepted_at = now
        self.worker: Worker | None = None  # who holds it; None: it is queued
        self.attempts = 0  # workers that were lost while they held it
        self.over = False  # nobody waits for it any more
        self.parts_sent = 0
        self.gathered: Frames | None = None  # parts kept for a client that cannot take a stream

    @property
    def body_bytes(self) -> int:
        return sum(map(len, self.body)) + sum(map(len, self.gathered or ()))


class Worker:
    """A worker that said READY. It is idle when it holds no job, and has not retired."""

    __slots__ = (
        "alarm_at",
        "asked_at",
        "dialect",
        "fingerprint",
        "heard_at",
        "job",
        "name",
        "parts_skipped",
        "retired",
        "sent_at",
        "service",
        "since",
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
        self.since = self.heard_at = self.sent_at = now
        self.alarm_at = math.inf
        self.retired = False  # it is about to leave, and gets nothing more
        self.job: Job | None = None
        # Of the job it holds: its token, since when, and the parts that an earlier worker sent.
        self.token = b""
        self.asked_at = math.inf
        self.parts_skipped = 0


class Service:
    """A pool of workers and the queue before it: a plane of the detector is just one of these."""

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
        self.jobs: deque[Job] = deque()  # jobs that are over stay until their turn or a sweep
        self.gone = 0  # how many of them
        self.body_bytes = 0  # of what is queued and held
        self.workers = 0
        self.fingerprint = b""  # of all of them; meaningful while there are any
        self.idle: OrderedDict[Worker, None] = OrderedDict()  # least recently used first
        self.unserved_since = now  # meaningful while there are no workers
        self.answered = 0
        self.requeued = 0
        self.alarm_at = math.inf

    @property
    def queued(self) -> int:
        return len(self.jobs) - self.gone

    @property
    def busy(self) -> int:
        return self.workers - len(self.idle)

    @property
    def text(self) -> str:
        return printable(self.name)
