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
in flight    FINAL with error 404, and the client `waits`  backing off  - (2)
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

With a contact file (`locate`) the client follows its broker. The probe reads the file at each new
lane of its own, so after each silence; requests stay pending until the broker with the id in the
file has answered the probe. A new lane first asks `mmi.broker`, too, and sends its request when the
right broker has answered there; its socket does not connect again. So no request gets to another
broker that has been given the same address. If the broker drains, the file is read, too: if it
names another broker, the client moves to that one. The requests that workers of the old one hold
stay in their lanes for `_LEAVING_S`, since the old broker still answers them.

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
    NotServed,
    RequestTimeout,
    TooLarge,
    WireError,
    from_code,
)
from ..settings import ClientSettings
from ..sockets.addresses import Place
from ..wire import MDP02, Frames
from .deadlines import Deadlines
from .patience import EVERY_S, Patience
from .probe import Probe, Report, Stranger, unpacked
from .steps import (
    ClientRequest,
    CloseLane,
    Failed,
    FinalReply,
    Met,
    OpenLane,
    PartialReply,
    Paused,
    SendOnLane,
    Silent,
    Step,
)

__all__ = [
    "ClientRequest",
    "CloseLane",
    "Failed",
    "FinalReply",
    "Lanes",
    "Met",
    "OpenLane",
    "PartialReply",
    "Paused",
    "SendOnLane",
    "Silent",
    "Step",
]

log = logging.getLogger(__name__)

