"""The sockets of the simulated network, and the connections between them: data only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from mdp.wire import Frames


@dataclass(frozen=True)
class NetworkSettings:
    """The network of one site."""

    latency_s: tuple[float, float] = (0.0001, 0.002)
    """The least and the most time that a message is on the way."""
    unread_limit: int = 1000
    """The most messages that a ROUTER holds for a peer that does not read."""
    forgets_after_s: float = math.inf
    """A firewall forgets connections that were idle for so long; heartbeats prevent it."""
    heartbeats: bool = True
    """The sockets ping (ZMTP), or the kernel probes the connections (TCP keepalive)."""
    dealer_silence_s: float = 32.0
    """With heartbeats, a DEALER drops a silent connection after this time."""
    router_silence_s: float = 40.0
    """The same, of a ROUTER."""


class RouterOwner(Protocol):
    """The process with the ROUTER socket."""

    def arrived(self, connection: Connection, frames: Frames) -> None: ...


class DealerOwner(Protocol):
    """The process with a DEALER socket."""

    def arrived(self, connection: Connection, frames: Frames) -> None: ...
    def disconnected(self, dealer: Dealer) -> None: ...


class Connection:
    """One TCP connection, as its two ends believe it to be."""

    __slots__ = (
        "active_at",
        "cut",
        "dealer",
        "dealer_end",
        "down_at",
        "forgotten",
        "ignored",
        "router",
        "router_end",
        "stalled_down",
        "stalled_up",
        "unread",
        "up_at",
    )

    def __init__(self, dealer: Dealer, router: Router, now: float, *, ignored: bool) -> None:
        self.dealer = dealer
        self.router = router
        self.dealer_end = self.router_end = True  # this end is open
        self.cut = False  # what is on the way is lost
        self.forgotten = False  # all bytes vanish
        self.ignored = ignored  # the ROUTER has another peer of this name
        self.active_at = self.up_at = self.down_at = now
        # waiting for the end of a partition; None: the sender's end was closed
        self.stalled_up: list[Frames | None] = []
        self.stalled_down: list[Frames | None] = []
        self.unread = 0  # messages of the ROUTER that the DEALER's process has not taken

    def waiting(self) -> int:
        """Return how many messages wait at the DEALER's end, or for the end of a partition."""
        return self.unread + len(self.stalled_down)


class Dealer:
    """A DEALER socket at a place, connected to the site's address of the broker."""

    __slots__ = ("connection", "is_open", "name", "outbox", "owner", "place")

    def __init__(self, name: bytes, place: int, owner: DealerOwner) -> None:
        self.name = name
        self.place = place
        self.owner = owner
        self.connection: Connection | None = None
        self.outbox: list[Frames] = []  # given while there is no connection
        self.is_open = True


class Router:
    """A ROUTER socket that is bound to the site's address of the broker."""

    def __init__(self, owner: RouterOwner) -> None:
        self.owner = owner
        self.peers: dict[bytes, Connection] = {}
        self.ignored: dict[Connection, None] = {}

    def connections(self) -> list[Connection]:
        return [*self.peers.values(), *self.ignored]
