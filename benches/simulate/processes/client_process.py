"""One life of a client on simulated time, driven as `mdp.client.client_loop` does."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from mdp.client import lane
from mdp.errors import MDPError
from mdp.wire import Frames

from .. import cores
from ..calls import Violation
from ..connections import Connection, Dealer
from ..readable import readable
from .process import Process, Surroundings


class ClientProcess(Process[lane.Lanes]):
    """One life of a client, which keeps a number of requests in flight until it has asked all."""

    def __init__(self, site: Surroundings, name: str, place: int, *, interactive: bool) -> None:
        super().__init__(site, name, place)
        settings = site.settings.client
        self.core = cores.new_lanes(settings, site.names, interactive=interactive)
        self.interactive = interactive
        self.dealers: dict[bytes, Dealer] = {}
        self.calls: dict[int, lane.ClientRequest] = {}  # open ones, by request
        self._ends_by: deque[tuple[float, int]] = deque()  # on this process's clock
        self._unread: dict[bytes, list[tuple[Connection, Frames]]] = {}  # by lane whose reader lags

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
        dealer = connection.dealer
        if dealer.name in self._unread:
            self._unread[dealer.name].append((connection, frames))
            return
        connection.unread -= 1
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
            self._want_time(*ends_by.popleft())

    def _want_time(self, end_at: float, request: int) -> None:
        """Check a call whose time seems to be over: it stands still while the reader lags."""
        call = self.calls[request]
        end_at = call.started_at + call.tries * call.timeout_s
        if call.paused_at is None and end_at < self.now():
            raise Violation(f"{self.name}: request {request} has not ended by its last deadline")
        self._ends_by.append((max(end_at, self.now() + 1.0), request))

    def carry_out(self, steps: Sequence[lane.Step]) -> None:
        network = self.site.network
        for step in steps:
            if self.timeline.traced:
                self.note(readable(step, self.site.name_of))
            if isinstance(step, lane.SendOnLane):
                self._watch_start(step.lane)
                if step.lane in self.dealers:  # else it could not be opened
                    network.send_up(self.dealers[step.lane], step.frames)
            elif isinstance(step, lane.FinalReply):
                self.site.calls.answered(step.call.listener, step.body)
                self._ended(step.call)
            elif isinstance(step, lane.PartialReply):
                self.site.calls.part(step.call.listener, step.body)
                self._lag(step.call)
            elif isinstance(step, lane.Failed):
                self.site.calls.failed(step.call.listener, step.error)
                self._ended(step.call)
            elif isinstance(step, lane.OpenLane):
                self._open(step.lane)
            elif isinstance(step, lane.CloseLane):
                self._close(step.lane)

    # Readers of parts that lag: their lane is not read, so the broker may find it unreachable.

    def _lag(self, call: lane.ClientRequest) -> None:
        lag_s = self.site.lag_s(call.listener)
        if lag_s and call.lane is not None:
            self.core.pause(call, self.now())
            self._unread[call.lane] = []
            self.timeline.after(lag_s, self.take, self._catch_up, call, call.lane)

    def _catch_up(self, call: lane.ClientRequest, name: bytes) -> None:
        unread = self._unread.pop(name, None)
        if unread is None:
            return  # the lane was closed
        self.core.resume(call, self.now())
        for connection, frames in unread:
            self._receive(connection, frames)

    def _close(self, name: bytes) -> None:
        self._unread.pop(name, None)
        dealer = self.dealers.pop(name, None)
        if dealer is not None:
            self.site.network.close(dealer)

    def _open(self, name: bytes) -> None:
        if self.site.has_no_descriptors(self):
            self.carry_out(self.core.lane_failed(name, MDPError("no descriptors"), self.now()))
            return
        self.dealers[name] = self.site.network.open(name, self.place, self)
        if self.timeline.traced:
            self.site.named(name, f"{self.name}'s lane {name.hex()[-4:]}")
        if len(self.dealers) > self.core.settings.lanes + 2:
            raise Violation(f"{self.name} has {len(self.dealers)} sockets open")

    def _watch_start(self, name: bytes) -> None:
        call = self.core.in_flight.get(name)
        if call is not None and call.tries_used == 1 and call.sent_at == call.started_at:
            self._ends_by.append((call.started_at + call.tries * call.timeout_s, call.listener))

    def _ended(self, call: lane.ClientRequest) -> None:
        del self.calls[call.listener]
        self.site.call_ended(self)

    def stop(self) -> None:
        """Close the client: its calls fail, and no answer may come any more."""
        self.take(self._stop)

    def _stop(self) -> None:
        for request in self.calls:
            self.site.calls.closing(request)
        self.carry_out(self.core.close())
        if self.calls or self.dealers:
            raise Violation(f"{self.name} was closed: {len(self.dealers)} sockets are left")
        self.kill()

    def kill(self, *, silently: bool = False) -> None:
        """End at once, as by SIGKILL; `silently`: with the machine, so that nobody is told."""
        if self.alive:
            self.alive = False
            for request in self.calls:
                self.site.calls.abandoned(request)
            for dealer in self.dealers.values():
                self.site.network.close(dealer, silently=silently)
            self.site.ended(self)
