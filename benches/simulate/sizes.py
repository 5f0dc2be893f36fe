"""The sites that can be simulated: small ones, which differ from seed to seed, and a big one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from mdp.settings import BrokerSettings, ClientSettings, WorkerSettings

from .connections import NetworkSettings


@dataclass(frozen=True)
class SiteSettings:
    """The size of a site, what it does, and the settings of its parts."""

    services: int = 2
    hosts: int = 8
    clients: int = 4
    foreign: int = 0
    """Clients that are not ours (MDP/0.1): no lanes, no heartbeats."""
    requests: int = 300
    """All requests of all clients, without those after the last fault."""
    serve_s: tuple[float, float] = (0.05, 0.5)
    """The least and the most time that a request takes."""
    setup_s: float = 0.5
    """The time that a child takes for `setup()`."""
    parts_of: int = 7
    """Each so many-th request is answered in parts."""
    lag_s: float = 0.0
    """The most time that some callers take to read a part."""
    faults: int = 12
    quiet_at: float = 30.0
    """Seconds; faults are over by then."""
    settle_s: float = 20.0
    """From the last fault to the last requests."""
    patience_s: float = 60.0
    """The most time that a last request may take, besides its computation."""
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    client: ClientSettings = field(default_factory=ClientSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    fairness_sample: int = 1
    """Check the fairness of each so many-th request."""
    check_every: int = 50
    """Events between two complete checks."""


def small(seed: int) -> SiteSettings:
    """Return a small site; each seed has settings of its own."""
    random = Random(f"settings {seed}")
    if random.random() < 0.2:
        return _behind_a_firewall(random)
    serve_s = random.choice([0.02, 0.1, 0.3])
    limit_s = random.choice([random.uniform(3.0, 15.0), random.uniform(3.0, 15.0), math.inf, None])
    # without a limit, a request that hangs for a client without heartbeats hangs for ever
    foreign = random.randint(0, 2) if limit_s is not None and limit_s < math.inf else 0
    services = random.randint(1, 2)
    return SiteSettings(
        services=services,
        hosts=random.randint(services, 8),
        clients=random.randint(2, 5),
        foreign=foreign,
        requests=random.randint(150, 350),
        serve_s=(serve_s / 4, serve_s * 2),
        setup_s=random.uniform(0.05, 1.5),
        parts_of=random.choice([2, 7]),
        lag_s=random.choice([0.0, 1.0, 20.0]),
        broker=BrokerSettings(
            max_attempts=random.randint(1, 3),
            max_lost=(1, 3, 12)[seed % 3],
            max_queue=random.choice([10, 1000]),
            max_queue_bytes=random.choice([2000, 20_000]),
            max_bytes=random.choice([40_000, 4 << 30]),
            expiry_s=random.uniform(2.0, 60.0),
            time_limits_s={f"plane{number}": limit_s for number in range(services)},
            drain_s=random.uniform(0.5, 8.0),
        ),
        worker=WorkerSettings(orphan_s=random.uniform(1.0, 10.0)),
        client=ClientSettings(
            timeout_s=random.choice([3.0, 20.0, 300.0]),
            tries=random.randint(1, 3),
            lanes=random.choice([2, 8, 30]),
        ),
        network=NetworkSettings(
            latency_s=random.choice([(0.0001, 0.0005), (0.0001, 0.01), (0.02, 0.3)]),
            unread_limit=random.choice([3, 1000]),
            dealer_silence_s=random.uniform(8.0, 36.0),
            router_silence_s=random.uniform(8.0, 36.0),
        ),
    )


def _behind_a_firewall(random: Random) -> SiteSettings:
    """Return a site whose firewall forgets connections sooner than a request is computed."""
    forgets_after_s = random.uniform(5.0, 15.0)
    return SiteSettings(
        services=1,
        hosts=random.randint(2, 6),
        clients=random.randint(2, 3),
        requests=20,
        serve_s=(forgets_after_s * 0.5, forgets_after_s * 1.5),
        broker=BrokerSettings(time_limits_s={"plane0": 3 * forgets_after_s}, drain_s=5.0),
        client=ClientSettings(timeout_s=300.0, lanes=4),
        network=NetworkSettings(forgets_after_s=forgets_after_s),
    )


def big(seed: int) -> SiteSettings:
    """Return a site of 10,000 workers, with a million requests."""
    return SiteSettings(
        services=3,
        hosts=10_000,
        clients=300,
        requests=1_000_000,
        serve_s=(0.1, 0.9),
        setup_s=5.0,
        faults=40,
        quiet_at=60.0,
        broker=BrokerSettings(
            max_queue=100_000,
            time_limits_s={f"plane{number}": 20.0 for number in range(3)},
            drain_s=2.0,
        ),
        network=NetworkSettings(forgets_after_s=math.inf),
        fairness_sample=1000,
        check_every=500_000,
    )


SIZES: dict[str, Callable[[int], SiteSettings]] = {"small": small, "big": big}
