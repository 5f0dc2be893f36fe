"""Whatever happens to a client, in whatever order: what must hold of its lanes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import msgpack
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mdp.client.lane import (
    ClientRequest,
    CloseLane,
    Failed,
    FinalReply,
    Lanes,
    Met,
    OpenLane,
    PartialReply,
    Paused,
    SendOnLane,
    Silent,
    Step,
)
from mdp.errors import ClientClosed, MDPError, RequestTimeout
from mdp.settings import ClientSettings, Heartbeats
from mdp.wire import Frames

quarters = st.integers(1, 80).map(lambda count: count / 4)  # exact in binary: sums stay exact
services = st.sampled_from([b"echo", b"plane"])
chance = st.integers(0, 1_000_000)
nonsense = st.one_of(
    st.lists(st.binary(max_size=3), max_size=4),
    st.sampled_from(
        [
            [b"MDPC02"],
            [b"MDPC02", b"\x03"],
            [b"MDPC02", b"\x03", b""],
            [b"MDPC02", b"\x01", b"echo", b"x"],
            [b"MDPC02", b"\x03", b"stranger", b"x"],
            [b"", b"MDPC02", b"\x03", b"echo", b"x"],
            [b"MDPW02", b"\x06"],
        ]
    ),
)
scraps = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.binary(max_size=3)
)
strange_reports = st.one_of(
    st.lists(st.binary(max_size=6), max_size=3),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-9, 9)
        | st.text(max_size=3)
        | st.binary(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["instance", "lost", "x"]), inner, max_size=3)
        ),
        max_leaves=6,
    ).map(lambda report: [b"200", msgpack.packb(report)]),
)

LANES, SOCKETS = 3, 8
CLOSING_S = 0.1
CODES = [None, None, 400, 404, 413, 429, 500, 502, 503, 503, 504]


class ClientWalk(RuleBasedStateMachine):
    """The sockets, the broker and the callers around one `Lanes`; the clock only goes forward."""

    def __init__(self) -> None:
        super().__init__()
        numbers = itertools.count(1)
        self.core = Lanes(
            ClientSettings(lanes=LANES), lambda: b"L%d" % next(numbers), sockets=SOCKETS
        )
        self.now = 0.0
        self.closed_at: list[float] = []
        self.probes: set[bytes] = set()
        self.calls: list[ClientRequest] = []
        self.names: list[bytes] = []
        self.open: set[bytes] = set()
        self.carried: dict[bytes, ClientRequest] = {}  # by lane, as the wire shows it
        self.asked: tuple[bytes, list[bytes]] | None = None  # the probe's question, while open
        self.ended: set[ClientRequest] = set()
        self.abandoned: set[ClientRequest] = set()

    # The shell: it refuses what sockets would refuse.

    def _carry_out(self, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, OpenLane):
                assert step.lane not in self.names, "a name is used for one socket only"
                self.names.append(step.lane)
                self.open.add(step.lane)
            elif isinstance(step, CloseLane):
                assert step.lane in self.open, "one Close for each Open"
                self.open.remove(step.lane)
                if step.lane not in self.probes:
                    self.closed_at.append(self.now)
                self.carried.pop(step.lane, None)
                if self.asked is not None and self.asked[0] == step.lane:
                    self.asked = None
            elif isinstance(step, SendOnLane):
                assert step.lane in self.open, "a closed lane gets no Send"
                self._on_send(step.lane, step.frames)
            elif not isinstance(step, Met | Paused | Silent):
                self._on_said(step)

    def _on_send(self, lane: bytes, frames: Frames) -> None:
        assert frames[:2] == [b"MDPC02", b"\x01"]
        assert lane not in self.carried, "a lane carries one request at a time"
        rest: list[Any] = frames[3:]
        if frames[2] == b"mmi.broker":
            assert rest[-1] >= b"lease=6.000" or len(rest[-1]) > len(b"lease=6.000")
            assert set(rest[:-1]) == set(self.carried)
            self.asked = (lane, rest[:-1])
            self.probes.add(lane)
        elif frames[2] == b"mmi.cancel":
            assert rest[0] not in self.open, "only what is closed is cancelled"
            self.probes.add(lane)
        else:
            call = self.calls[int(rest[0])]
            assert call not in self.ended | self.abandoned, "what is over is not sent"
            assert call not in self.carried.values(), "a call flies once at a time"
            assert frames[2] == call.service
            self.carried[lane] = call
            assert len(self.carried) <= LANES

    def _on_said(self, step: PartialReply | FinalReply | Failed) -> None:
        assert step.call not in self.ended | self.abandoned, "a call ends once"
        if not isinstance(step, PartialReply):
            self.ended.add(step.call)
            assert step.call not in self.carried.values()

    def _pick_lane(self, number: int) -> bytes:
        return list(self.carried)[number % len(self.carried)]

    # What can happen.

    @rule(service=services, timeout_s=quarters, tries=st.integers(1, 3), count=st.integers(1, 3))
    def submit(self, service: bytes, timeout_s: float, tries: int, count: int) -> None:
        for _ in range(count):
            body: Frames = [b"%d" % len(self.calls)]
            call = ClientRequest(service, body, None, timeout_s=timeout_s, tries=tries)
            self.calls.append(call)
            self._carry_out(self.core.submit(call, self.now))

    @precondition(lambda self: self.carried)
    @rule(
        number=chance,
        code=st.sampled_from([None, None, 400, 404, 413, 429, 500, 502, 503, 503, 504]),
    )
    def answer(self, number: int, code: int | None) -> None:
        lane = self._pick_lane(number)
        call = self.carried.pop(lane)
        body = [b"fine"] if code is None else [b"MDP-ERROR", b"%d" % code, b"text"]
        earlier = len(self.ended)
        steps = self.core.receive(lane, [b"MDPC02", b"\x03", call.service, *body], self.now)
        if code is None:
            assert isinstance(steps[0], FinalReply)
            assert steps[0] == (call, [b"fine"])
        self._carry_out(steps)
        # a lane that is free again may find that one who rested has run out of time
        assert len(self.ended) > earlier or code == 503

    @precondition(lambda self: self.open)
    @rule(number=chance)
    def socket_fails(self, number: int) -> None:
        lane = sorted(self.open)[number % len(self.open)]
        call = self.carried.get(lane)
        self._carry_out(self.core.lane_failed(lane, MDPError("too many open files"), self.now))
        assert lane not in self.open
        assert call is None or call in self.ended

    @precondition(lambda self: self.carried)
    @rule(number=chance, wait_s=quarters)
    def reader_lags(self, number: int, wait_s: float) -> None:
        call = self.carried[self._pick_lane(number)]
        self.core.pause(call, self.now)
        self.now += wait_s
        self._tick()
        assert call in self.carried.values()
        self.core.resume(call, self.now)

    @precondition(lambda self: self.carried)
    @rule(number=chance)
    def part(self, number: int) -> None:
        lane = self._pick_lane(number)
        service = self.carried[lane].service
        self._carry_out(self.core.receive(lane, [b"MDPC02", b"\x02", service, b"part"], self.now))

    @precondition(lambda self: self.names)
    @rule(number=chance, service=services, command=st.sampled_from([b"\x02", b"\x03"]))
    def late_answer(self, number: int, service: bytes, command: bytes) -> None:
        lane = self.names[number % len(self.names)]
        assume(lane not in self.carried)
        frames: Frames = [b"MDPC02", command, service, b"late"]
        assert self.core.receive(lane, frames, self.now) == []

    @precondition(lambda self: self.names)
    @rule(number=chance, frames=nonsense)
    def malformed(self, number: int, frames: Frames) -> None:
        lane = self.names[number % len(self.names)]
        assert self.core.receive(lane, frames, self.now) == []

    @precondition(lambda self: self.asked is not None)
    @rule(instance=st.sampled_from("aaab"), lost=st.integers(0, 2**LANES - 1))
    def pulse_answer(self, instance: str, lost: int) -> None:
        assert self.asked is not None
        (lane, named), self.asked = self.asked, None
        missing = [name for bit, name in enumerate(named) if lost >> bit & 1]
        packed = msgpack.packb({"instance": instance, "lost": missing})
        frames: Frames = [b"MDPC02", b"\x03", b"mmi.broker", b"200", packed]
        self._carry_out(self.core.receive(lane, frames, self.now))

    @precondition(lambda self: self.asked is not None and self.now > 30)
    @rule(body=strange_reports)
    def strange_pulse_answer(self, body: list[bytes]) -> None:
        """It may end the probe for good, so it comes late in a walk."""
        assert self.asked is not None
        (lane, _), self.asked = self.asked, None
        frames: Frames = [b"MDPC02", b"\x03", b"mmi.broker", *body]
        self._carry_out(self.core.receive(lane, frames, self.now))

    @precondition(lambda self: self.calls)
    @rule(number=chance)
    def abandon(self, number: int) -> None:
        alive = [call for call in self.calls if call not in self.ended | self.abandoned]
        among = alive or self.calls
        call = among[number % len(among)]
        self._carry_out(self.core.abandon(call, self.now))
        if call not in self.ended:
            self.abandoned.add(call)
        assert call not in self.carried.values()

    @rule(wait_s=quarters)
    def time_passes(self, wait_s: float) -> None:
        self.now += wait_s
        self._tick()

    @precondition(lambda self: self.core.deadline() < math.inf)
    @rule()
    def the_deadline_comes(self) -> None:
        self.now = max(self.now, self.core.deadline())
        self._tick()

    def _tick(self) -> None:
        is_due = self.now >= self.core.deadline()
        steps = self.core.tick(self.now)
        assert is_due or not steps, "nothing is done before the deadline"
        self._carry_out(steps)
        assert self.core.deadline() > self.now

    def teardown(self) -> None:
        """Close, after a walk of any length: now every call has ended."""
        steps = self.core.close()
        self._carry_out(steps)
        assert self.open == set()
        assert self.ended | self.abandoned == set(self.calls)
        assert not self.ended & self.abandoned
        assert all(isinstance(s.error, ClientClosed) for s in steps if isinstance(s, Failed))

    # What holds at any time.

    @invariant()
    def every_call_is_in_one_place(self) -> None:
        core = self.core
        alive = [*core.in_flight.values(), *core.backing_off, *core.pending]
        assert len(alive) == len(set(alive))
        assert set(alive) == set(self.calls) - self.ended - self.abandoned

    @invariant()
    def what_flies_is_what_the_wire_carries(self) -> None:
        assert self.core.in_flight == self.carried
        assert not set(self.core.idle) & set(self.carried)
        assert set(self.core.idle) <= self.open

    @invariant()
    def nobody_waits_while_a_lane_is_free(self) -> None:
        if self.core.pending and len(self.core.in_flight) < LANES:
            assert self._closing > SOCKETS - LANES - 1
            assert self.core.deadline() <= self.now + CLOSING_S

    @invariant()
    def there_are_no_more_sockets_than_lanes_and_a_pulse(self) -> None:
        assert len(self.open) <= LANES + 1

    @invariant()
    def sockets_that_close_count_for_a_moment(self) -> None:
        assert len(self.open - self.probes) + self._closing <= SOCKETS + 1

    @property
    def _closing(self) -> int:
        return sum(at + CLOSING_S > self.now for at in self.closed_at)


# too_slow: a machine that stands still for some seconds is not a fault of the walk
ClientWalk.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAClientWhateverHappens = ClientWalk.TestCase


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(quarters, st.integers(1, 4)), min_size=1, max_size=8))
def test_without_a_broker_every_call_fails_exactly_when_its_tries_are_over(
    wants: list[tuple[float, int]],
) -> None:
    numbers = itertools.count()
    core = Lanes(ClientSettings(heartbeats=Heartbeats(), lanes=8), lambda: b"L%d" % next(numbers))
    due: dict[ClientRequest, float] = {}
    for timeout_s, tries in wants:
        call = ClientRequest(b"echo", [], None, timeout_s=timeout_s, tries=tries)
        due[call] = timeout_s * tries
        core.submit(call, 0.0)
    while due:
        now = max(0.0, core.deadline())
        failed = [step for step in core.tick(now) if isinstance(step, Failed)]
        for call, error in failed:
            assert isinstance(error, RequestTimeout)
            assert due.pop(call) == now
    assert core.deadline() == math.inf


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=6), st.integers(1, 6))
def test_however_often_a_stream_breaks_each_part_comes_once_and_in_order(
    breaks: list[int], parts: int
) -> None:
    numbers = itertools.count()
    core = Lanes(ClientSettings(), lambda: b"L%d" % next(numbers))
    call = ClientRequest(b"echo", [], None, timeout_s=1.0, tries=len(breaks) + 1)
    core.submit(call, 0.0)
    steps: list[Step] = []
    for now, after in enumerate([*breaks, parts]):
        assert call.lane is not None
        for number in range(min(after, parts)):
            body = b"%d" % number
            frames: Frames = [b"MDPC02", b"\x02", b"echo", body]
            steps += core.receive(call.lane, frames, float(now))
        if now < len(breaks):
            steps += core.tick(float(now + 1))
    assert call.lane is not None
    steps += core.receive(call.lane, [b"MDPC02", b"\x03", b"echo", b"end"], len(breaks) + 0.5)
    bodies = [step.body for step in steps if isinstance(step, (PartialReply, FinalReply))]
    assert bodies == [[b"%d" % number] for number in range(parts)] + [[b"end"]]
