"""A simulated network with ROUTER and DEALER sockets, which behave as those of libzmq do.

What is modelled, as libzmq 4.3 does it over TCP:

- Messages of one connection arrive in order, each after a latency. A connection that is cut loses
  what is on the way; both ends notice. A DEALER connects again by itself, with the same name; what
  it was given while it was not connected is sent then.
- A ROUTER reports a send to a peer that it does not know, or that has not read `unread_limit`
  messages (`send` returns False). A second peer of the same name is ignored as long as its
  connection lives: nothing of it is read, and it gets nothing, even after the first one is gone.
- A firewall (NAT) can forget a connection: bytes vanish, and no end notices. With heartbeats (pings
  of ZMTP, keepalive probes of TCP) idle connections stay known; and if one is forgotten all the
  same, each end drops it after a while. Without heartbeats it lives for ever.
- A partition delays what is sent through it, as TCP sends it again later; an end whose patience
  with the silence ends earlier drops the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from mdp.wire import Frames

from .connections import Connection, Dealer, DealerOwner, NetworkSettings, Router, RouterOwner
from .timeline import Timeline


class Network:
    """All sockets of a site. There is one address; at most one ROUTER is bound to it at a time."""

    def __init__(self, timeline: Timeline, random: Random, settings: NetworkSettings) -> None:
        self.timeline = timeline
        self.settings = settings
        self.slowness = 1.0  # a fault multiplies the latency
        self.router: Router | None = None
        self.partitions: dict[int, int] = {}  # place: number of the partition that cuts it off
        self.open_sockets: dict[int, int] = {}  # by place
        self._partition_number = 0
        self._random = random
        self._waiting: dict[Dealer, None] = {}  # they connect as soon as they can
        self._by_place: dict[int, dict[Connection, None]] = {}

    # What the processes of the site call.

    def bind(self, owner: RouterOwner) -> Router:
        self.router = Router(owner)
        waiting, self._waiting = self._waiting, {}
        for dealer in waiting:
            self._connect_soon(dealer)
        return self.router

    def unbind(self, router: Router) -> None:
        """Close the ROUTER: what it has sent still arrives, then its peers notice the end."""
        if self.router is router:
            self.router = None
        for connection in router.connections():
            self._end_router(connection)

    def open(self, name: bytes, place: int, owner: DealerOwner) -> Dealer:
        dealer = Dealer(name, place, owner)
        self.open_sockets[place] = self.open_sockets.get(place, 0) + 1
        self._connect_soon(dealer, first=True)
        return dealer

    def close(self, dealer: Dealer, *, silently: bool = False) -> None:
        """Close a DEALER: what it has sent still arrives. `silently`: its machine is gone."""
        if not dealer.is_open:
            return
        dealer.is_open = False
        self.open_sockets[dealer.place] -= 1
        self._waiting.pop(dealer, None)
        dealer.outbox.clear()
        connection = dealer.connection
        if connection is None:
            return
        if silently:
            self.forget(connection)
            connection.cut = True
        self._end_dealer(connection)

    def send_up(self, dealer: Dealer, frames: Frames) -> None:
        connection = dealer.connection
        if connection is None:
            dealer.outbox.append(frames)
        else:
            self._send_up(connection, frames)

    def send_down(self, router: Router, name: bytes, frames: Frames) -> bool:
        """Send to the peer of this name; False if the ROUTER reports it as unreachable."""
        connection = router.peers.get(name)
        if connection is None or connection.waiting() >= self.settings.unread_limit:
            return False
        if self._swallows(connection):
            connection.unread += 1
        else:
            at = connection.down_at = max(self._arrival(), connection.down_at)
            self.timeline.at(at, self._arrive_down, connection, frames)
        return True

    # Faults.

    def cut(self, connection: Connection) -> None:
        """Cut a connection; both ends notice, and what is on the way is lost."""
        connection.cut = True
        self._drop_router_end(connection)
        self._drop_dealer_end(connection)

    def forget(self, connection: Connection) -> None:
        """Let a firewall forget a connection: bytes vanish from now on, and no end notices."""
        if connection.forgotten:
            return
        connection.forgotten = True
        if self.settings.heartbeats:
            after, settings = self.timeline.after, self.settings
            after(settings.dealer_silence_s, self._drop_dealer_end, connection)
            after(settings.router_silence_s, self._drop_router_end, connection)

    def part(self, place: int) -> None:
        """Cut a place off from the broker, until `heal`."""
        self._partition_number += 1
        number = self.partitions[place] = self._partition_number
        if self.settings.heartbeats:
            after, settings = self.timeline.after, self.settings
            after(settings.dealer_silence_s, self._lose_patience, place, number, True)
            after(settings.router_silence_s, self._lose_patience, place, number, False)

    def heal(self, place: int) -> None:
        if self.partitions.pop(place, None) is None:
            return
        for connection in self._connections_of(place):
            self.timeline.after(self._random.uniform(0.01, 1.0), self._flush, connection)
        for dealer in [dealer for dealer in self._waiting if dealer.place == place]:
            del self._waiting[dealer]
            self._connect_soon(dealer)

    def connections(self) -> list[Connection]:
        """Return the connections of which the ROUTER knows, in the order of their start."""
        return [] if self.router is None else self.router.connections()

    def steal(self, connection: Connection, owner: DealerOwner, place: int) -> Dealer:
        """Cut a connection; a stranger connects under its name before it can connect again."""
        stranger = Dealer(connection.dealer.name, place, owner)
        self.open_sockets[place] = self.open_sockets.get(place, 0) + 1
        self.cut(connection)
        self._connect(stranger)
        return stranger

    # Messages on the way.

    def _arrival(self) -> float:
        low, high = self.settings.latency_s
        return self.timeline.now + (low + (high - low) * self._random.random()) * self.slowness

    def _swallows(self, connection: Connection) -> bool:
        """True if the bytes of this send vanish."""
        now, idle_s = self.timeline.now, self.settings.forgets_after_s
        if not self.settings.heartbeats and now - connection.active_at > idle_s:
            connection.forgotten = True
        connection.active_at = now
        return connection.forgotten

    def _send_up(self, connection: Connection, frames: Frames | None) -> None:
        if not self._swallows(connection):
            at = connection.up_at = max(self._arrival(), connection.up_at)
            self.timeline.at(at, self._arrive_up, connection, frames)

    def _arrive_up(self, connection: Connection, frames: Frames | None) -> None:
        if connection.cut or not connection.router_end:
            return
        if connection.stalled_up or connection.dealer.place in self.partitions:
            connection.stalled_up.append(frames)
        elif frames is None:
            self._drop_router_end(connection)
        elif not connection.ignored:
            connection.router.owner.arrived(connection, frames)

    def _arrive_down(self, connection: Connection, frames: Frames | None) -> None:
        if connection.cut or not connection.dealer_end:
            return
        if connection.stalled_down or connection.dealer.place in self.partitions:
            connection.stalled_down.append(frames)
        elif frames is None:
            self._drop_dealer_end(connection)
        else:
            connection.unread += 1
            connection.dealer.owner.arrived(connection, frames)

    def _flush(self, connection: Connection) -> None:
        """Deliver what waited for the end of a partition, and tell each end of the other's end."""
        if connection.dealer.place in self.partitions:
            return
        up, connection.stalled_up = connection.stalled_up, []
        down, connection.stalled_down = connection.stalled_down, []
        for frames in up:
            self._arrive_up(connection, frames)
        for frames in down:
            self._arrive_down(connection, frames)
        if not connection.forgotten and connection.router_end != connection.dealer_end:
            self._drop_router_end(connection)
            self._drop_dealer_end(connection)

    # The life of a connection.

    def _connect_soon(self, dealer: Dealer, *, first: bool = False) -> None:
        """Connect after a handshake; after a loss libzmq waits 0.1 s before it."""
        wait_s = 0.0 if first else 0.1 * (1 + self._random.random())
        self.timeline.at(self._arrival() + wait_s, self._connect, dealer)

    def _connect(self, dealer: Dealer) -> None:
        if not dealer.is_open:
            return
        router = self.router
        if router is None or dealer.place in self.partitions:
            self._waiting[dealer] = None
            return
        ignored = dealer.name in router.peers
        connection = Connection(dealer, router, self.timeline.now, ignored=ignored)
        if ignored:
            router.ignored[connection] = None
        else:
            router.peers[dealer.name] = connection
        dealer.connection = connection
        self._by_place.setdefault(dealer.place, {})[connection] = None
        outbox, dealer.outbox = dealer.outbox, []
        for frames in outbox:
            self._send_up(connection, frames)

    def _end_dealer(self, connection: Connection) -> None:
        """Close the DEALER's end; the ROUTER notices after the messages that are on the way."""
        connection.dealer.connection = None
        connection.dealer_end = False
        if connection.router_end:
            self._send_up(connection, None)
        self._drop_if_over(connection)

    def _end_router(self, connection: Connection) -> None:
        self._close_router_end(connection)
        if connection.dealer_end and not self._swallows(connection):
            at = connection.down_at = max(self._arrival(), connection.down_at)
            self.timeline.at(at, self._arrive_down, connection, None)

    def _drop_router_end(self, connection: Connection) -> None:
        """End the ROUTER's end; outside a partition, and if not forgotten, the other end hears."""
        if connection.router_end:
            self._end_router(connection)

    def _drop_dealer_end(self, connection: Connection) -> None:
        if connection.dealer_end:
            dealer = connection.dealer
            self._end_dealer(connection)
            if dealer.is_open:
                self._connect_soon(dealer)
                dealer.owner.disconnected(dealer)

    def _close_router_end(self, connection: Connection) -> None:
        connection.router_end = False
        connection.router.ignored.pop(connection, None)
        if connection.router.peers.get(connection.dealer.name) is connection:
            del connection.router.peers[connection.dealer.name]
        self._drop_if_over(connection)

    def _drop_if_over(self, connection: Connection) -> None:
        if not connection.router_end and not connection.dealer_end:
            self._by_place[connection.dealer.place].pop(connection, None)

    def _connections_of(self, place: int) -> list[Connection]:
        return list(self._by_place.get(place, ()))

    def _lose_patience(self, place: int, number: int, dealers: bool) -> None:
        """Drop the connections through a partition that has lasted too long, at one of the ends."""
        if self.partitions.get(place) != number:
            return
        drop: Callable[[Connection], None] = (
            self._drop_dealer_end if dealers else self._drop_router_end
        )
        for connection in self._connections_of(place):
            drop(connection)
