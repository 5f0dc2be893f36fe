"""A client that is not ours: MDP/0.1, one socket, no heartbeats, no lease. It asks one by one."""

from __future__ import annotations

import math

from mdp import wire
from mdp.errors import MDPError, RequestTimeout
from mdp.wire import MDP01, Frames

from ..calls import Violation
from ..connections import Connection, Dealer
from .process import Process, Surroundings

_HEAD = list(MDP01.client_prefix)


class Timer:
    """What a Lazy Pirate has for a core: one instant."""

    def __init__(self) -> None:
        self.due_at = math.inf

    def deadline(self) -> float:
        return self.due_at


class ForeignClient(Process[Timer]):
    """Asks on one socket; without an answer in time, asks again on a new one (Lazy Pirate)."""

    def __init__(
        self, site: Surroundings, name: str, place: int, *, timeout_s: float, tries: int
    ) -> None:
        super().__init__(site, name, place)
        self.core = Timer()
        self.request: int | None = None
        self._service = b""
        self._timeout_s = timeout_s
        self._tries = tries
        self._left = 0
        self._dealer: Dealer | None = None

    def submit(self, request: int, service: bytes) -> None:
        """Ask; there must be no open request."""
        assert self.request is None
        self.request, self._service, self._left = request, service, self._tries
        self.site.calls.submitted(request)
        self.take(self._send)

    def _send(self) -> None:
        assert self.request is not None
        if self._dealer is None:
            # a ROUTER gives a peer without a name one that begins with a zero byte
            name = b"\0" + self.site.names.randbytes(4)
            self.site.named(name, self.name)
            self._dealer = self.site.network.open(name, self.place, self)
        self._left -= 1
        self.core.due_at = self.now() + self._timeout_s
        frames = MDP01.request(self._service, self.site.body(self.request))
        self.site.network.send_up(self._dealer, frames)
        if self.timeline.traced:
            self.note(f"asks for request {self.request}")

    def tick(self) -> None:
        if self.now() < self.core.due_at:
            return
        self._close()
        if self._left:
            self._send()
        else:
            self._end(RequestTimeout("no answer"))

    def arrived(self, connection: Connection, frames: Frames) -> None:
        self.take(self._receive, connection, frames)

    def _receive(self, connection: Connection, frames: Frames) -> None:
        connection.unread -= 1
        if connection.dealer is not self._dealer or self.request is None:
            return
        if frames[: len(_HEAD) + 1] != [*_HEAD, self._service]:
            raise Violation(f"{self.name} got {frames[:3]}")
        body = frames[len(_HEAD) + 1 :]
        error = wire.as_error(body)
        if error is not None:
            self._end(error)
            return
        while body[:1] == [b"part"]:  # all parts are in one reply
            self.site.calls.part(self.request, body[:3])
            body = body[3:]
        self.site.calls.answered(self.request, body)
        self._end(None)

    def _end(self, error: MDPError | None) -> None:
        assert self.request is not None
        if error is not None:
            self.site.calls.failed(self.request, error)
            self._close()
        self.request, self.core.due_at = None, math.inf
        self.site.call_ended(self)

    def _close(self) -> None:
        if self._dealer is not None:
            self.site.network.close(self._dealer)
            self._dealer = None

    def disconnected(self, dealer: Dealer) -> None:
        """Do nothing: it does not know."""
