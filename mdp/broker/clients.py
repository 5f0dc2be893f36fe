"""The clients that wait for answers: their requests, their leases, and the memory they take. Pure.

A foreign client has one socket. A client of ours has many, its lanes, with one request each; it is
the `Owner` of those lanes, and limits and turns are the owner's. It sends heartbeats while it waits
(`mmi.broker`), each with a lease in seconds: if it is silent for longer, it is lost.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from .. import wire
from ..keys.rights import EVERYTHING, Rights
from ..settings import BrokerSettings
from ..wire import Frames
from .state import ClientState, Owner, PendingRequest, Service

_FIRST_LEASE_S = 60.0  # of a client of ours, until its first heartbeat
_MAX_LEASE_S = 3600.0
_OVERHEAD_BYTES = PendingRequest.OVERHEAD_BYTES


class Clients:
    """All requests that are not over, by client."""

    def __init__(self, settings: BrokerSettings, instance: bytes = b"") -> None:
        self.lanes: dict[bytes, ClientState] = {}  # by peer
        self.owners: dict[bytes, Owner] = {}
        self.memory = 0  # bytes that all requests take
        self._settings = settings
        self._instance = instance
        self._numbers = itertools.count(1)  # of requests of foreign clients, for their ids

    def __iter__(self) -> Iterator[PendingRequest]:
        return (job for client in self.lanes.values() for job in client.jobs)

    def requests_of(self, peer: bytes) -> list[PendingRequest]:
        return [*self.lanes[peer].jobs] if peer in self.lanes else []

    def owner(self, peer: bytes, now: float, rights: Rights = EVERYTHING) -> Owner:
        """Return the client that a peer belongs to, which is heard now; perhaps a new one."""
        name = wire.owner(peer)
        owner = self.owners.get(name)
        if owner is None:
            lease_s = math.inf if name is peer else _FIRST_LEASE_S
            interactive = name is not peer and wire.is_interactive(peer)
            owner = Owner(name, interactive=interactive, lease_s=lease_s, now=now)
            owner.rights = rights
        elif owner.rights != rights:  # another key may not use up its share, or keep it alive
            return Owner(peer, interactive=False, lease_s=math.inf, now=now)
        owner.heard_at = now
        return owner

    def heartbeat(
        self, peer: bytes, body: Frames, now: float, rights: Rights = EVERYTHING
    ) -> Owner | None:
        """Note a client's heartbeat, which names the lanes that it waits for.

        Returns the client if its lease is known now.
        """
        owner = self.owners.get(wire.owner(peer))
        lease_s = wire.lease_of(body)
        if owner is None or lease_s is None or owner.rights != rights:
            return None
        owner.heard_at = now
        owner.lease_s = min(lease_s, _MAX_LEASE_S)
        owner.where = wire.who_of(body) or owner.where
        owner.progress = wire.progress_in(body)
        names = {frame for frame in body if isinstance(frame, bytes)}
        for lane in owner.lanes.values():
            lane.unnamed = 0 if lane.name in names else lane.unnamed + 1
        return owner

    def given_up(self, owner: Owner, now: float) -> list[bytes]:
        """Return the lanes that a client has given up: its request to cancel them was lost.

        One heartbeat is not enough, because a request may overtake it on another connection; so may
        it overtake several that were held up together.
        """
        heartbeats = self._settings.heartbeats
        return [
            lane.name
            for lane in owner.lanes.values()
            if lane.unnamed >= heartbeats.liveness
            and now >= next(iter(lane.jobs)).accepted_at + heartbeats.silence_s
        ]

    def why_refused(self, owner: Owner, service: Service, size: int) -> tuple[int, str] | None:
        """Return the code and the reason if a request of `size` bytes must be refused."""
        settings = self._settings
        if size > settings.max_queue_bytes:
            limit = f"want at most {settings.max_queue_bytes} (--max-queue-bytes)"
            return 413, f"the request to {service.text} has {size} bytes, {limit}"
        full = service.queue.length >= settings.max_queue
        if full and (queued := service.queue.queued_by(owner)) >= settings.max_queue:
            text = f"{queued} requests of this client"
            return 429, f"the queue of {service.text} is full (--max-queue): {text}"
        # a client may take as much as is free, so one client never takes all
        free = settings.max_queue_bytes - service.body_bytes
        mine = min(
            owner.body_bytes, service.body_bytes
        )  # at most so many of them are in this queue
        if size > free or size + mine > max(free, size):
            text = f"this client has {mine} bytes, {free} are free"
            return 429, f"the queue of {service.text} is full (--max-queue-bytes): {text}"
        free = settings.max_bytes - self.memory
        if owner.memory + size + _OVERHEAD_BYTES > free:
            text = f"this client has {owner.memory} bytes, {free} are free"
            return 429, f"the broker's memory is full (--max-bytes): {text}"
        return None

    def add(
        self,
        owner: Owner,
        peer: bytes,
        request: wire.Request,
        service: Service,
        size: int,
        now: float,
        rights: Rights = EVERYTHING,
    ) -> PendingRequest:
        """Note a request, with a body of `size` bytes, that was not refused."""
        client = self.lanes.get(peer)
        if client is None:
            client = self.lanes[peer] = owner.lanes[peer] = ClientState(peer, owner, rights)
            self.owners[owner.name] = owner
        job = PendingRequest(client, request, service, size, now)
        if owner.name == client.name and not job.given_id:  # a foreign client
            number = next(self._numbers) % (1 << 32)
            job.given_id = self._instance[:4] + number.to_bytes(wire.ID_BYTES - 4, "big")
        client.jobs[job] = None
        memory = size + _OVERHEAD_BYTES
        service.body_bytes += size
        owner.body_bytes += size
        owner.memory += memory
        self.memory += memory
        return job

    def gather(self, job: PendingRequest, part: Frames) -> bool:
        """Keep a part of an answer for a client of MDP/0.1; False if it is too much."""
        if job.gathered is None:
            job.gathered = []
        job.gathered += part
        more_bytes = sum(map(len, part))
        job.body_bytes += more_bytes
        job.service.body_bytes += more_bytes
        job.client.owner.body_bytes += more_bytes
        job.client.owner.memory += more_bytes
        self.memory += more_bytes
        settings = self._settings
        return (
            job.service.body_bytes <= settings.max_queue_bytes and self.memory <= settings.max_bytes
        )

    def remove(self, job: PendingRequest) -> None:
        """Remove a request that is over, and free its memory."""
        client, owner = job.client, job.client.owner
        memory = job.body_bytes + _OVERHEAD_BYTES
        job.service.body_bytes -= job.body_bytes
        owner.body_bytes -= job.body_bytes
        owner.memory -= memory
        self.memory -= memory
        job.body = ()
        job.gathered = None
        del client.jobs[job]
        if client.jobs:
            return
        del self.lanes[client.name]
        del owner.lanes[client.name]
        if not owner.lanes and owner.lease_s == math.inf:
            del self.owners[owner.name]
