"""Run a client's sockets (`lane`) in one thread; other threads pass requests to it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ClientClosed, MDPError
from ..sockets import Dealer, Poll, Wakeup, as_bytes, clock, new_context, target
from . import lane


class ClientLoop(threading.Thread):
    """The client's thread: it calls the listeners' `on_part`, `on_done` and `on_failed`."""

    def __init__(self, broker: str, lanes: lane.Lanes) -> None:
        super().__init__(name=f"mdp client of {broker}", daemon=True)
        self._target = target(broker)
        self._lanes = lanes
        # more than lanes, because closed sockets linger
        self._context = new_context(max_sockets=4 * lanes.settings.lanes + 64)
        self._check()
        self._wakeup = Wakeup()
        self._poll = Poll(self._wakeup)
        self._inbox: deque[
            tuple[Callable[[lane.ClientRequest, float], list[lane.Step]], lane.ClientRequest]
        ] = deque()
        self._closing = False
        self._lock = threading.Lock()  # nothing is put into the inbox after `_closing` is set
        self._dealers: dict[bytes, Dealer] = {}
        self._names: dict[Any, bytes] = {}  # by handle

    def _check(self) -> None:
        """Raise an error, in the caller's thread, if libzmq refuses the address."""
        try:
            self._dealer(new_lane_name(), linger_s=0).close()
        except MDPError:
            self._context.term()
            raise

    def submit(self, call: lane.ClientRequest) -> None:
        """Start a call. Raises `ClientClosed` if the client is closed."""
        if not self._post(self._lanes.submit, call):
            raise ClientClosed("the client was closed before the request")

    def abandon(self, call: lane.ClientRequest) -> None:
        self._post(self._lanes.abandon, call)

    def close(self) -> None:
        """Give up the calls in flight, and end the thread."""
        with self._lock:
            self._closing = True
        self._wakeup.wake()
        if threading.current_thread() is not self:
            self.join()

    def _post(
        self, verb: Callable[[lane.ClientRequest, float], list[lane.Step]], call: lane.ClientRequest
    ) -> bool:
        with self._lock:
            if self._closing:
                return False
            self._inbox.append((verb, call))
        self._wakeup.wake()
        return True

    def run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        finally:
            with self._lock:
                self._closing = True
            self._take_inbox()  # `close` fails the calls that came last, too
            self._carry_out(self._lanes.close())
            self._context.term()
            self._wakeup.close()

    def _turn(self) -> None:
        ready = self._poll.wait(self._lanes.deadline())
        self._wakeup.clear()
        self._take_inbox()
        for handle in ready:
            if handle in self._names:
                self._receive(self._names[handle])
        self._carry_out(self._lanes.tick(clock()))

    def _take_inbox(self) -> None:
        while self._inbox:
            verb, call = self._inbox.popleft()
            self._carry_out(verb(call, clock()))

    def _receive(self, name: bytes) -> None:
        while name in self._dealers:  # an answer may close the lane
            frames = self._dealers[name].receive()
            if frames is None:
                return
            self._carry_out(self._lanes.receive(name, frames, clock()))

    def _carry_out(self, steps: Sequence[lane.Step]) -> None:
        for step in steps:
            match step:
                case lane.SendOnLane(name, frames):
                    self._dealers[name].send(frames)
                case lane.PartialReply(call, body):
                    call.listener.on_part(as_bytes(body))
                case lane.FinalReply(call, body):
                    call.listener.on_done(as_bytes(body))
                case lane.Failed(call, error):
                    call.listener.on_failed(error)
                case lane.OpenLane(name):
                    self._open(name)
                case lane.CloseLane(name):
                    self._close(name)

    def _open(self, name: bytes) -> None:
        dealer = self._dealers[name] = self._dealer(name, linger_s=0.2)
        self._names[dealer.handle()] = name
        self._poll.add(dealer.handle())

    def _dealer(self, name: bytes, *, linger_s: float) -> Dealer:
        heartbeats = self._lanes.settings.heartbeats
        return Dealer(
            self._context, self._target, name=name, linger_s=linger_s, heartbeats=heartbeats
        )

    def _close(self, name: bytes) -> None:
        dealer = self._dealers.pop(name, None)
        if dealer is None:
            return  # the socket could not be opened
        del self._names[dealer.handle()]
        self._poll.drop(dealer.handle())
        dealer.close()


def new_lane_name() -> bytes:
    """Return a random name that nobody can guess, and that does not begin with a zero byte.

    Names that begin with a zero byte are those that a ROUTER socket chooses itself.
    """
    return b"L" + os.urandom(15)
