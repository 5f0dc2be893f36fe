"""The client as a state machine that follows each request from `submit` to its answer. Pure.

Majordomo has no request id: a client sends a request on a socket and waits for its answer there.
So each request in flight has a *lane*: a socket with a random routing id, for one request at a
time. After an answer the lane is idle, and the next request uses it. A lane that was given up is
closed, and a late answer to its name reaches nobody; so an answer never gets to another request.

A try without an answer in `timeout_s` is given up, and the request is sent again, up to `tries`
times (Lazy Pirate, ZeroMQ Guide, chapter 4). To notice a loss earlier, one more lane, the probe,
asks the broker each interval (`mmi.broker`) while any request is in flight, and names the lanes.
The answer has the broker's instance id, new after a restart, and the lanes without a request.

call         event                                         next         steps
-----------  --------------------------------------------  -----------  -------------------------
pending      a lane is free: fewer than `lanes` in flight  in flight    Open if none is idle, Send
in flight    PARTIAL                                       in flight    Part (1)
in flight    FINAL                                         over         Done
in flight    FINAL with an error                           over         Failed
in flight    FINAL with error 503: the broker drains       backing off  - (2)
in flight    `timeout_s` is over, a try is left            in flight    Close; Open, Send (3)
in flight    `timeout_s` is over, no try is left           over         Close; Failed
in flight    the broker does not hold it (4)               in flight    Close; Open, Send (2, 3)
in flight    a part of the answer is missing               in flight    Close; Open, Send (2, 3)
backing off  `interval_s` is over                          pending      - (5)
any          `abandon`                                     over         Close if in flight (3)
any          `close`                                       over         Failed; Close if in flight

(1) Only parts that no earlier try has brought.
(2) This does not count as a try. But a call is over `tries` * `timeout_s` after its first try; if
    `interval_s` would end later than that, error 503 is Failed, too.
(3) The probe sends mmi.cancel with the lane's name, so that the broker drops the request.
(4) Believed at once from a new instance, else after `liveness` such answers in a row, because an
    answer may be on its way; each time this happens, twice as many are needed for that call.
(5) At the head. If its time is over before a lane is free: over, Failed.
The probe is closed and opened again when it got no answer for liveness * interval; that doubles,
up to 60 s, while no broker has ever answered it. A broker that does not know mmi.broker is not
asked again.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgpack

from .. import wire
from ..errors import ClientClosed, Draining, MDPError, RequestTimeout, WireError, from_code
from ..settings import ClientSettings
from ..wire import CANCEL, MDP02, Frame, Frames, printable

log = logging.getLogger(__name__)


class ClientRequest:
    """One request. `listener` is for the loop with the sockets; nothing in this file uses it."""

    def __init__(
        self,
        service: bytes,
        body: Sequence[Frame],
        listener: Any,
        *,
        timeout_s: float,
        tries: int,
    ) -> None:
        self.service = service
        self.body = body
        self.listener = listener
        self.timeout_s = timeout_s
        self.tries = tries
        self.lane: bytes | None = None  # None: pending, backing off, or over
        self.tries_used = 0
        self.started_at = math.nan
        self.sent_at = math.nan
        self.due_at = math.inf  # end of this try or, while backing off, start of the next
        self.parts_seen = 0
        self.parts_skipped = 0  # of this try: parts that an earlier try brought
        self.misses = 0  # answers in a row that the broker does not hold it
        self.patience = 0  # how many misses show that it is lost


class OpenLane(NamedTuple):
    """Connect a socket under this name."""

    lane: bytes


class SendOnLane(NamedTuple):
    """Send on that socket."""

    lane: bytes
    frames: Frames


class CloseLane(NamedTuple):
    """Close that socket."""

    lane: bytes


class PartialReply(NamedTuple):
    """A PARTIAL has arrived."""

    call: ClientRequest
    body: Frames


class FinalReply(NamedTuple):
    """The FINAL has arrived: the call is over."""

    call: ClientRequest
    body: Frames


class Failed(NamedTuple):
    """The call has failed with this error: it is over."""

    call: ClientRequest
    error: MDPError


Step = OpenLane | SendOnLane | CloseLane | PartialReply | FinalReply | Failed


class Lanes:
    """All calls of a client. `submit`, `receive`, `tick` and the other methods return steps.

    `new_name` returns a name for a lane: random, hard to guess, and without a zero byte at its
    head.
    """

    def __init__(self, settings: ClientSettings, new_name: Callable[[], bytes]) -> None:
        self.settings = settings
        self.in_flight: dict[bytes, ClientRequest] = {}  # by lane
        self.idle: list[bytes] = []
        self.pending: deque[ClientRequest] = deque()  # they wait for a lane
        self.backing_off: list[ClientRequest] = []  # the broker drains: sent again at `due_at`
        self.instance: str | None = None  # the broker's id; None: not known yet
        self._new_name = new_name
        self._probe: bytes | None = None  # the lane that asks `mmi.broker`
        self._probe_at = -math.inf  # the first call asks at once who the broker is
        self._probe_answered = True
        self._probe_works = True  # a foreign broker may not know `mmi.broker`
        self._probe_wait_s = settings.heartbeats.silence_s

    # Called by the loop that has the sockets.

    def submit(self, call: ClientRequest, now: float) -> list[Step]:
        self.pending.append(call)
        return self._start(now)

    def receive(self, lane: bytes, frames: Frames, now: float) -> list[Step]:
        try:
            answer = wire.parse_answer(frames)
        except WireError as error:
            log.warning("dropped a malformed answer: %s", error)
            return []
        if lane == self._probe:
            return self._on_probe(answer, now)
        call = self.in_flight.get(lane)
        if call is None or answer.service != call.service:
            log.warning("dropped an answer to no request in flight")
            return []
        if answer.number not in (None, call.parts_skipped):
            return self._on_gap(call, now)
        if not answer.final:
            return self._on_part(call, answer)
        return self._on_final(call, answer, now)

    def tick(self, now: float) -> list[Step]:
        out: list[Step] = []
        for call in [call for call in self.in_flight.values() if now >= call.due_at]:
            out += self._on_timeout(call, now)
        again = [call for call in self.backing_off if now >= call.due_at]
        self.backing_off = [call for call in self.backing_off if now < call.due_at]
        self.pending.extendleft(reversed(again))
        out += self._start(now)
        if now >= self._probe_due():
            out += self._send_probe(now)
        return out

    def deadline(self) -> float:
        dues = [call.due_at for call in (*self.in_flight.values(), *self.backing_off)]
        return min(self._probe_due(), *dues) if dues else math.inf

    def abandon(self, call: ClientRequest, now: float) -> list[Step]:
        """Give up a call whose answer nobody wants any more."""
        if call in self.pending:
            self.pending.remove(call)
        elif call in self.backing_off:
            self.backing_off.remove(call)
        elif call.lane is not None:
            return [*self._leave(call), *self._start(now)]
        return []

    def close(self) -> list[Step]:
        """Give up all calls and close all lanes."""
        in_flight = list(self.in_flight.values())
        out = [step for call in in_flight for step in self._leave(call)]
        out += [
            Failed(call, ClientClosed(f"the client was closed before {_name(call)} answered"))
            for call in (*in_flight, *self.backing_off, *self.pending)
        ]
        self.backing_off.clear()
        self.pending.clear()
        out += [CloseLane(lane) for lane in self.idle]
        if self._probe is not None:
            out.append(CloseLane(self._probe))
        return out

    # One call.

    def _start(self, now: float) -> list[Step]:
        out: list[Step] = []
        while self.pending and len(self.in_flight) < self.settings.lanes:
            call = self.pending.popleft()
            if not self.in_flight and self._probe_answered and self.instance is not None:
                self._probe_at = now  # no call was in flight, so no probe was due
            if math.isnan(call.started_at):
                call.started_at = now
                call.patience = self.settings.heartbeats.liveness
            if now < self._give_up_at(call):
                out += self._send(call, now)
            else:  # it backed off, and then no lane was free for too long
                out.append(self._too_late(call, now))
        return out

    def _send(self, call: ClientRequest, now: float, *, fresh: bool = False) -> list[Step]:
        """Start a try, on an idle lane or on a new one."""
        out: list[Step] = []
        if self.idle and not fresh:
            call.lane = self.idle.pop()
        else:
            call.lane = self._new_name()
            out.append(OpenLane(call.lane))
        self.in_flight[call.lane] = call
        call.tries_used += 1
        call.sent_at = now
        call.due_at = min(now + call.timeout_s, self._give_up_at(call))
        call.misses = call.parts_skipped = 0
        out.append(SendOnLane(call.lane, MDP02.request(call.service, call.body)))
        return out

    def _on_part(self, call: ClientRequest, answer: wire.Answer) -> list[Step]:
        if call.parts_skipped < call.parts_seen:
            call.parts_skipped += 1
            return []
        call.parts_seen += 1
        call.parts_skipped += 1
        return [PartialReply(call, answer.body)]

    def _on_final(self, call: ClientRequest, answer: wire.Answer, now: float) -> list[Step]:
        assert call.lane is not None
        del self.in_flight[call.lane]
        self.idle.append(call.lane)
        call.lane = None
        error = wire.as_error(answer.body)
        again_at = now + self.settings.heartbeats.interval_s
        if isinstance(error, Draining) and again_at < self._give_up_at(call):
            call.tries_used -= 1  # the broker did not try it, and another one will start soon
            call.due_at = again_at
            self.backing_off.append(call)
            return self._start(now)
        if error is None:
            return [FinalReply(call, answer.body), *self._start(now)]
        text = f"{_name(call)} answered {error.code} after {_spent(call, now)}: {error}"
        return [Failed(call, from_code(error.code, text)), *self._start(now)]

    def _on_gap(self, call: ClientRequest, now: float) -> list[Step]:
        """Send a call again: its connection broke, and a part of the answer was lost with it."""
        log.warning("%s: a part of the answer was lost; sent again", _name(call))
        out = self._leave(call)
        call.tries_used -= 1
        return out + self._send(call, now, fresh=True)

    def _on_timeout(self, call: ClientRequest, now: float) -> list[Step]:
        out = self._leave(call)
        if call.tries_used < call.tries and now < self._give_up_at(call):
            log.warning("%s did not answer in %.1f s; sent again", _name(call), call.timeout_s)
            return out + self._send(call, now, fresh=True)
        return [*out, self._too_late(call, now)]

    def _too_late(self, call: ClientRequest, now: float) -> Failed:
        silent = "" if self.instance else "; no broker has answered at all"
        text = f"{_name(call)} did not answer within {_spent(call, now)}{silent}"
        return Failed(call, RequestTimeout(text))

    def _give_up_at(self, call: ClientRequest) -> float:
        """Return when the call fails at the latest, however often brokers are restarted."""
        return call.started_at + call.tries * call.timeout_s

    def _leave(self, call: ClientRequest) -> list[Step]:
        """Close the call's lane, and cancel the request that the broker holds for it."""
        assert call.lane is not None
        lane, call.lane = call.lane, None
        del self.in_flight[lane]
        out: list[Step] = [CloseLane(lane)]
        if self._probe is None:
            self._probe = self._new_name()
            out.append(OpenLane(self._probe))
        return [*out, SendOnLane(self._probe, MDP02.request(CANCEL, [lane]))]

    # The probe.

    def _probe_due(self) -> float:
        if not self.in_flight or not self._probe_works:
            return math.inf
        wait_s = self.settings.heartbeats.interval_s if self._probe_answered else self._probe_wait_s
        return self._probe_at + wait_s

    def _send_probe(self, now: float) -> list[Step]:
        """Ask for the broker's instance id, on a new socket if the last request got no answer."""
        out: list[Step] = []
        if self._probe is not None and not self._probe_answered:
            out.append(CloseLane(self._probe))
            self._probe = None
            if self.instance is None:  # it never answered: perhaps a foreign broker that never does
                self._probe_wait_s = min(2 * self._probe_wait_s, 60.0)
        if self._probe is None:
            self._probe = self._new_name()
            out.append(OpenLane(self._probe))
        self._probe_at = now
        self._probe_answered = False
        return [*out, SendOnLane(self._probe, MDP02.request(b"mmi.broker", list(self.in_flight)))]

    def _on_probe(self, answer: wire.Answer, now: float) -> list[Step]:
        if answer.service != b"mmi.broker":
            return []  # the answer to mmi.cancel
        self._probe_answered = True
        try:
            _, packed = answer.body
            report = msgpack.unpackb(bytes(packed))  # type: ignore[call-overload]
            instance, lost = str(report["instance"]), set(report["lost"])
        except (ValueError, TypeError, KeyError, msgpack.UnpackException):
            if self.instance is None:
                log.info("the broker does not know mmi.broker: only timeouts show its restarts")
                self._probe_works = False
            return []
        restarted = self.instance not in (None, instance)
        self.instance = instance
        self._probe_wait_s = self.settings.heartbeats.silence_s
        if restarted:
            log.warning("the broker was restarted; %d requests are sent again", len(lost))
        out: list[Step] = []
        for call in [call for call in self.in_flight.values() if call.sent_at <= self._probe_at]:
            out += self._check_loss(call, call.lane in lost, restarted, now)
        return out

    def _check_loss(
        self, call: ClientRequest, missed: bool, restarted: bool, now: float
    ) -> list[Step]:
        """Send a call again if the broker does not hold it.

        Its answer may be on the way, so the same broker must say so `patience` times in a row.
        """
        call.misses = call.misses + 1 if missed else 0
        is_lost = restarted or call.misses >= call.patience
        if not (missed and is_lost and now < call.due_at):
            return []
        if not restarted:
            call.patience *= 2
            log.warning("%s: the request, or its answer, was lost; sent again", _name(call))
        out = self._leave(call)
        call.tries_used -= 1  # the request or its answer was lost: not a try
        return out + self._send(call, now, fresh=True)


def _name(call: ClientRequest) -> str:
    return printable(call.service)


def _spent(call: ClientRequest, now: float) -> str:
    return f"{now - call.started_at:.1f} s (try {call.tries_used} of {call.tries})"
