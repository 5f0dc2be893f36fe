"""The real cores, as the simulator makes them and looks into them; no other file does that.

If a core changes, this file changes with it; the rest of the simulator uses only their verbs.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from mdp import wire
from mdp.broker.broker import Broker
from mdp.broker.state import PendingRequest, Service
from mdp.client.lane import Lanes
from mdp.settings import BrokerSettings, ClientSettings, WorkerSettings
from mdp.worker.host import Host


def new_broker(settings: BrokerSettings, now: float, random: Random) -> Broker:
    return Broker(settings, now, instance=random.randbytes(8))


def new_host(service: bytes, settings: WorkerSettings, random: Random, *, name: str) -> Host:
    return Host(service, settings, name=name, jitter=random.random)


def new_lanes(settings: ClientSettings, random: Random, *, interactive: bool) -> Lanes:
    client = random.randbytes(wire.CLIENT_ID_BYTES)

    def name() -> bytes:
        suffix = random.randbytes(wire.CLIENT_ID_BYTES)
        return wire.lane_name(client, suffix, interactive=interactive)

    return Lanes(settings, name, random=random.random)


def queued(service: Service) -> Iterator[PendingRequest]:
    """Yield the requests in a service's queue."""
    queue = service.queue
    for turns in (queue._interactive, queue._others):
        for requests in turns.values():
            yield from requests


def waits(broker: Broker, lane: bytes) -> bool:
    """True if the broker has a request of this lane."""
    return lane in broker.clients.lanes


def count_waiting(broker: Broker) -> int:
    """Return how many lanes have requests."""
    return len(broker.clients.lanes)


def accepted(broker: Broker) -> list[PendingRequest]:
    """Return the requests that are not over, as their clients' records have them."""
    return list(broker.clients)


def memory(broker: Broker) -> tuple[int, int]:
    """Return the bytes that the broker counts for all requests, and those that they take."""
    return broker.clients.memory, sum(
        job.body_bytes + PendingRequest.OVERHEAD_BYTES for job in broker.clients
    )
