"""The client's side: each request's life, from sent to answered or given up. Pure.

MDP has no request id and its client dialog is synchronous, so each request in flight has a lane
of its own: a socket under a random name, one request at a time. A lane whose request came to
nothing is closed, and the late reply to its name goes nowhere.

While anything is in flight the client asks `mmi.broker` each interval and names its lanes. The
answer says which broker lives there, and for which lanes it holds nothing: what a broker that
was restarted, or a connection that was cut, has lost is sent again.
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


class Call:
    """One request. `listener` is whom the shell tells; nothing here looks at it."""

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
        self.lane: bytes | None = None  # None: waiting for a lane, or over
        self.tried = 0
        self.started_at = math.nan
        self.sent_at = math.nan
        self.due_at = math.inf  # of this try, or, while it rests, of the next
        self.parts_seen = 0
        self.parts_skipped = 0  # of this try: parts that an earlier one brought already
        self.misses = 0  # pulses in a row in which the broker held nothing for it
        self.patience = 0  # how many of them are believed


class Open(NamedTuple):
    """Connect a socket under this name."""

    lane: bytes


class Send(NamedTuple):
    """Send on that socket."""

    lane: bytes
    frames: Frames


class Close(NamedTuple):
    """Close that socket."""

    lane: bytes


class Part(NamedTuple):
    """A PARTIAL came."""

    call: Call
    body: Frames


class Done(NamedTuple):
    """The FINAL came: the call is over."""

    call: Call
    body: Frames


class Failed(NamedTuple):
    """The call is over, for this reason."""

    call: Call
    error: MDPError


Step = Open | Send | Close | Part | Done | Failed


class Lanes:
    """`submit` a call, `receive` a lane's message, `tick` at the `deadline`; steps come out.

    `new_name` makes a lane's name: random, not to be guessed, no zero byte at its head.
    """

    def __init__(self, settings: ClientSettings, new_name: Callable[[], bytes]) -> None:
        self.settings = settings
        self.flying: dict[bytes, Call] = {}  # by lane
        self.idle: list[bytes] = []
        self.pending: deque[Call] = deque()  # no lane is free for them yet
        self.resting: list[Call] = []  # the broker drains: to be sent again at `due_at`
        self.instance: str | None = None  # of the broker, as far as it is known
        self._new_name = new_name
        self._pulse: bytes | None = None  # the lane that asks `mmi.broker`
        self._pulse_at = -math.inf  # the first call asks at once who the broker is
        self._pulse_answered = True
        self._pulse_works = True  # a foreign broker may not know `mmi.broker`
        self._pulse_wait_s = settings.pulse.silence_s

    # What a shell calls.

    def submit(self, call: Call, now: float) -> list[Step]:
        self.pending.append(call)
        return self._start(now)

    def receive(self, lane: bytes, frames: Frames, now: float) -> list[Step]:
        try:
            answer = wire.parse_answer(frames)
        except WireError as error:
            log.warning("dropped a malformed answer: %s", error)
            return []
        if lane == self._pulse:
            return self._on_pulse(answer, now)
        call = self.flying.get(lane)
        if call is None or answer.service != call.service:
            log.warning("dropped an answer that nobody asked for")
            return []
        if not answer.final:
            return self._on_part(call, answer)
        return self._on_final(call, answer, now)

    def tick(self, now: float) -> list[Step]:
        out: list[Step] = []
        for call in [call for call in self.flying.values() if now >= call.due_at]:
            out += self._on_timeout(call, now)
        rested = [call for call in self.resting if now >= call.due_at]
        self.resting = [call for call in self.resting if now < call.due_at]
        self.pending.extendleft(reversed(rested))
        out += self._start(now)
        if now >= self._pulse_due():
            out += self._send_pulse(now)
        return out

    def deadline(self) -> float:
        dues = [call.due_at for call in (*self.flying.values(), *self.resting)]
        return min(self._pulse_due(), *dues) if dues else math.inf

    def abandon(self, call: Call, now: float) -> list[Step]:
        """Nobody wants the answer any more."""
        if call in self.pending:
            self.pending.remove(call)
        elif call in self.resting:
            self.resting.remove(call)
        elif call.lane is not None:
            return [*self._leave(call), *self._start(now)]
        return []

    def close(self) -> list[Step]:
        """Give everything up."""
        flying = list(self.flying.values())
        out = [step for call in flying for step in self._leave(call)]
        out += [
            Failed(call, ClientClosed(f"the client was closed before {_name(call)} answered"))
            for call in (*flying, *self.resting, *self.pending)
        ]
        self.resting.clear()
        self.pending.clear()
        out += [Close(lane) for lane in self.idle]
        if self._pulse is not None:
            out.append(Close(self._pulse))
        return out

    # One request's life.

    def _start(self, now: float) -> list[Step]:
        out: list[Step] = []
        while self.pending and len(self.flying) < self.settings.lanes:
            call = self.pending.popleft()
            if not self.flying and self._pulse_answered and self.instance is not None:
                self._pulse_at = now  # nobody waited until now: no pulse was due
            if math.isnan(call.started_at):
                call.started_at = now
                call.patience = self.settings.pulse.liveness
            if now < self._give_up_at(call):
                out += self._send(call, now)
            else:  # it rested, and then no lane was free for too long
                out.append(self._too_late(call, now))
        return out

    def _send(self, call: Call, now: float, *, fresh: bool = False) -> list[Step]:
        """One try, on an idle lane or a new one."""
        out: list[Step] = []
        if self.idle and not fresh:
            call.lane = self.idle.pop()
        else:
            call.lane = self._new_name()
            out.append(Open(call.lane))
        self.flying[call.lane] = call
        call.tried += 1
        call.sent_at = now
        call.due_at = min(now + call.timeout_s, self._give_up_at(call))
        call.misses = call.parts_skipped = 0
        out.append(Send(call.lane, MDP02.request(call.service, call.body)))
        return out

    def _on_part(self, call: Call, answer: wire.Answer) -> list[Step]:
        if call.parts_skipped < call.parts_seen:
            call.parts_skipped += 1
            return []
        call.parts_seen += 1
        call.parts_skipped += 1
        return [Part(call, answer.body)]

    def _on_final(self, call: Call, answer: wire.Answer, now: float) -> list[Step]:
        assert call.lane is not None
        del self.flying[call.lane]
        self.idle.append(call.lane)
        call.lane = None
        error = wire.as_error(answer.body)
        rested_at = now + self.settings.pulse.interval_s
        if isinstance(error, Draining) and rested_at < self._give_up_at(call):
            call.tried -= 1  # it was not tried: another broker will be there soon
            call.due_at = rested_at
            self.resting.append(call)
            return self._start(now)
        if error is None:
            return [Done(call, answer.body), *self._start(now)]
        text = f"{_name(call)} answered {error.code} after {_spent(call, now)}: {error}"
        return [Failed(call, from_code(error.code, text)), *self._start(now)]

    def _on_timeout(self, call: Call, now: float) -> list[Step]:
        out = self._leave(call)
        if call.tried < call.tries and now < self._give_up_at(call):
            log.warning("%s did not answer in %.1f s; sent again", _name(call), call.timeout_s)
            return out + self._send(call, now, fresh=True)
        return [*out, self._too_late(call, now)]

    def _too_late(self, call: Call, now: float) -> Failed:
        silent = "" if self.instance else "; no broker was heard, either"
        text = f"{_name(call)} did not answer within {_spent(call, now)}{silent}"
        return Failed(call, RequestTimeout(text))

    def _give_up_at(self, call: Call) -> float:
        """However often brokers restart: a call ends at the latest when all its tries are over."""
        return call.started_at + call.tries * call.timeout_s

    def _leave(self, call: Call) -> list[Step]:
        """Close the call's lane, and tell the broker that nobody waits there."""
        assert call.lane is not None
        lane, call.lane = call.lane, None
        del self.flying[lane]
        out: list[Step] = [Close(lane)]
        if self._pulse is None:
            self._pulse = self._new_name()
            out.append(Open(self._pulse))
        return [*out, Send(self._pulse, MDP02.request(CANCEL, [lane]))]

    # The broker's pulse.

    def _pulse_due(self) -> float:
        if not self.flying or not self._pulse_works:
            return math.inf
        wait_s = self.settings.pulse.interval_s if self._pulse_answered else self._pulse_wait_s
        return self._pulse_at + wait_s

    def _send_pulse(self, now: float) -> list[Step]:
        """Ask which broker lives there, on a fresh socket if the last question went unanswered."""
        out: list[Step] = []
        if self._pulse is not None and not self._pulse_answered:
            out.append(Close(self._pulse))
            self._pulse = None
            if self.instance is None:  # it never answered: perhaps it is a broker that does not
                self._pulse_wait_s = min(2 * self._pulse_wait_s, 60.0)
        if self._pulse is None:
            self._pulse = self._new_name()
            out.append(Open(self._pulse))
        self._pulse_at = now
        self._pulse_answered = False
        return [*out, Send(self._pulse, MDP02.request(b"mmi.broker", list(self.flying)))]

    def _on_pulse(self, answer: wire.Answer, now: float) -> list[Step]:
        if answer.service != b"mmi.broker":
            return []  # the answer to a cancel
        self._pulse_answered = True
        try:
            _, packed = answer.body
            report = msgpack.unpackb(bytes(packed))  # type: ignore[call-overload]
            instance, lost = str(report["instance"]), set(report["lost"])
        except (ValueError, TypeError, KeyError, msgpack.UnpackException):
            if self.instance is None:
                log.info("the broker does not know mmi.broker: its restarts will not be noticed")
                self._pulse_works = False
            return []
        restarted = self.instance not in (None, instance)
        self.instance = instance
        self._pulse_wait_s = self.settings.pulse.silence_s
        if restarted:
            log.warning("the broker was restarted; %d requests are sent again", len(lost))
        out: list[Step] = []
        for call in [call for call in self.flying.values() if call.sent_at <= self._pulse_at]:
            out += self._judge(call, call.lane in lost, restarted, now)
        return out

    def _judge(self, call: Call, missed: bool, restarted: bool, now: float) -> list[Step]:
        """Send a call again that the broker does not hold. Its answer may be on the way, so the
        same broker is asked a few times, and ever more patiently, before that is believed."""
        call.misses = call.misses + 1 if missed else 0
        believed = restarted or call.misses >= call.patience
        if not (missed and believed and now < call.due_at):
            return []
        if not restarted:
            call.patience *= 2
            log.warning("%s: the request, or its answer, was lost; sent again", _name(call))
        out = self._leave(call)
        call.tried -= 1  # nobody tried it
        return out + self._send(call, now, fresh=True)


def _name(call: Call) -> str:
    return printable(call.service)


def _spent(call: Call, now: float) -> str:
    return f"{now - call.started_at:.1f} s (try {call.tried} of {call.tries})"
