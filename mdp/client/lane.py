"""The client as a state machine that follows each request from `submit` to its answer. Pure.

Majordomo has no request id: a client sends a request on a socket and waits for its answer there.
So each request in flight has a *lane*: a socket with a random routing id, for one request at a
time. After an answer the lane is idle, and the next request uses it. A lane that was given up is
closed, and a late answer to its name reaches nobody; so an answer never gets to another request.
The lane of a call whose parts are read one by one is used for no other call.

A try without an answer in `timeout_s` is given up, and the request is sent again, up to `tries`
times (Lazy Pirate, ZeroMQ Guide, chapter 4). To notice a loss earlier, one more lane, the probe
(`probe`), asks the broker each interval while any request is in flight, and names the lanes. The
answer has the broker's instance id, new after a restart, and the lanes without a request.

call         event                                         next         steps
-----------  --------------------------------------------  -----------  -------------------------
new          it is larger than the broker takes            over         Failed (413)
new          otherwise                                     pending      -
pending      a lane is free: fewer than `lanes` in flight  in flight    Open if none is idle, Send
in flight    PARTIAL                                       in flight    Part (1)
in flight    FINAL                                         over         Done
in flight    FINAL with an error                           over         Failed
in flight    FINAL with error 503: the broker drains       backing off  - (2)
in flight    `timeout_s` is over, a try is left            pending (5)  Close (3)
in flight    `timeout_s` is over, no try is left           over         Close; Failed
in flight    the broker does not hold it (4)               pending (5)  Close (2, 3)
in flight    a part of the answer is missing               pending (5)  Close (2, 3)
in flight    the broker takes no request so large          over         Close; Failed (413)
in flight    its socket cannot be opened or used           over         Close; Failed
backing off  `interval_s` is over                          pending      - (5)
any          `abandon`                                     over         Close if in flight (3)
any          `close`                                       over         Failed; Close if in flight

(1) Only parts that no earlier try has brought.
(2) This does not count as a try. But a call is over `tries` * `timeout_s` after its first try; if
    `interval_s` would end later than that, the error is Failed, too.
(3) The probe sends mmi.cancel with the lane's name, so that the broker drops the request.
(4) Believed at once from a new instance, unless the request was sent just before the question; else
    after `liveness` such answers in a row, because an answer may be on its way; each time this
    happens, twice as many are needed for that call, until a part arrives. Not believed while the
    reader of the parts lags (`pause`): what was sent may wait in the sockets, and the time of the
    call stands still.
(5) At the head, and sent at once on a new lane, unless too many sockets are closing. Its time goes
    on; if it is over before a lane is free: over, Failed.

A closed socket is freed by another thread of libzmq, a moment later. So a lane that was given up
counts as a socket for `_CLOSING_S` more, and calls wait (pending) while there are too many sockets:
however fast calls are cancelled, the process does not run out of sockets or open files.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict, deque
from collections.abc import Callable

from .. import wire
from ..broker.throttle import Throttle
from ..errors import (
    ClientClosed,
    Draining,
    MDPError,
    RequestTimeout,
    TooLarge,
    WireError,
    from_code,
)
from ..settings import ClientSettings
from ..wire import MDP02, Frames
from .deadlines import Deadlines
from .probe import Probe
from .steps import (
    ClientRequest,
    CloseLane,
    Failed,
    FinalReply,
    OpenLane,
    PartialReply,
    SendOnLane,
    Step,
)

__all__ = [
    "ClientRequest",
    "CloseLane",
    "Failed",
    "FinalReply",
    "Lanes",
    "OpenLane",
    "PartialReply",
    "SendOnLane",
    "Step",
]

log = logging.getLogger(__name__)

_CLOSING_S = 0.1
_OVERTAKING = 0.1  # heartbeat intervals: a question may overtake a request on another connection


def sockets_for(lanes: int) -> int:
    """Return how many sockets a client wants for so many requests in flight."""
    return 2 * lanes + 64


def _no_jitter() -> float:
    return 0.0


class Lanes:
    """All calls of a client. `submit`, `receive`, `tick` and the other methods return steps.

    new_name: returns a name for a lane: random, hard to guess, and without a zero byte at its
    head. random: returns a number from 0 to below 1. sockets: the most sockets at a time; if they
    are too few for `lanes`, fewer requests are in flight at a time.
    """

    def __init__(
        self,
        settings: ClientSettings,
        new_name: Callable[[], bytes],
        *,
        random: Callable[[], float] = _no_jitter,
        sockets: int | None = None,
    ) -> None:
        self.settings = settings
        self.sockets = sockets_for(settings.lanes) if sockets is None else sockets
        self.most_in_flight = max(1, min(settings.lanes, self.sockets * 3 // 4))
        self.in_flight: dict[bytes, ClientRequest] = {}  # by lane
        self.idle: list[bytes] = []
        self.pending: OrderedDict[ClientRequest, None] = OrderedDict()  # they wait for a lane
        self.backing_off: dict[ClientRequest, None] = {}  # sent again at `due_at`
        self.new_name = new_name
        self._probe = Probe(settings, new_name, random)
        self._log = Throttle(log)
        self._closing: deque[float] = deque()  # when the sockets of closed lanes are freed
        self._deadlines: Deadlines[ClientRequest] = Deadlines()

    @property
    def instance(self) -> str | None:
        """The broker's id; None if it is not known yet."""
        return self._probe.instance

    @property
    def probe_lane(self) -> bytes | None:
        """The name of the lane that asks `mmi.broker`."""
        return self._probe.lane

    # Called by the loop that has the sockets.

    def submit(self, call: ClientRequest, now: float) -> list[Step]:
        if self._is_too_large(call) and self._probe.knows_limit(now):
            return [self._too_large(call)]
        self.pending[call] = None
        return self._start(now)

    def receive(self, lane: bytes, frames: Frames, now: float) -> list[Step]:
        try:
            answer = wire.parse_answer(frames)
        except WireError as error:
            self._log.warning(now, "dropped a malformed answer: %s", error)
            return []
        if lane == self._probe.lane:
            return self._on_probe(answer, now)
        call = self.in_flight.get(lane)
        if call is None or answer.service != call.service:
            self._log.warning(now, "dropped an answer to no request in flight")
            return []
        self._probe.others_answered()
        if answer.number not in (None, call.parts_skipped):
            return self._on_gap(call, now)
        if not answer.final:
            return self._on_part(call, answer)
        return self._on_final(call, answer, now)

    def tick(self, now: float) -> list[Step]:
        out: list[Step] = []
        again: list[ClientRequest] = []
        for call in self._deadlines.pop_due(now):
            if call in self.backing_off:
                del self.backing_off[call]
                again.append(call)
            elif call in self.pending:
                del self.pending[call]
                out.append(self._too_late(call, now))
            else:
                out += self._on_timeout(call, now)
        for call in reversed(again):
            if now < self._give_up_at(call):
                self._put_first(call)
            else:
                out.append(self._too_late(call, now))
        out += self._start(now)
        if now >= self._probe_due():
            out += self._probe.ask(self.in_flight, now)
        return out

    def deadline(self) -> float:
        freed_at = math.inf
        if self.pending and self._closing and len(self.in_flight) < self.most_in_flight:
            freed_at = self._closing[0]
        return min(self._probe_due(), self._deadlines.next(), freed_at)

    def abandon(self, call: ClientRequest, now: float) -> list[Step]:
        """Give up a call whose answer nobody wants any more."""
        if call.lane is not None:
            return [*self._leave(call, now), *self._start(now)]
        self.pending.pop(call, None)
        self.backing_off.pop(call, None)
        self._deadlines.drop(call)
        return []

    def lane_failed(self, lane: bytes, error: MDPError, now: float) -> list[Step]:
        """Fail the call of a socket that could not be opened or used; the others go on."""
        if lane == self._probe.lane:
            return self._probe.failed(error, now)
        call = self.in_flight.get(lane)
        if call is None:
            if lane in self.idle:
                self.idle.remove(lane)
                self._closing.append(now + _CLOSING_S)
            return [CloseLane(lane)]
        out = self._close_lane(call, now)
        text = f"the request to {call.text} could not be sent: {error}"
        return [*out, Failed(call, MDPError(text)), *self._start(now)]

    def pause(self, call: ClientRequest, now: float) -> None:
        """Let the time of a call stand still, because the reader of its parts lags."""
        if call.lane is not None and call.paused_at is None:
            call.paused_at = now
            self._deadlines.drop(call)

    def resume(self, call: ClientRequest, now: float) -> None:
        """Let the time of a call go on."""
        if call.lane is None or call.paused_at is None:
            return
        paused_s, call.paused_at = now - call.paused_at, None
        call.started_at += paused_s
        call.due_at += paused_s
        self._deadlines.set(call, call.due_at)

    def close(self) -> list[Step]:
        """Give up all calls and close all lanes."""
        in_flight = list(self.in_flight.values())
        out: list[Step] = []
        for call in in_flight:
            assert call.lane is not None
            out.append(CloseLane(call.lane))
            if self._probe.lane is not None:  # without it, the lease of the client will end
                out += self._probe.cancel(call.lane)
            call.lane = None
        out += [
            Failed(call, ClientClosed(f"the client was closed before {call.text} answered"))
            for call in (*in_flight, *self.backing_off, *self.pending)
        ]
        self.in_flight.clear()
        self.backing_off.clear()
        self.pending.clear()
        out += [CloseLane(lane) for lane in self.idle]
        self.idle.clear()
        return [*out, *self._probe.close()]

    # One call.

    def _start(self, now: float) -> list[Step]:
        out: list[Step] = []
        while self.pending and len(self.in_flight) < self.most_in_flight:
            call = next(iter(self.pending))
            needs_new = call.needs_fresh_lane or not self.idle
            if needs_new and not self._may_open(now):
                break
            del self.pending[call]
            self._deadlines.drop(call)
            if not self.in_flight and not self._is_too_large(call):
                self._probe.rested(now)
            if math.isnan(call.started_at):
                call.started_at = now
                call.patience = self.settings.heartbeats.liveness
            if self._is_too_large(call) and self._probe.knows_limit(now):
                out.append(self._too_large(call))
            elif now < self._give_up_at(call):
                out += self._send(call, now)
            else:
                out.append(self._too_late(call, now))
        return out

    def _may_open(self, now: float) -> bool:
        while self._closing and self._closing[0] <= now:
            self._closing.popleft()
        return len(self.in_flight) + len(self.idle) + len(self._closing) < self.sockets

    def _send(self, call: ClientRequest, now: float) -> list[Step]:
        """Start a try, on an idle lane or on a new one."""
        out: list[Step] = []
        if self.idle and not call.needs_fresh_lane:
            call.lane = self.idle.pop()
        else:
            if self.idle and len(self.in_flight) + len(self.idle) >= self.most_in_flight:
                out.append(CloseLane(self.idle.pop(0)))
                self._closing.append(now + _CLOSING_S)
            call.lane = self.new_name()
            out.append(OpenLane(call.lane))
        self.in_flight[call.lane] = call
        call.needs_fresh_lane = call.streams
        call.tries_used += 1
        call.sent_at = now
        call.due_at = min(now + call.timeout_s, self._give_up_at(call))
        call.misses = call.parts_skipped = 0
        self._deadlines.set(call, call.due_at)
        out.append(SendOnLane(call.lane, MDP02.request(call.service, call.body)))
        return out

    def _on_part(self, call: ClientRequest, answer: wire.Answer) -> list[Step]:
        call.misses = 0  # the broker may have sent the rest already
        if call.parts_skipped < call.parts_seen:
            call.parts_skipped += 1
            return []
        call.parts_seen += 1
        call.parts_skipped += 1
        call.patience = self.settings.heartbeats.liveness
        return [PartialReply(call, answer.body)]

    def _on_final(self, call: ClientRequest, answer: wire.Answer, now: float) -> list[Step]:
        error = wire.as_error(answer.body)
        out: list[Step] = []
        if call.streams:
            out += self._close_lane(call, now)
        else:
            assert call.lane is not None
            self.idle.append(call.lane)
            self._let_go(call)
        if isinstance(error, Draining) and self._back_off(call, now):
            return out + self._start(now)  # the broker did not try it; another one will start soon
        if error is None:
            return [*out, FinalReply(call, answer.body), *self._start(now)]
        return [*out, self._answered(call, error, now), *self._start(now)]

    def _back_off(self, call: ClientRequest, now: float) -> bool:
        """Have it sent again after an interval; False if its time is over then."""
        again_at = now + self.settings.heartbeats.interval_s
        if again_at >= self._give_up_at(call):
            return False
        call.tries_used -= 1
        call.due_at = again_at
        self.backing_off[call] = None
        self._deadlines.set(call, again_at)
        return True

    def _on_gap(self, call: ClientRequest, now: float) -> list[Step]:
        """Send a call again: its connection broke, and a part of the answer was lost with it."""
        line = "%s: a part of the answer was lost; sent again"
        self._log.warning(now, line, call.text)
        out = self._leave(call, now)
        call.tries_used -= 1
        return out + self._send_again(call, now)

    def _on_timeout(self, call: ClientRequest, now: float) -> list[Step]:
        out = self._leave(call, now)
        if call.tries_used < call.tries and now < self._give_up_at(call):
            line = "%s did not answer in %g s; sent again"
            self._log.warning(now, line, call.text, call.timeout_s)
            return out + self._send_again(call, now)
        return [*out, self._too_late(call, now)]

    def _send_again(self, call: ClientRequest, now: float) -> list[Step]:
        call.needs_fresh_lane = True
        if self._may_open(now):
            return self._send(call, now)
        self._put_first(call)
        return []

    def _put_first(self, call: ClientRequest) -> None:
        """Let a call that was sent before wait for a lane; its time goes on."""
        self.pending[call] = None
        self.pending.move_to_end(call, last=False)
        self._deadlines.set(call, self._give_up_at(call))

    def _answered(self, call: ClientRequest, error: MDPError, now: float) -> Failed:
        text = f"{call.text} answered {error.code} after {call.spent(now)}: {error}"
        return Failed(call, from_code(error.code, text))

    def _too_late(self, call: ClientRequest, now: float) -> Failed:
        silent = "" if self.instance else "; no broker has answered at all"
        text = f"{call.text} did not answer within {call.spent(now)}{silent}"
        return Failed(call, RequestTimeout(text))

    def _is_too_large(self, call: ClientRequest) -> bool:
        return call.body_bytes > self._probe.limit.max_bytes

    def _too_large(self, call: ClientRequest) -> Failed:
        max_bytes, option = self._probe.limit
        text = (
            f"the request to {call.text} has {call.body_bytes} bytes, but the broker takes at"
            f" most {max_bytes} ({option} of `mdp broker`)"
        )
        return Failed(call, TooLarge(text))

    def _give_up_at(self, call: ClientRequest) -> float:
        """Return when the call fails at the latest, however often brokers are restarted."""
        return call.started_at + call.tries * call.timeout_s

    def _leave(self, call: ClientRequest, now: float) -> list[Step]:
        """Close the call's lane, and cancel the request that the broker holds for it."""
        assert call.lane is not None
        lane = call.lane
        return [*self._close_lane(call, now), *self._probe.cancel(lane)]

    def _close_lane(self, call: ClientRequest, now: float) -> list[Step]:
        assert call.lane is not None
        lane = call.lane
        self._let_go(call)
        self._closing.append(now + _CLOSING_S)
        return [CloseLane(lane)]

    def _close_idle(self, now: float) -> list[Step]:
        """Close the idle lanes: the connections of all lanes may be dead."""
        out: list[Step] = [CloseLane(lane) for lane in self.idle]
        self._closing.extend([now + _CLOSING_S] * len(self.idle))
        self.idle.clear()
        return out

    def _let_go(self, call: ClientRequest) -> None:
        """Take the call out of its lane."""
        assert call.lane is not None
        del self.in_flight[call.lane]
        call.lane = call.paused_at = None
        self._deadlines.drop(call)

    # The probe.

    def _probe_due(self) -> float:
        return self._probe.due_at if self.in_flight else math.inf

    def _on_probe(self, answer: wire.Answer, now: float) -> list[Step]:
        report = self._probe.receive(answer, now)
        if report is None:
            return []
        if report.is_restarted:
            line = "the broker was restarted; %d requests are sent again"
            self._log.warning(now, line, len(report.lost & self.in_flight.keys()))
        out: list[Step] = []
        overtaken_at = self._probe.asked_at - _OVERTAKING * self.settings.heartbeats.interval_s
        for call in list(self.in_flight.values()):
            if self._is_too_large(call):
                out += [*self._leave(call, now), self._too_large(call)]
            elif call.sent_at <= self._probe.asked_at and call.paused_at is None:
                is_missed = call.lane in report.lost
                is_restarted = report.is_restarted and call.sent_at <= overtaken_at
                out += self._check_loss(call, is_missed, is_restarted, now)
        return out + self._start(now)

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
            line = "%s: the request, or its answer, was lost; sent again"
            self._log.warning(now, line, call.text)
        out = [*self._leave(call, now), *self._close_idle(now)]
        call.tries_used -= 1  # the request or its answer was lost: not a try
        return out + self._send_again(call, now)
