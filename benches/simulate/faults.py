"""The faults of a run: a plan that depends on the seed, and what each fault does to a site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from .connections import Connection
from .processes.client_process import ClientProcess
from .processes.host_process import HostProcess
from .processes.process import Process
from .site import Site
from .sizes import SiteSettings


@dataclass(frozen=True)
class Fault:
    """At an instant, a kind of fault happens to one part of the site. `amount` is from 0 to 1."""

    at: float
    kind: str
    whom: int
    amount: float

    def __str__(self) -> str:
        return f"{self.at:8.3f} s  {self.kind} (whom={self.whom}, amount={self.amount:.3f})"


def plan(seed: int, settings: SiteSettings) -> list[Fault]:
    """Return the faults of a seed in the order of their instants, all before the quiet end."""
    random = Random(f"faults {seed}")
    kinds = sorted(FAULTS)
    # a seed has some kinds and not others, so that rare mixtures happen, too
    kinds = random.sample(kinds, k=random.randint(3, len(kinds)))
    faults = [
        Fault(
            random.uniform(0.0, 0.85 * settings.quiet_at),
            random.choice(kinds),
            random.randrange(1 << 20),
            random.random(),
        )
        for _ in range(random.randint(settings.faults // 2, settings.faults * 2))
    ]
    return sorted(faults, key=lambda fault: fault.at)


def strike(site: Site, fault: Fault) -> None:
    """Let a fault happen, and write it into the trace."""
    what = FAULTS[fault.kind](site, fault.whom, fault.amount)
    if site.timeline.traced:
        site.timeline.note("FAULT", f"{fault.kind}: {what}")


# What a fault hits. Each function returns a text for the trace.


def _host(site: Site, whom: int) -> HostProcess:
    return site.hosts[whom % len(site.hosts)]


def _client(site: Site, whom: int) -> ClientProcess:
    return site.clients[whom % len(site.clients)]


def _process(site: Site, whom: int) -> Process[Any]:
    """Return any process: the broker as often as a host or a client."""
    kind, number = whom % 3, whom // 3
    if kind == 0:
        return site.broker
    return _host(site, number) if kind == 1 else _client(site, number)


def _connection(site: Site, whom: int) -> Connection | None:
    connections = site.network.connections()
    return connections[whom % len(connections)] if connections else None


def _limited(site: Site, seconds: float) -> float:
    """Return a length that ends with the quiet at the latest."""
    return min(seconds, site.settings.quiet_at - site.timeline.now)


# The network.


def _cut(site: Site, whom: int, amount: float) -> str:
    connection = _connection(site, whom)
    if connection is None:
        return "nothing is connected"
    site.network.cut(connection)
    return f"the connection of {site.name_of(connection.dealer.name)}"


def _cut_all(site: Site, whom: int, amount: float) -> str:
    connections = [c for c in site.network.connections() if hash(c.dealer.place * 31 + whom) % 2]
    for connection in connections:
        site.network.cut(connection)
    return f"{len(connections)} connections"


def _forget(site: Site, whom: int, amount: float) -> str:
    connection = _connection(site, whom)
    if connection is None:
        return "nothing is connected"
    site.network.forget(connection)
    return f"the connection of {site.name_of(connection.dealer.name)}"


def _part(site: Site, whom: int, amount: float) -> str:
    """Cut some places off from the broker, for a while."""
    count = site.settings.hosts + site.settings.clients + site.settings.foreign
    places = sorted({1 + (whom + 7 * k) % count for k in range(1 + int(amount * count / 3))})
    seconds = _limited(site, 40.0 * amount**2)
    for place in places:
        if place not in site.network.partitions:
            site.network.part(place)
            site.timeline.after(seconds, site.network.heal, place)
    return f"places {places} for {seconds:.1f} s"


def _slow(site: Site, whom: int, amount: float) -> str:
    """Multiply the latency of the whole network, for a while."""
    seconds = _limited(site, 10.0 * amount)
    site.network.slowness = 10.0 ** (1 + 2 * amount)
    site.timeline.after(seconds, setattr, site.network, "slowness", 1.0)
    return f"latency x{site.network.slowness:.0f} for {seconds:.1f} s"


def _imposter(site: Site, whom: int, amount: float) -> str:
    """Let a stranger take the name of a socket while that socket connects again."""
    connection = _connection(site, whom)
    if connection is None:
        return "nothing is connected"
    name = connection.dealer.name
    stranger = site.network.steal(connection, Stranger(), -1)
    site.timeline.after(_limited(site, 10.0 * amount), site.network.close, stranger)
    return f"a stranger has the name of {site.name_of(name)}"


class Stranger:
    """A peer that reads what it gets and never answers."""

    def arrived(self, connection: Connection, frames: object) -> None:
        connection.unread -= 1

    def disconnected(self, dealer: object) -> None:
        pass


# Processes.


def _pause(site: Site, whom: int, amount: float) -> str:
    """Stop a process for up to 20 s: it swaps, or reads slowly."""
    process = _process(site, whom)
    seconds = _limited(site, 20.0 * amount**2)
    process.pause(seconds)
    return f"{process.name} for {seconds:.1f} s"


def _jump(site: Site, whom: int, amount: float) -> str:
    process = _process(site, whom)
    process.jump(60.0 * amount**3)
    return f"{process.name} by {60.0 * amount**3:.1f} s"


def _kill_broker(site: Site, whom: int, amount: float) -> str:
    return _end_broker(site, amount, drains=False)


def _stop_broker(site: Site, whom: int, amount: float) -> str:
    return _end_broker(site, amount, drains=True)


def _end_broker(site: Site, amount: float, *, drains: bool) -> str:
    broker = site.broker
    if not broker.alive:
        return "there is none"
    site.restart_after(broker, _limited(site, 10.0 * amount))
    if drains:
        broker.take(broker.drain)
    else:
        broker.kill()
    return f"{broker.name}, back after {10.0 * amount:.1f} s"


def _kill_host(site: Site, whom: int, amount: float) -> str:
    host = _host(site, whom)
    site.restart_after(host, 10.0 * amount)
    host.kill()
    return host.name


def _deploy(site: Site, whom: int, amount: float) -> str:
    """Start a host again with another network: it is refused while others serve."""
    host = _host(site, whom)
    site.odd_networks.add(host.place)
    site.restart_after(host, amount)
    host.kill()
    return host.name


def _lose_machine(site: Site, whom: int, amount: float) -> str:
    """A host ends without a word: no end of its connection reaches the broker."""
    host = _host(site, whom)
    site.restart_after(host, 10.0 * amount)
    host.kill(silently=True)
    return host.name


def _walltime(site: Site, whom: int, amount: float) -> str:
    """The batch system ends some jobs: SIGTERM, and SIGKILL after a while."""
    hosts = [
        site.hosts[(whom + k) % len(site.hosts)] for k in range(1 + int(amount * len(site.hosts)))
    ]
    for host in hosts:
        host.drain()
        site.timeline.after(5.0, host.kill)
    return ", ".join(host.name for host in hosts)


def _stop_host(site: Site, whom: int, amount: float) -> str:
    host = _host(site, whom)
    host.stop()
    return host.name


def _kill_client(site: Site, whom: int, amount: float) -> str:
    client = _client(site, whom)
    site.restart_after(client, 10.0 * amount)
    client.kill(silently=whom % 2 == 0)
    return f"{client.name}{', with its machine' if whom % 2 == 0 else ''}"


def _close_client(site: Site, whom: int, amount: float) -> str:
    client = _client(site, whom)
    site.restart_after(client, 5.0 * amount)
    client.stop()
    return client.name


def _fail_setup(site: Site, whom: int, amount: float) -> str:
    """Let `setup()` fail at the next starts of a child, which is killed; 3 times end the host."""
    host = _host(site, whom)
    site.failing[host.place] = 1 + int(amount * 4)
    host.kill_child("was killed from outside")
    return f"{host.name}, {site.failing[host.place]} times"


def _kill_child(site: Site, whom: int, amount: float) -> str:
    host = _host(site, whom)
    host.kill_child("was killed from outside")
    return host.name


# Requests.


def _crash(site: Site, whom: int, amount: float) -> str:
    """One of the next requests crashes each worker that gets it."""
    request = site.next_request() + whom % 10
    site.crashing.add(request)
    return f"request {request}"


def _hang(site: Site, whom: int, amount: float) -> str:
    """One of the next requests hangs: on the first worker, or on several."""
    request = site.next_request() + whom % 10
    site.hanging[request] = 1 + int(amount * 3)
    return f"request {request}, {site.hanging[request]} times"


def _large(site: Site, whom: int, amount: float) -> str:
    """One of the next requests is larger than the broker takes."""
    request = site.next_request() + whom % 10
    if site.settings.broker.max_queue_bytes < 1 << 20:  # else it takes much memory
        site.large.add(request)
    return f"request {request}"


def _exhaust(site: Site, whom: int, amount: float) -> str:
    """Let a client's process have no descriptors for a while."""
    client = _client(site, whom)
    site.no_descriptors[client.place] = site.timeline.now + _limited(site, 10.0 * amount)
    return client.name


