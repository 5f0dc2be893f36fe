"""The processes of a simulated site: a broker, hosts with their children, and clients.

Each drives a real core of `mdp` in the way its loop does (`broker_loop`, `worker_loop`,
`client_loop`): receive what is there, tick, carry out what the core returns, wait until its
deadline. A process has its own clock, which a fault can advance, and it can be paused: what arrives
meanwhile waits, and is received before the next tick.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mdp.client import lane
from mdp.errors import MDPError
from mdp.wire import Frame, Frames
from mdp.worker import host, session

from . import cores
from .invariants import BrokerWatch, Violation
from .network import Connection, Dealer, Router
from .readable import readable
from .timeline import Action

if TYPE_CHECKING:
    from .site import Site

_ROUND_UP_S = 0.001  # a poll waits whole milliseconds
_SPINS = 1000


class Core(Protocol):
    """What every core has."""

    def deadline(self) -> float: ...


class Process:
    """One process: its clock, its pauses and its wake-ups."""

    core: Core

    def __init__(self, site: Site, name: str, place: int) -> None:
        self.site = site
        self.timeline = site.timeline
        self.name = name
        self.place = place
        self.alive = True
        self.clock_ahead_s = 0.0
        self._paused = False
        self._inbox: deque[tuple[Action, tuple[Any, ...]]] = deque()
        self._wake_at = math.inf
        self._spins = 0

    def now(self) -> float:
        """Return what this process takes for the time."""
        return self.timeline.now + self.clock_ahead_s

    def take(self, action: Action, *values: Any) -> None:
        """Let the process handle one input: now or, while it is paused, later."""
        if not self.alive:
            return
        if self._paused:
            self._inbox.append((action, values))
            return
        action(*values)
        self._spins = 0
        self.turn()

    def turn(self) -> None:
        """Do what is due, and wait until the core's deadline."""
        if not self.alive:
            return
        self.tick()
        due = self.core.deadline() - self.clock_ahead_s
        if due < self._wake_at:
            self._wake_at = due
            self.timeline.at(due + _ROUND_UP_S, self._wake, due)

    def tick(self) -> None:
        raise NotImplementedError

    def _wake(self, due: float) -> None:
        if due != self._wake_at:
            return  # an earlier wake-up has replaced this one
        self._wake_at = math.inf
        if self.alive and not self._paused:
            self._spins += 1
            if self._spins > _SPINS and self.core.deadline() <= self.now() - _ROUND_UP_S:
                raise Violation(f"{self.name} spins: its deadline is in the past")
            self.turn()

    def pause(self, seconds: float) -> None:
        if self.alive and not self._paused:
            self._paused = True
            self.timeline.after(seconds, self.resume)

    def resume(self) -> None:
        if not self._paused:
            return
        self._paused = False
        inbox, self._inbox = self._inbox, deque()
        for action, values in sorted(inbox, key=self.turn_of):
            if self.alive:
                action(*values)
        self.turn()

    def turn_of(self, entry: tuple[Action, tuple[Any, ...]]) -> int:
        """Return the place of an input in the loop's turn; equal ones stay in their order."""
        return 0

    def jump(self, seconds: float) -> None:
        """Set the clock of this process forward."""
        if self.alive:
            self.clock_ahead_s += seconds
            if not self._paused:
                self.turn()

    def note(self, what: str) -> None:
        self.timeline.note(self.name, what)