_CLOSING_S = 0.1
_LEAVING_S = 60.0  # as long as a broker drains, by default
_LOOK_S = 1.0  # between two looks for what is waited for
_BROKER = "\0broker"  # not the name of a service
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
    are too few for `lanes`, fewer requests are in flight at a time. locate: reads the contact file,
    and returns the place of the broker or raises `MDPError`; None: its address never changes.
    who: the frame that tells the broker where this client runs.
    """

    def __init__(
        self,
        settings: ClientSettings,
        new_name: Callable[[], bytes],
        *,
        random: Callable[[], float] = _no_jitter,
        sockets: int | None = None,
        locate: Callable[[], Place] | None = None,
        who: bytes = b"",
    ) -> None:
        self.settings = settings
        self.place: Place | None = None  # as the contact file has it, or had it last
        self.sockets = sockets_for(settings.lanes) if sockets is None else sockets
        self.most_in_flight = max(1, min(settings.lanes, self.sockets * 3 // 4))
        self.in_flight: dict[bytes, ClientRequest] = {}  # by lane
        self.idle: list[bytes] = []
        self.pending: OrderedDict[ClientRequest, None] = OrderedDict()  # they wait for a lane
        self.backing_off: dict[ClientRequest, None] = {}  # sent again at `due_at`
        self.new_name = new_name
        self._probe = Probe(settings, new_name, random, who)
        self._log = Throttle(log)
        self._closing: deque[float] = deque()  # when the sockets of closed lanes are freed
        self._deadlines: Deadlines[ClientRequest] = Deadlines()
        self._locate = locate
        self._may_send = locate is None  # False: no broker, or not the one of the contact file
        self._why = ""  # the broker of the contact file cannot be asked
        self.why_silent = ""
        """Why no broker has answered; the loop sets it when it has looked."""
        self._located_at = -math.inf
        self._patience = Patience()
        self._unserved: dict[str, float] = {}  # services without workers; since when it waits
        self._paused: dict[str, float] = {}  # services that are paused; when the log names them
        self._reported_at = -math.inf  # the latest answer of the probe
        self._heard_at = -math.inf  # a message of the broker
        self._wanted_since = -math.inf  # some call is not over
        self._look_at = -math.inf if settings.waits else math.inf

    @property
    def instance(self) -> str | None:
        """The broker's id; None if it is not known yet."""
        return self._probe.instance

    @property
    def probe_lane(self) -> bytes | None:
        """The name of the lane that asks `mmi.broker`."""
        return self._probe.lane

    def tell_progress(self, frame: bytes) -> None:
        """Let the next heartbeats say how far the client's work is. Any thread may call it."""
        self._probe.progress = frame

    # Called by the loop that has the sockets.

    def submit(self, call: ClientRequest, now: float) -> list[Step]:
        if self._is_too_large(call) and self._probe.knows_limit(now):
            return [self._too_large(call)]
        if not (self.in_flight or self.pending or self.backing_off):
            self._wanted_since = now
        self.pending[call] = None
        if not self._may_send:
            if math.isnan(call.started_at):
                self._begin(call, now)
            self._deadlines.set(call, self._give_up_at(call))
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
        if call is None:
            self._log.warning(now, "dropped an answer to no request in flight")
            return []
        if call.is_checking:
            return self._on_check(call, answer, now)
        if answer.service != call.service:
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
            out += self._ask(now)
        if now >= self._look_at:
            out += self._name_what_is_missing(now)
        return out

    def deadline(self) -> float:
        freed_at = math.inf
        if self.pending and self._closing and len(self.in_flight) < self.most_in_flight:
            freed_at = self._closing[0]
        if self.settings.waits and (self.in_flight or self.pending or self.backing_off):
            freed_at = min(freed_at, self._look_at)
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
        while self.pending and self._may_send and len(self.in_flight) < self.most_in_flight:
            call = next(iter(self.pending))
            needs_new = call.needs_fresh_lane or not self.idle
            if needs_new and not self._may_open(now):
                break
            del self.pending[call]
            self._deadlines.drop(call)
            if not self.in_flight and not self._is_too_large(call):
                self._probe.rested(now)
            if math.isnan(call.started_at):
                self._begin(call, now)
            if self._is_too_large(call) and self._probe.knows_limit(now):
                out.append(self._too_large(call))
            elif now < self._give_up_at(call):
                out += self._send(call, now)
            else:
                out.append(self._too_late(call, now))
        return out

    def _begin(self, call: ClientRequest, now: float) -> None:
        call.started_at = now
        call.patience = self.settings.heartbeats.liveness

    def _may_open(self, now: float) -> bool:
        while self._closing and self._closing[0] <= now:
            self._closing.popleft()
        return len(self.in_flight) + len(self.idle) + len(self._closing) < self.sockets

    def _send(self, call: ClientRequest, now: float) -> list[Step]:
        """Start a try, on an idle lane or on a new one."""
        out: list[Step] = []
        if self.idle and not call.needs_fresh_lane:
            call.lane = self.idle.pop()
            call.id = call.id or wire.id_of_lane(self.new_name())
        else:
            if self.idle and len(self.in_flight) + len(self.idle) >= self.most_in_flight:
                out.append(CloseLane(self.idle.pop(0)))
                self._closing.append(now + _CLOSING_S)
            call.lane = self.new_name()
            call.id = call.id or wire.id_of_lane(call.lane)
            out.append(OpenLane(call.lane))
            if self.place is not None and self.place.instance is not None:
                call.is_checking = True
        self.in_flight[call.lane] = call
        call.needs_fresh_lane = call.closes_lane = call.streams
        if call.left_until > -math.inf:
            call.left_until = -math.inf
        call.tries_used += 1
        call.sent_at = now
        call.due_at = min(now + call.timeout_s, self._give_up_at(call))
        call.misses = call.parts_skipped = 0
        self._deadlines.set(call, call.due_at)
        frames = MDP02.request(b"mmi.broker", ()) if call.is_checking else self._request(call)
        out.append(SendOnLane(call.lane, frames))
        return out

    def _request(self, call: ClientRequest) -> Frames:
        """Return a request. It carries its id if that does not follow from the lane's name."""
        assert call.lane is not None
        if log.isEnabledFor(logging.DEBUG):
            line = "%s: sent, try %d of %d%s"
            log.debug(line, call.text, call.tries_used, call.tries, call.id_text)
        follows = call.id == wire.id_of_lane(call.lane)
        if follows or not self._probe.knows_ids or len(call.id) != wire.ID_BYTES:
            return MDP02.request(call.service, call.body)
        return MDP02.request_with_id(call.service, call.body, call.id)

    def _on_check(self, call: ClientRequest, answer: wire.Answer, now: float) -> list[Step]:
        """Send the request, if its new lane has reached the broker of the contact file."""
        assert call.lane is not None
        assert self.place is not None
        if unpacked(answer).get("instance") == self.place.instance:
            call.is_checking, call.sent_at = False, now
            return [SendOnLane(call.lane, self._request(call))]
        out = self._close_lane(call, now)
        call.tries_used -= 1
        self._put_first(call)
        return out + self._lose(now)

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
        if call.closes_lane:
            out += self._close_lane(call, now)
        else:
            assert call.lane is not None
            self.idle.append(call.lane)
            self._let_go(call)
        if error is None:
            if log.isEnabledFor(logging.DEBUG):
                log.debug("%s: answered after %s%s", call.text, call.spent(now), call.id_text)
            return [*out, FinalReply(call, answer.body), *self._start(now)]
        if isinstance(error, Draining) and self._back_off(call, now):
            # the broker did not try it; another one will start soon
            return [*out, *self._follow(now), *self._start(now)]
        if isinstance(error, NotServed) and self.settings.waits and self._back_off(call, now):
            self._unserved.setdefault(call.text, call.sent_at)
            return out + self._start(now)
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
        line = "%s: a part of the answer was lost; sent again%s"
        self._log.warning(now, line, call.text, call.id_text)
        out = self._leave(call, now)
        call.tries_used -= 1
        return out + self._send_again(call, now)

    def _on_timeout(self, call: ClientRequest, now: float) -> list[Step]:
        out = self._leave(call, now)
        if call.tries_used < call.tries and now < self._give_up_at(call):
            line = "%s did not answer in %g s; sent again%s"
            self._log.warning(now, line, call.text, call.timeout_s, call.id_text)
            return out + self._send_again(call, now)
        return [*out, self._too_late(call, now)]

    def _send_again(self, call: ClientRequest, now: float) -> list[Step]:
        call.needs_fresh_lane = True
        if self._may_send and self._may_open(now):
            return self._send(call, now)
        self._put_first(call)
        return []

    def _put_first(self, call: ClientRequest) -> None:
        """Let a call that was sent before wait for a lane; its time goes on."""
        self.pending[call] = None
        self.pending.move_to_end(call, last=False)
        self._deadlines.set(call, self._give_up_at(call))

    def _answered(self, call: ClientRequest, error: MDPError, now: float) -> Failed:
        text = f"{call.text} answered {error.code} after {call.spent(now)}{call.id_text}: {error}"
        return _failed(call, from_code(error.code, text))

    def _too_late(self, call: ClientRequest, now: float) -> Failed:
        silent = "" if self.instance else "; no broker has answered at all"
        if self._why and not self._may_send:
            silent += f"; {self._why}"
        elif silent and self.why_silent:
            silent += f": {self.why_silent}"
        text = f"{call.text} did not answer within {call.spent(now)}{call.id_text}{silent}"
        return _failed(call, RequestTimeout(text))

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
        if call.is_checking:
            call.is_checking = False
        self._deadlines.drop(call)

    # The probe.

    def _probe_due(self) -> float:
        if self.in_flight or (not self._may_send and (self.pending or self.backing_off)):
            return self._probe.due_at
        return math.inf

    def _ask(self, now: float) -> list[Step]:
        """Send the probe's question; read the contact file before, if it needs a new lane."""
        if self._probe.has_others:
            self._heard_at = now
        if self._locate is None or not self._probe.was_silent:
            return self._probe.ask(self.in_flight, now)
        try:
            self.place = self._locate()
        except MDPError as error:
            self._why = str(error)
            return [*self._probe.rest(now), *self._hold(now)]
        self._located_at = now
        self._probe.wanted = self.place.instance
        self._why = ""
        out = self._probe.ask(self.in_flight, now)
        if self.place.instance is not None:
            return [*out, *self._hold(now)]
        self._may_send = True
        return out + self._start(now)

    def _hold(self, now: float) -> list[Step]:
        """Send no more requests until the broker of the contact file has answered."""
        self._may_send = False
        return self._close_idle(now)

    def _lose(self, now: float) -> list[Step]:
        """Hold the requests, and read the contact file again in an interval."""
        return [*self._probe.rest(now), *self._hold(now)]

    def _follow(self, now: float) -> list[Step]:
        """Move to the broker that the contact file names, if the present one is about to stop."""
        if self._locate is None or now < self._located_at + self.settings.heartbeats.interval_s:
            return []
        self._located_at = now
        try:
            place = self._locate()
        except MDPError as error:
            self._why = str(error)
            return []  # it may still answer what its workers hold
        if place == self.place:
            return []
        out: list[Step] = []
        for call in list(self.in_flight.values()):
            if call.is_checking:  # the old broker has not got it
                out += self._close_lane(call, now)
                call.tries_used -= 1
                self._put_first(call)
            else:
                call.left_until, call.closes_lane = now + _LEAVING_S, True
        return [*out, *self._probe.leave(self.in_flight, _LEAVING_S), *self._hold(now)]

    def _on_probe(self, answer: wire.Answer, now: float) -> list[Step]:
        report = self._probe.receive(answer, now)
        if report is None:
            return []
        if isinstance(report, Stranger):
            self._why = report.text
            return self._lose(now)
        self._heard_at, self._may_send, self._why = now, True, ""
        is_met = report.is_new and report.user
        out: list[Step] = [Met(report.user, report.host)] if is_met else []
        out += self._wait_while_paused(report, now)
        out += self._check_losses(report, now)
        if report.draining:
            out += self._follow(now)
        self._note_unserved(report, now)
        return out + self._start(now)

    def _check_losses(self, report: Report, now: float) -> list[Step]:
        """Send the calls again that the broker does not hold."""
        out: list[Step] = []
        if report.is_restarted:
            again = [call for lane, call in self.in_flight.items() if lane in report.lost]
            count = sum(call.left_until <= now for call in again)
            line = "the broker was restarted%s; %d requests are sent again"
            moved = "" if self.place is None else f", at {self.place.address}"
            self._log.warning(now, line, moved, count)
        overtaken_at = self._probe.asked_at - _OVERTAKING * self.settings.heartbeats.interval_s
        for call in list(self.in_flight.values()):
            if self._is_too_large(call):
                out += [*self._leave(call, now), self._too_large(call)]
            elif now < call.left_until:
                continue
            elif call.sent_at <= self._probe.asked_at and call.paused_at is None:
                is_missed = call.lane in report.lost
                is_restarted = report.is_restarted and call.sent_at <= overtaken_at
                out += self._check_loss(call, is_missed, is_restarted, now)
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
            line = "%s: the request, or its answer, was lost; sent again%s"
            self._log.warning(now, line, call.text, call.id_text)
        out = [*self._leave(call, now), *self._close_idle(now)]
        call.tries_used -= 1  # the request or its answer was lost: not a try
        return out + self._send_again(call, now)

    # What the client waits for.

    def _wait_while_paused(self, report: Report, now: float) -> list[Step]:
        """Let the time of calls stand still whose service is paused, and say so.

        Each answer of the probe gives them the time since the answer before.
        """
        passed_s = min(now - self._reported_at, 2 * self.settings.heartbeats.silence_s)
        if report.paused:
            for call in (*self.in_flight.values(), *self.backing_off, *self.pending):
                if call.text in report.paused and not math.isnan(call.started_at):
                    self._postpone(call, min(passed_s, now - call.started_at))
        self._reported_at = now
        out: list[Step] = []
        for name, pause in report.paused.items():
            if now >= self._paused.get(name, -math.inf):
                self._paused[name] = now + EVERY_S
                out.append(Paused(name, pause.by, pause.for_s))
        waits_for = {call.text for call in self.in_flight.values()}
        for name in [name for name in self._paused if name not in report.paused]:
            del self._paused[name]
            if name in waits_for:
                out.append(Paused(name, "", 0.0, ends=True))
        return out

    def _postpone(self, call: ClientRequest, by_s: float) -> None:
        call.started_at += by_s
        if call.lane is not None and call.paused_at is None:
            call.due_at += by_s
            self._deadlines.set(call, call.due_at)
        elif call in self.pending:
            self._deadlines.set(call, self._give_up_at(call))

    def _note_unserved(self, report: Report, now: float) -> None:
        """Keep in mind which services have no workers, and since when the client waits for them."""
        waits_since = now - self._wanted_since
        refused = {call.text for call in self.backing_off} & self._unserved.keys()
        noted = {name: now - min(s, waits_since) for name, s in report.unserved.items()}
        self._unserved = {
            name: self._unserved.get(name, noted.get(name, now)) for name in {*noted, *refused}
        }

    def _name_what_is_missing(self, now: float) -> list[Step]:
        """Log which services have no workers; return a step if the broker is silent."""
        self._look_at = now + _LOOK_S
        since = dict(self._unserved)
        if self._probe.knows_mmi:
            since[_BROKER] = max(self._heard_at, self._wanted_since)
        if not (self.in_flight or self.pending or self.backing_off):
            since = {}
        due = self._patience.due(since, now)
        silent_s = due.pop(_BROKER, None)
        if due:
            names, waited_s = ", ".join(sorted(due)), max(due.values())
            log.warning("waiting for workers of %s, %.0f s", names, waited_s)
        return [] if silent_s is None else [Silent(silent_s, self._why)]


def _failed(call: ClientRequest, error: MDPError) -> Failed:
    error.request = call.id.hex()
    return Failed(call, error)