def _burst(site: Site, whom: int, amount: float) -> str:
    client, count = _client(site, whom), 5 + int(60 * amount)
    site.burst(client, count)
    return f"{client.name} asks for {count} at once"


def _cancel(site: Site, whom: int, amount: float) -> str:
    client = _client(site, whom)
    requests = [request for request in client.calls if (request * 7 + whom) % 10 < 10 * amount]
    for request in requests:
        client.abandon(request)
    return f"{client.name} cancels {len(requests)} requests"


FAULTS: dict[str, Callable[[Site, int, float], str]] = {
    "another network": _deploy,
    "burst of requests": _burst,
    "cancel requests": _cancel,
    "clock jumps": _jump,
    "client closed": _close_client,
    "connection cut": _cut,
    "connection forgotten": _forget,
    "connections cut": _cut_all,
    "imposter": _imposter,
    "no descriptors": _exhaust,
    "kill -9 of a child": _kill_child,
    "kill -9 of a client": _kill_client,
    "kill -9 of a host": _kill_host,
    "kill -9 of the broker": _kill_broker,
    "machine lost": _lose_machine,
    "network slow": _slow,
    "partition": _part,
    "pause": _pause,
    "request crashes": _crash,
    "request hangs": _hang,
    "request too large": _large,
    "setup fails": _fail_setup,
    "stop of a host": _stop_host,
    "stop of the broker": _stop_broker,
    "walltime": _walltime,
}