class BrokerProcess(Process):
    """One life of the broker."""

    def __init__(self, site: Site, name: str) -> None:
        super().__init__(site, name, 0)
        self.core = cores.new_broker(site.settings.broker, self.now(), site.names)
        self.watch = BrokerWatch(self.core, site.calls, site.settings)
        self.router: Router = site.network.bind(self)
        self._give_up_at = math.inf

    def arrived(self, connection: Connection, frames: Frames) -> None:
        self.take(self._receive, connection.dealer.name, frames)

    def _receive(self, peer: bytes, frames: Frames) -> None:
        if self.timeline.traced:
            self.note(f"<- {self.site.name_of(peer)}: {readable(frames)}")
        now = self.now()
        self.watch.received(peer, frames)
        self._deliver(self.core.receive([peer, *frames], now), now)

    def _deliver(self, messages: list[Frames], now: float) -> None:
        send, network, router = self.watch.sent, self.site.network, self.router
        for frames in messages:
            peer = frames[0]
            assert isinstance(peer, bytes)
            send(peer, frames)
            is_sent = network.send_down(router, peer, frames[1:])
            if self.timeline.traced:
                lost = "" if is_sent else " (unreachable)"
                self.note(f"-> {self.site.name_of(peer)}: {readable(frames[1:])}{lost}")
            if not is_sent:
                self.watch.unreachable(peer)
                messages += self.core.unreachable(peer, now)

    def tick(self) -> None:
        now = self.now()
        self._deliver(self.core.tick(now), now)
        if self.core.draining and (not self.core.held or now >= self._give_up_at):
            self.stop()

    def drain(self) -> None:
        """SIGTERM: answer what is held, refuse the rest, then end."""
        if not self.core.draining:
            now = self.now()
            self._give_up_at = now + self.core.settings.drain_s
            self._deliver(self.core.drain(now), now)
            self.timeline.after(self.core.settings.drain_s + 1.0, self.take, lambda: None)

    def stop(self) -> None:
        now = self.now()
        self._deliver(self.core.close(now), now)
        self.kill()

    def kill(self) -> None:
        """End at once, as by SIGKILL."""
        if self.alive:
            self.alive = False
            self.site.network.unbind(self.router)
            self.site.broker_ended()


class HostProcess(Process):
    """One life of a worker's host, with its child."""

    def __init__(self, site: Site, name: str, place: int, service: bytes) -> None:
        super().__init__(site, name, place)
        self.service = service
        self.core = cores.new_host(service, site.settings.worker, site.names, name=name)
        self.dealer: Dealer | None = None
        self.child = 0  # number of the child's life; 0: there is none
        self.computing: int | None = None  # the request that the child computes
        self._children = 0

    def start(self) -> None:
        self.take(lambda: None)

    # What arrives.

    def arrived(self, connection: Connection, frames: Frames) -> None:
        self.take(self._receive, connection, frames)

    def _receive(self, connection: Connection, frames: Frames) -> None:
        connection.unread -= 1
        if connection.dealer is self.dealer:
            if self.timeline.traced:
                self.note(f"<- {readable(frames)}")
            self.carry_out(self.core.receive(frames, self.now()))

    def disconnected(self, dealer: Dealer) -> None:
        if self.timeline.traced:
            self.note("the connection was lost")
        self.take(self._disconnected, dealer)

    def _disconnected(self, dealer: Dealer) -> None:
        if dealer is self.dealer:
            self.carry_out(cores.disconnected(self.core, self.now()))

    def turn_of(self, entry: tuple[Action, tuple[Any, ...]]) -> int:
        """First the messages of the broker, then the end of its connection, then the child's."""
        return {self._receive: 0, self._disconnected: 1}.get(entry[0], 2)

    def tick(self) -> None:
        self.carry_out(self.core.tick(self.now()))
        if self.core.ended:
            self.kill()

    def carry_out(self, steps: Sequence[host.Step]) -> None:
        for step in steps:
            kind = type(step)
            if self.timeline.traced:
                self.note(readable(step))
            if kind is session.Send:
                assert self.dealer is not None
                self.site.network.send_up(self.dealer, step.frames)  # type: ignore[union-attr]
            elif kind is host.Work:
                self._work(step.number, step.body)  # type: ignore[union-attr]
            elif kind is session.Open:
                self._open()
            elif kind is session.Close:
                self._close()
            elif kind is host.StartChild:
                self._start_child()
            else:
                assert kind is host.KillChild
                self.kill_child("was killed")

    def _open(self) -> None:
        name = self.site.worker_name(self)
        self.dealer = self.site.network.open(name, self.place, self)

    def _close(self) -> None:
        if self.dealer is not None:
            self.site.network.close(self.dealer)
            self.dealer = None

    # The child. Its messages, and its death, reach the host as events.

    def _start_child(self) -> None:
        self._children += 1
        self.child = self._children
        self.computing = None
        self.timeline.after(self.site.settings.setup_s, self._child_is_ready, self.child)

    def _child_is_ready(self, child: int) -> None:
        if child == self.child:
            self.take(self._from_child, child, cores.child_is_ready, self.core)

    def _from_child(self, child: int, event: Any, *values: Any) -> None:
        if child == self.child:
            self.carry_out(event(*values, now=self.now()))

    def _work(self, number: int, body: Frames) -> None:
        frame = body[0]
        assert isinstance(frame, bytes)
        request = self.computing = int.from_bytes(frame, "big")
        task, child, after = self.site.task(request), self.child, self.timeline.after
        if task.crashes:
            after(task.serve_s, self._die, child, "crashed")
        for part in range(task.parts):
            at = task.serve_s * (part + 1) / (task.parts + 1)
            after(at, self._answer, child, number, [b"part", frame, b"%d" % part], False)
        if not (task.crashes or task.hangs):
            after(task.serve_s, self._answer, child, number, [b"answer", frame], True)

    def _answer(self, child: int, number: int, body: list[Frame], final: bool) -> None:
        if child == self.child and self.computing is not None:
            if final:
                self.computing = None
            self.take(self._answered, child, number, body, final)

    def _answered(self, child: int, number: int, body: list[Frame], final: bool) -> None:
        if child == self.child:
            self.carry_out(self.core.answered(number, body, final=final, now=self.now()))

    def kill_child(self, how: str) -> None:
        """Let the child die soon; answers that it has sent by then still count."""
        if self.child:
            self.timeline.after(0.005, self._die, self.child, how)

    def _die(self, child: int, how: str) -> None:
        if child == self.child:
            self.computing = None
            self.take(self._died, child, how)

    def _died(self, child: int, how: str) -> None:
        if child == self.child:
            self.child = 0
            if self.timeline.traced:
                self.note(f"the child {how}")
            self.carry_out(self.core.died(how, self.now()))

    # Signals.

    def drain(self) -> None:
        """SIGTERM: as a batch system sends it before the end of a job."""
        self.take(lambda: self.carry_out(self.core.drain(self.now())))

    def stop(self) -> None:
        self.take(lambda: self.carry_out(self.core.stop(self.now())))

    def kill(self, *, silently: bool = False) -> None:
        """End at once; `silently`: with the machine, so that the broker is not told."""
        if self.alive:
            self.alive = False
            self.child = 0
            if self.dealer is not None:
                self.site.network.close(self.dealer, silently=silently)
            self.site.host_ended(self)


class ClientProcess(Process):
    """One life of a client, which keeps a number of requests in flight until it has asked all."""

    def __init__(self, site: Site, name: str, place: int, *, interactive: bool) -> None:
        super().__init__(site, name, place)
        settings = site.settings.client
        self.core = cores.new_lanes(settings, site.names, interactive=interactive)
        self.interactive = interactive
        self.dealers: dict[bytes, Dealer] = {}
        self.calls: dict[int, lane.ClientRequest] = {}  # open ones, by request
        self._ends_by: deque[tuple[float, int]] = deque()  # on this process's clock

    # What its user asks.

    def submit(self, request: int, service: bytes, timeout_s: float) -> None:
        self.take(self._submit, request, service, timeout_s)

    def _submit(self, request: int, service: bytes, timeout_s: float) -> None:
        body, tries = self.site.body(request), self.core.settings.tries
        call = lane.ClientRequest(service, body, request, timeout_s=timeout_s, tries=tries)
        self.calls[request] = call
        self.site.calls.submitted(request)
        if self.timeline.traced:
            self.note(f"asks for request {request} of {service.decode()}")
        self.carry_out(self.core.submit(call, self.now()))

    def abandon(self, request: int) -> None:
        """Cancel an open call."""
        self.take(self._abandon, request)

    def _abandon(self, request: int) -> None:
        call = self.calls.pop(request, None)
        if call is not None:
            self.site.calls.abandoned(request)
            self.carry_out(self.core.abandon(call, self.now()))
            self.site.call_ended(self)

    # What arrives.

    def arrived(self, connection: Connection, frames: Frames) -> None:
        self.take(self._receive, connection, frames)

    def _receive(self, connection: Connection, frames: Frames) -> None:
        connection.unread -= 1
        dealer = connection.dealer
        if self.dealers.get(dealer.name) is dealer:
            if self.timeline.traced:
                self.note(f"<- on {self.site.name_of(dealer.name)}: {readable(frames)}")
            self.carry_out(self.core.receive(dealer.name, frames, self.now()))

    def disconnected(self, dealer: Dealer) -> None:
        if self.timeline.traced:
            self.note(f"{self.site.name_of(dealer.name)}: the connection was lost")

    def tick(self) -> None:
        now = self.now()
        self.carry_out(self.core.tick(now))
        ends_by = self._ends_by
        while ends_by and ends_by[0][1] not in self.calls:
            ends_by.popleft()
        if ends_by and ends_by[0][0] < now:
            request = ends_by[0][1]
            raise Violation(f"{self.name}: request {request} has not ended by its last deadline")

    def carry_out(self, steps: Sequence[lane.Step]) -> None:
        network = self.site.network
        for step in steps:
            kind = type(step)
            if self.timeline.traced:
                self.note(readable(step, self.site.name_of))
            if kind is lane.SendOnLane:
                self._watch_start(step.lane)  # type: ignore[union-attr]
                network.send_up(self.dealers[step.lane], step.frames)  # type: ignore[union-attr]
            elif kind is lane.FinalReply:
                self.site.calls.answered(step.call.listener, step.body)  # type: ignore[union-attr]
                self._ended(step.call)  # type: ignore[union-attr]
            elif kind is lane.PartialReply:
                self.site.calls.part(step.call.listener, step.body)  # type: ignore[union-attr]
            elif kind is lane.Failed:
                self._failed(step.call, step.error)  # type: ignore[union-attr]
            elif kind is lane.OpenLane:
                self._open(step.lane)  # type: ignore[union-attr]
            else:
                assert kind is lane.CloseLane
                network.close(self.dealers.pop(step.lane))  # type: ignore[union-attr]

    def _open(self, name: bytes) -> None:
        self.dealers[name] = self.site.lane(name, self)
        if len(self.dealers) > self.core.settings.lanes + 2:
            raise Violation(f"{self.name} has {len(self.dealers)} sockets open")

    def _watch_start(self, name: bytes) -> None:
        call = self.core.in_flight.get(name)
        if call is not None and call.tries_used == 1 and call.sent_at == call.started_at:
            self._ends_by.append((call.started_at + call.tries * call.timeout_s, call.listener))

    def _failed(self, call: lane.ClientRequest, error: MDPError) -> None:
        self.site.calls.failed(call.listener, error)
        self._ended(call)

    def _ended(self, call: lane.ClientRequest) -> None:
        del self.calls[call.listener]
        self.site.call_ended(self)

    def kill(self) -> None:
        """End at once, as by SIGKILL."""
        if self.alive:
            self.alive = False
            for request in self.calls:
                self.site.calls.abandoned(request)
            for dealer in self.dealers.values():
                self.site.network.close(dealer)
            self.site.client_ended(self)
