"""The client's core by the numbers: frames as literal bytes, time as an argument."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import pytest

from mdp import errors
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
from mdp.settings import MAX_LANES, ClientSettings, Heartbeats
from mdp.sockets.addresses import Place
from mdp.wire import Frame, Frames
from tests.support.steps import Steps

# What a broker sends and a client asks, from the table of the protocol's page.


def ask(body: bytes = b"hello", service: bytes = b"echo") -> Frames:
    return [b"MDPC02", b"\x01", service, body]


def partial(*body: bytes, service: bytes = b"echo") -> Frames:
    return [b"MDPC02", b"\x02", service, *body]


def final(*body: bytes, service: bytes = b"echo") -> Frames:
    return [b"MDPC02", b"\x03", service, *body]


def error(code: int, text: str = "because") -> Frames:
    return final(b"MDP-ERROR", str(code).encode(), text.encode())


def report(instance: str = "first", lost: Sequence[bytes] = ()) -> Frames:
    packed = msgpack.packb({"instance": instance, "version": "1", "lost": list(lost)})
    return final(b"200", packed, service=b"mmi.broker")


def question(*lanes: bytes, lease: bytes = b"lease=6.000") -> Frames:
    """`lease`: two times liveness * interval, of the defaults."""
    return [b"MDPC02", b"\x01", b"mmi.broker", *lanes, lease]


def cancel(lane: bytes) -> Frames:
    return [b"MDPC02", b"\x01", b"mmi.cancel", lane]


def a_call(
    body: bytes = b"hello", *, service: bytes = b"echo", timeout_s: float = 10.0, tries: int = 3
) -> ClientRequest:
    return ClientRequest(service, [body], None, timeout_s=timeout_s, tries=tries)


class Shell:
    """Carries steps out on paper, and lets no step pass that a real socket would refuse."""

    def __init__(
        self,
        *,
        lanes: int = 8,
        interval_s: float = 1.0,
        liveness: int = 3,
        random: Callable[[], float] = lambda: 0.0,
        sockets: int | None = None,
        waits: bool = False,
        locate: Callable[[], Place] | None = None,
    ) -> None:
        probe = Heartbeats(interval_s=interval_s, liveness=liveness)
        numbers = itertools.count(1)
        self.core = Lanes(
            ClientSettings(heartbeats=probe, lanes=lanes, waits=waits),
            lambda: b"L%d" % next(numbers),
            random=random,
            sockets=sockets,
            locate=locate,
        )
        self.names: list[bytes] = []
        self.open: set[bytes] = set()
        self.requests: list[tuple[bytes, Frames]] = []  # sent, those to mmi. left out
        self.probes: list[tuple[bytes, Frames]] = []
        self.cancels: list[tuple[bytes, Frames]] = []
        self.parts: list[Sequence[Frame]] = []
        self.told: list[Met | Paused | Silent] = []
        self.ends: dict[ClientRequest, FinalReply | Failed] = {}
        self.now = 0.0
        self.closed_at: list[float] = []

    def submit(self, call: ClientRequest, now: float) -> list[Step]:
        self.now = now
        return self._carry_out(self.core.submit(call, now))

    def receive(self, lane: bytes, frames: Frames, now: float) -> list[Step]:
        return self._carry_out(self.core.receive(lane, frames, now))

    def tick(self, now: float) -> list[Step]:
        out = self._carry_out(self.core.tick(now))
        assert self.core.deadline() > now
        return out

    def abandon(self, call: ClientRequest, now: float) -> list[Step]:
        self.now = now
        return self._carry_out(self.core.abandon(call, now))

    def failed(self, lane: bytes, error: errors.MDPError, now: float) -> list[Step]:
        return self._carry_out(self.core.lane_failed(lane, error, now))

    def close(self) -> list[Step]:
        return self._carry_out(self.core.close())

    def answer_pulse(self, now: float, instance: str = "first", lost: Sequence[bytes] = ()) -> None:
        """The broker answers the latest question."""
        self.receive(self.probes[-1][0], report(instance, lost), now)

    def run_until(self, end: float, *, answer: Callable[[float], object] | None = None) -> None:
        """Tick at each deadline; `answer` is called after each probe."""
        while (now := self.core.deadline()) <= end:
            asked = len(self.probes)
            self.tick(max(now, 0.0))
            if answer is not None and len(self.probes) > asked:
                answer(max(now, 0.0))

    def _carry_out(self, steps: list[Step]) -> list[Step]:
        for step in steps:
            self._one(step)
        return Steps(steps)

    def _one(self, step: Step) -> None:
        if isinstance(step, OpenLane):
            assert step.lane not in self.names
            self.names.append(step.lane)
            self.open.add(step.lane)
        elif isinstance(step, CloseLane):
            self.open.remove(step.lane)
            self.closed_at.append(self.now)
        elif isinstance(step, SendOnLane):
            assert step.lane in self.open
            kinds = {b"mmi.broker": self.probes, b"mmi.cancel": self.cancels}
            name: Any = step.frames[2]
            kinds.get(name, self.requests).append((step.lane, step.frames))
        elif isinstance(step, PartialReply):
            self.parts.append(step.body)
        elif isinstance(step, Met | Paused | Silent):
            self.told.append(step)
        else:
            assert step.call not in self.ends
            self.ends[step.call] = step


def failure(shell: Shell, call: ClientRequest) -> errors.MDPError:
    end = shell.ends[call]
    assert isinstance(end, Failed)
    return end.error


def answer_of(shell: Shell, call: ClientRequest) -> Sequence[Frame]:
    end = shell.ends[call]
    assert isinstance(end, FinalReply)
    return end.body


# One request a lane.


def test_a_request_opens_a_lane_and_is_sent_on_it() -> None:
    assert Shell().submit(a_call(), 0.0) == [OpenLane(b"L1"), SendOnLane(b"L1", ask())]


def test_a_body_of_no_frames_and_of_many_is_sent_as_it_is() -> None:
    shell = Shell()
    shell.submit(ClientRequest(b"echo", [], None, timeout_s=1, tries=1), 0.0)
    shell.submit(ClientRequest(b"echo", [b"", b"a", b""], None, timeout_s=1, tries=1), 0.0)
    assert shell.requests == [
        (b"L1", [b"MDPC02", b"\x01", b"echo"]),
        (b"L2", [b"MDPC02", b"\x01", b"echo", b"", b"a", b""]),
    ]


def test_the_final_ends_a_call_with_its_body() -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    assert shell.receive(b"L1", final(b"a", b"", b"b"), 0.5) == [
        FinalReply(call, [b"a", b"", b"b"])
    ]


def test_a_lane_is_used_again_after_an_answer() -> None:
    shell = Shell()
    shell.submit(a_call(), 0.0)
    shell.receive(b"L1", final(b"x"), 0.5)
    assert shell.submit(a_call(b"two"), 1.0) == [SendOnLane(b"L1", ask(b"two"))]


def test_two_requests_at_once_have_a_lane_each() -> None:
    shell, one, two = Shell(), a_call(b"1"), a_call(b"2")
    shell.submit(one, 0.0)
    shell.submit(two, 0.0)
    assert shell.requests == [(b"L1", ask(b"1")), (b"L2", ask(b"2"))]
    shell.receive(b"L2", final(b"to two"), 0.5)
    shell.receive(b"L1", final(b"to one"), 0.5)
    assert answer_of(shell, one) == [b"to one"]
    assert answer_of(shell, two) == [b"to two"]


def test_no_more_than_the_lanes_are_in_flight_and_the_rest_wait_in_order() -> None:
    shell = Shell(lanes=2)
    for number in range(5):
        shell.submit(a_call(b"%d" % number), 0.0)
    assert [frames[3] for _, frames in shell.requests] == [b"0", b"1"]
    shell.receive(b"L2", final(b"x"), 1.0)
    shell.receive(b"L1", final(b"x"), 1.0)
    shell.receive(b"L1", final(b"x"), 2.0)
    assert [frames[3] for _, frames in shell.requests] == [b"0", b"1", b"2", b"3", b"4"]
    assert shell.names == [b"L1", b"L2"]


def test_a_call_that_waits_for_a_lane_spends_no_time_of_its_own() -> None:
    shell, second = Shell(lanes=1), a_call(b"second", timeout_s=2.0, tries=1)
    shell.submit(a_call(timeout_s=9.0), 0.0)
    shell.submit(second, 0.0)
    shell.tick(5.0)
    shell.receive(b"L1", final(b"x"), 5.0)
    shell.tick(6.9)
    assert second not in shell.ends
    shell.tick(7.0)
    assert "did not answer within 2.0 s" in str(failure(shell, second))


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"MDPC02"],
        [b"MDPC02", b"\x03"],
        [b"MDPC02", b"\x01", b"echo", b"x"],
        [b"MDPC02", b"\x04", b"echo", b"x"],
        [b"MDPC02", b"\x03", b"", b"x"],
        [b"MDPC02", b"\x03", b"e" * 256, b"x"],
        [b"MDPC01", b"\x03", b"echo", b"x"],
        [b"MDPW02", b"\x03", b"echo", b"x"],
        [b"", b"MDPC02", b"\x03", b"echo", b"x"],
        final(b"x", service=b"another"),
    ],
)
def test_what_is_malformed_or_of_another_service_is_dropped(frames: Frames) -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    assert shell.receive(b"L1", frames, 0.1) == []
    shell.receive(b"L1", final(b"x"), 0.2)
    assert answer_of(shell, call) == [b"x"]


def test_an_answer_on_a_lane_that_is_idle_or_unknown_goes_nowhere() -> None:
    shell = Shell()
    shell.submit(a_call(), 0.0)
    shell.receive(b"L1", final(b"x"), 0.1)
    assert shell.receive(b"L1", final(b"again"), 0.2) == []
    assert shell.receive(b"nobody", final(b"x"), 0.2) == []


# Lazy Pirate: times and tries.


def test_a_request_without_an_answer_is_sent_again_on_a_fresh_lane_and_its_lane_cancelled() -> None:
    shell = Shell()
    shell.submit(a_call(timeout_s=2.0), 0.0)
    shell.tick(0.0)  # the probe is L2
    shell.answer_pulse(0.1)
    shell.tick(1.0)
    shell.answer_pulse(1.1)
    assert shell.tick(1.9) == []
    assert shell.core.deadline() == 2.0
    assert shell.tick(2.0) == [
        CloseLane(b"L1"),
        SendOnLane(b"L2", cancel(b"L1")),
        OpenLane(b"L3"),
        SendOnLane(b"L3", ask()),
        SendOnLane(b"L2", question(b"L3")),
    ]


def test_a_cancel_opens_the_pulse_socket_where_there_is_none_yet() -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    assert shell.abandon(call, 0.0) == [
        CloseLane(b"L1"),
        OpenLane(b"L2"),
        SendOnLane(b"L2", cancel(b"L1")),
    ]


def test_after_its_tries_a_call_fails_and_says_service_time_and_tries() -> None:
    shell, call = Shell(), a_call(timeout_s=2.0, tries=2)
    shell.submit(call, 1.0)
    shell.run_until(100.0)
    assert [lane for lane, _ in shell.requests] == [b"L1", b"L3"]
    text = str(failure(shell, call))
    assert isinstance(failure(shell, call), errors.RequestTimeout)
    assert isinstance(failure(shell, call), TimeoutError)
    assert "echo" in text
    assert "4.0 s" in text
    assert "2 of 2" in text
    assert [frames for _, frames in shell.cancels] == [cancel(b"L1"), cancel(b"L3")]


@pytest.mark.parametrize("tries", [1, 2, 5])
def test_a_call_is_sent_as_often_as_it_has_tries(tries: int) -> None:
    shell, call = Shell(), a_call(timeout_s=2.0, tries=tries)
    shell.submit(call, 0.0)
    shell.run_until(2.0 * tries - 0.1)
    assert call not in shell.ends
    shell.run_until(2.0 * tries)
    assert len(shell.requests) == tries
    assert isinstance(failure(shell, call), errors.RequestTimeout)


def test_rounding_gives_a_call_no_try_too_many() -> None:
    shell, call = Shell(), a_call(timeout_s=0.1, tries=10)  # ten times 0.1 s add up to less than 1
    shell.submit(call, 0.0)
    shell.run_until(5.0)
    assert len(shell.requests) == 10
    assert isinstance(failure(shell, call), errors.RequestTimeout)


def test_a_call_that_failed_makes_room_for_the_next() -> None:
    shell = Shell(lanes=1)
    shell.submit(a_call(b"1", timeout_s=2.0, tries=1), 0.0)
    shell.submit(a_call(b"2", timeout_s=2.0, tries=1), 0.0)
    shell.tick(2.0)
    assert [frames for _, frames in shell.requests] == [ask(b"1"), ask(b"2")]
    assert shell.requests[0][0] != shell.requests[1][0]


def test_a_late_answer_to_a_closed_lane_goes_nowhere() -> None:
    shell, call = Shell(), a_call(timeout_s=2.0)
    shell.submit(call, 0.0)
    shell.tick(2.0)
    assert shell.receive(b"L1", final(b"late"), 2.1) == []
    shell.receive(shell.requests[-1][0], final(b"in time"), 2.2)
    assert answer_of(shell, call) == [b"in time"]


def test_a_retry_goes_out_under_a_new_name_even_when_an_older_lane_is_idle() -> None:
    # "sent again on a fresh socket": an idle lane may hang on the same dead connection
    shell = Shell()
    shell.submit(a_call(b"1"), 0.0)
    shell.submit(a_call(b"2", timeout_s=2.0), 0.0)
    shell.receive(b"L1", final(b"x"), 1.0)
    shell.tick(2.0)
    assert shell.requests[-1][1] == ask(b"2")
    assert shell.requests[-1][0] not in (b"L1", b"L2")


def _after_a_hiccup(new_name: Callable[[], bytes]) -> list[Sequence[Frame]]:
    """Answers to 0, 1, 2 of an echo that needs 2.5 s for the first, where a try takes 2 s.

    The echo stands behind a ROUTER: it answers each request that was ever sent, in order, to the
    name that it came from, and what has no socket of that name any more goes nowhere.
    """
    core = Lanes(ClientSettings(heartbeats=Heartbeats(interval_s=60.0)), new_name)
    mailbox: list[tuple[bytes, Frames]] = []
    sockets: set[bytes] = set()
    answers: list[Sequence[Frame]] = []

    def carry_out(steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, OpenLane):
                sockets.add(step.lane)
            elif isinstance(step, CloseLane):
                sockets.remove(step.lane)
            elif isinstance(step, SendOnLane) and step.frames[2] == b"echo":
                mailbox.append((step.lane, step.frames[3:]))
            elif isinstance(step, FinalReply):
                answers.append(step.body)

    now = 0.0
    for number in range(3):
        carry_out(core.submit(a_call(b"%d" % number, timeout_s=2.0), now))
        while len(answers) == number:
            now += 0.5
            carry_out(core.tick(now))
            if now >= 2.5:
                lane, body = mailbox.pop(0)
                if lane in sockets:
                    carry_out(core.receive(lane, [b"MDPC02", b"\x03", b"echo", *body], now))
    return answers


def test_after_a_resend_every_answer_belongs_to_its_own_request() -> None:
    numbers = itertools.count()
    assert _after_a_hiccup(lambda: b"L%d" % next(numbers)) == [[b"0"], [b"1"], [b"2"]]


def test_that_scenario_finds_a_client_that_resends_under_a_fixed_identity() -> None:
    # SSNetServer's trap: the retry gets the previous reply and every later reply is one off.
    # The second name is the probe's; it is no part of the trap.
    names = itertools.chain([b"client", b"heartbeats"], itertools.repeat(b"client"))
    assert _after_a_hiccup(lambda: next(names)) == [[b"0"], [b"0"], [b"1"]]


# Errors.


@pytest.mark.parametrize(
    ("code", "kind", "builtin"),
    [
        (400, errors.Refused, ValueError),
        (404, errors.NotServed, LookupError),
        (429, errors.QueueFull, RuntimeError),
        (500, errors.ServiceError, RuntimeError),
        (502, errors.WorkersDied, RuntimeError),
        (504, errors.TooSlow, TimeoutError),
        (599, errors.ServiceError, RuntimeError),
    ],
)
def test_an_error_reply_becomes_the_exception_of_its_code(
    code: int, kind: type[errors.MDPError], builtin: type[Exception]
) -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    shell.receive(b"L1", error(code, "the plane is odd"), 2.5)
    got = failure(shell, call)
    assert type(got) is kind
    assert isinstance(got, builtin)
    for word in ("echo", "the plane is odd", "2.5 s", "1 of 3"):
        assert word in str(got)
    assert shell.submit(a_call(b"next"), 3.0) == [SendOnLane(b"L1", ask(b"next"))]


@pytest.mark.parametrize(
    "code",
    [
        *(400, 404, 429, 500, 502, 504),
        599,
    ],
)
def test_an_errors_text_names_its_code(code: int) -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    shell.receive(b"L1", error(code), 1.0)
    assert str(code) in str(failure(shell, call))


@pytest.mark.parametrize(
    "body",
    [
        [],
        [b"MDP-ERROR"],
        [b"MDP-ERROR", b"500"],
        [b"MDP-ERROR", b"500", b"text", b"more"],
        [b"MDP-ERROR", b"five", b"text"],
        [b"MDP-ERROR", b"", b"text"],
        [b"MDP-ERROR", b"-1", b"text"],
        [b"mdp-error", b"500", b"text"],
        [b"data", b"MDP-ERROR", b"500"],
    ],
)
def test_what_only_looks_like_an_error_is_an_ordinary_answer(body: list[bytes]) -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    shell.receive(b"L1", final(*body), 0.1)
    assert answer_of(shell, call) == body


def test_an_error_text_that_is_no_utf8_is_still_an_error() -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    shell.receive(b"L1", final(b"MDP-ERROR", b"500", b"\xff\xfe"), 0.1)
    assert isinstance(failure(shell, call), errors.ServiceError)


def test_a_503_is_waited_out_for_an_interval_and_sent_again() -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    shell.tick(0.0)
    shell.answer_pulse(0.0)
    assert shell.receive(b"L1", error(503), 0.25) == []
    assert shell.core.deadline() == 1.25
    assert shell.tick(1.0) == []
    assert shell.tick(1.25) == [SendOnLane(b"L1", ask())]
    shell.receive(b"L1", final(b"x"), 1.5)
    assert answer_of(shell, call) == [b"x"]


def test_a_503_costs_no_try() -> None:
    shell, call = Shell(), a_call(timeout_s=10.0, tries=2)
    shell.submit(call, 0.0)
    shell.receive(b"L1", error(503), 0.0)
    shell.tick(1.0)
    shell.receive(b"L1", error(503), 1.0)
    shell.tick(2.0)
    shell.tick(12.0)  # the first try that counts is over
    assert call not in shell.ends
    assert len(shell.requests) == 4
    shell.run_until(100.0)
    assert "2 of 2" in str(failure(shell, call))


def test_a_broker_that_drains_for_ever_fails_the_call_when_the_time_of_its_tries_is_over() -> None:
    shell, call = Shell(), a_call(timeout_s=2.0, tries=3)
    shell.submit(call, 0.0)
    now = 0.0
    while call not in shell.ends and now < 30.0:
        if call.lane is not None:
            shell.receive(call.lane, error(503, "draining"), now)
        now += 0.5
        shell.tick(now)
    assert now <= 7.0  # tries * timeout, and the rest of an interval
    assert isinstance(failure(shell, call), errors.Draining)


def test_a_503_after_a_timeout_is_bounded_by_the_time_of_all_tries() -> None:
    shell, call = Shell(), a_call(timeout_s=2.0, tries=3)
    shell.submit(call, 0.0)
    shell.tick(2.0)
    now = 2.0
    while call not in shell.ends and now < 30.0:
        if call.lane is not None:
            shell.receive(call.lane, error(503, "draining"), now)
        now += 0.5
        shell.tick(now)
    assert 5.0 < now <= 7.0
    text = str(failure(shell, call))
    assert isinstance(failure(shell, call), errors.Draining)
    assert "503" in text
    assert "draining" in text


def test_while_a_503_is_waited_out_others_use_its_lane() -> None:
    shell = Shell(lanes=1)
    shell.submit(a_call(b"1"), 0.0)
    shell.submit(a_call(b"2"), 0.0)
    assert shell.receive(b"L1", error(503), 0.0) == [SendOnLane(b"L1", ask(b"2"))]
    shell.submit(a_call(b"3"), 0.5)
    shell.tick(1.0)
    shell.receive(b"L1", final(b"x"), 1.1)
    assert [frames for _, frames in shell.requests] == [ask(b"1"), ask(b"2"), ask(b"1")]


def test_requests_that_waited_out_a_503_are_sent_again_in_their_order() -> None:
    shell = Shell()
    for body in (b"1", b"2", b"3"):
        shell.submit(a_call(body), 0.0)
    for lane in (b"L1", b"L2", b"L3"):
        shell.receive(lane, error(503), 0.0)
    shell.tick(1.0)
    assert [frames[3] for _, frames in shell.requests[3:]] == [b"1", b"2", b"3"]


# Streams.


def test_partials_come_as_parts_and_the_final_ends_the_call() -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    assert shell.receive(b"L1", partial(b"a"), 0.1) == [PartialReply(call, [b"a"])]
    assert shell.receive(b"L1", partial(), 0.2) == [PartialReply(call, [])]
    assert shell.receive(b"L1", final(b"z"), 0.3) == [FinalReply(call, [b"z"])]


def test_parts_that_an_earlier_try_brought_are_not_delivered_twice() -> None:
    shell, call = Shell(), a_call(timeout_s=2.0)
    shell.submit(call, 0.0)
    for body in (b"a", b"b"):
        shell.receive(b"L1", partial(body), 1.0)
    shell.tick(2.0)
    second = shell.requests[-1][0]
    shell.receive(second, partial(b"a"), 2.1)
    shell.tick(4.0)
    third = shell.requests[-1][0]
    for body in (b"a", b"b", b"c", b"d"):
        shell.receive(third, partial(body), 4.1)
    shell.receive(third, final(b"e"), 4.2)
    assert shell.parts == [[b"a"], [b"b"], [b"c"], [b"d"]]
    assert answer_of(shell, call) == [b"e"]


def test_parts_on_a_closed_lane_are_dropped_and_skip_nothing() -> None:
    shell, call = Shell(), a_call(timeout_s=2.0)
    shell.submit(call, 0.0)
    shell.receive(b"L1", partial(b"a"), 1.0)
    shell.tick(2.0)
    assert shell.receive(b"L1", partial(b"b"), 2.1) == []
    second = shell.requests[-1][0]
    for body in (b"a", b"b"):
        shell.receive(second, partial(body), 2.2)
    assert shell.parts == [[b"a"], [b"b"]]


def test_an_error_after_parts_fails_the_call() -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    shell.receive(b"L1", partial(b"a"), 0.1)
    shell.receive(b"L1", error(500, "it broke"), 0.2)
    assert shell.parts == [[b"a"]]
    assert "it broke" in str(failure(shell, call))


# The probe.


def test_the_first_request_asks_at_once_who_the_broker_is() -> None:
    shell = Shell()
    assert shell.core.deadline() == math.inf
    shell.submit(a_call(), 5.0)
    assert shell.core.deadline() <= 5.0
    assert shell.tick(5.0) == [OpenLane(b"L2"), SendOnLane(b"L2", question(b"L1"))]
    assert shell.tick(5.5) == []


def test_the_pulse_asks_each_interval_while_anything_is_in_flight() -> None:
    shell = Shell(interval_s=0.5)
    shell.submit(a_call(), 0.0)
    asked_at: list[float] = []

    def answer(now: float) -> None:
        asked_at.append(now)
        shell.answer_pulse(now)

    shell.run_until(2.1, answer=answer)
    assert asked_at == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert {lane for lane, _ in shell.probes} == {b"L2"}


def test_the_pulse_never_asks_while_nothing_is_in_flight() -> None:
    shell = Shell()
    assert shell.tick(0.0) == []
    shell.submit(a_call(), 1.0)
    shell.tick(1.0)
    shell.answer_pulse(1.1)
    shell.receive(b"L1", final(b"x"), 1.2)
    assert shell.core.deadline() == math.inf
    assert shell.tick(50.0) == []


def test_after_a_pause_the_pulse_starts_with_a_whole_interval() -> None:
    shell = Shell()
    shell.submit(a_call(), 0.0)
    shell.tick(0.0)
    shell.answer_pulse(0.1)
    shell.receive(b"L1", final(b"x"), 0.2)
    shell.submit(a_call(), 10.0)
    assert shell.tick(10.0) == []
    assert shell.core.deadline() == 11.0
    assert shell.tick(11.0) == [SendOnLane(b"L2", question(b"L1"))]


def test_short_requests_one_after_the_other_do_not_ask_again() -> None:
    shell = Shell()
    shell.submit(a_call(), 0.0)
    shell.tick(0.0)
    shell.answer_pulse(0.0)
    shell.receive(b"L1", final(b"x"), 0.0)
    for tenth in range(1, 100):
        shell.submit(a_call(), tenth / 10)
        shell.tick(tenth / 10)
        shell.receive(b"L1", final(b"x"), tenth / 10 + 0.05)
    assert len(shell.probes) == 1


def test_the_pulse_names_every_lane_in_flight_and_no_other() -> None:
    shell = Shell()
    for _ in range(3):
        shell.submit(a_call(), 0.0)
    shell.receive(b"L2", final(b"x"), 0.0)
    shell.tick(0.0)
    assert shell.probes[-1][1] == question(b"L1", b"L3")


def test_the_pulse_of_many_lanes_is_a_message_that_a_broker_takes() -> None:
    shell = Shell(lanes=MAX_LANES)
    for _ in range(MAX_LANES):
        shell.submit(a_call(), 0.0)
    shell.tick(0.0)
    # a broker drops messages of more than 1024 frames, the client's address among them
    assert len(shell.probes[-1][1]) <= 1023


def test_what_a_new_broker_does_not_hold_is_sent_again_at_once_on_a_fresh_lane() -> None:
    shell = Shell()
    shell.submit(a_call(b"1", timeout_s=60.0), 0.0)
    shell.submit(a_call(b"2", timeout_s=60.0), 0.0)
    shell.tick(0.0)  # the probe is L3
    shell.answer_pulse(0.1, "first")
    shell.tick(1.0)
    steps = shell.receive(b"L3", report("second", lost=[b"L1"]), 1.1)
    assert steps == [
        CloseLane(b"L1"),
        SendOnLane(b"L3", cancel(b"L1")),
        OpenLane(b"L4"),
        SendOnLane(b"L4", ask(b"1")),
    ]
    assert shell.receive(b"L1", final(b"late"), 1.2) == []


def test_a_restart_of_the_broker_costs_no_try() -> None:
    shell, call = Shell(), a_call(timeout_s=2.0, tries=2)
    shell.submit(call, 0.0)
    shell.tick(0.0)
    shell.answer_pulse(0.1, "first")
    shell.tick(1.0)
    shell.answer_pulse(1.0, "second", lost=[b"L1"])
    shell.run_until(3.9)
    assert call not in shell.ends
    assert len(shell.requests) == 3  # at 0, at 1 to the new broker, at 3 after a timeout
    shell.run_until(100.0)
    assert len(shell.requests) == 3
    assert "2 of 2" in str(failure(shell, call))


def test_after_restarts_of_the_broker_no_try_begins_when_the_time_of_all_is_over() -> None:
    shell, call = Shell(), a_call(timeout_s=2.0, tries=3)
    shell.submit(call, 0.0)
    for now, instance in enumerate(["first", "second", "third"]):
        shell.tick(float(now))
        assert call.lane is not None
        shell.answer_pulse(float(now), instance, lost=[call.lane] if now else [])
    shell.run_until(5.9)  # sent again at 1 and 2 to the new brokers, at 4 after a timeout
    assert len(shell.requests) == 4
    shell.run_until(6.0)
    assert isinstance(failure(shell, call), errors.RequestTimeout)
    assert len(shell.requests) == 4


def test_a_broker_that_restarts_for_ever_cannot_keep_a_call_alive() -> None:
    shell, call = Shell(), a_call(timeout_s=2.0, tries=2)
    shell.submit(call, 0.0)
    for second in range(30):
        shell.tick(float(second))
        if call.lane is not None:
            shell.answer_pulse(float(second), f"life {second}", lost=[call.lane])
    assert isinstance(failure(shell, call), errors.MDPError)


def test_the_first_answer_of_a_broker_is_no_restart() -> None:
    shell = Shell()
    shell.submit(a_call(), 0.0)
    shell.tick(0.0)
    shell.answer_pulse(0.1, "first", lost=[b"L1"])
    assert len(shell.requests) == 1


def test_one_restart_is_noticed_once() -> None:
    shell = Shell()
    shell.submit(a_call(timeout_s=60.0), 0.0)
    for second, instance in enumerate(["a", "b", "b", "b"]):
        shell.tick(float(second))
        shell.answer_pulse(float(second), instance, lost=[shell.requests[-1][0]])
    assert len(shell.requests) == 2


def test_a_lane_that_the_same_broker_does_not_hold_is_believed_after_liveness_pulses() -> None:
    shell = Shell(liveness=3)
    shell.submit(a_call(timeout_s=1000.0), 0.0)
    sent_after: list[int] = []  # the number of the probe
    for second in range(23):
        earlier = len(shell.requests)
        shell.tick(float(second))
        shell.answer_pulse(float(second), "first", lost=[shell.requests[-1][0]])
        if len(shell.requests) > earlier:
            sent_after.append(second + 1)
    assert sent_after == [3, 3 + 6, 3 + 6 + 12]  # patience doubles


def test_pulses_that_miss_a_lane_count_only_in_a_row() -> None:
    shell = Shell(liveness=2)
    shell.submit(a_call(timeout_s=1000.0), 0.0)
    for second in range(10):
        shell.tick(float(second))
        shell.answer_pulse(float(second), "first", lost=[b"L1"] if second % 2 else [])
    assert len(shell.requests) == 1


def test_what_a_lane_carried_before_is_not_held_against_its_next_request() -> None:
    # The answer to the first request and the probe's answer crossed: the broker was asked of L1
    # when it had answered already, and now L1 carries something else.
    shell = Shell(liveness=1)
    shell.submit(a_call(b"1"), 0.0)
    shell.tick(0.0)
    shell.receive(b"L1", final(b"x"), 0.1)
    shell.submit(a_call(b"2"), 0.2)
    shell.answer_pulse(0.3, "first", lost=[b"L1"])
    assert [frames for _, frames in shell.requests] == [ask(b"1"), ask(b"2")]


def test_an_unanswered_pulse_is_asked_again_on_a_fresh_socket_after_liveness_intervals() -> None:
    shell = Shell(interval_s=2.0, liveness=3)
    shell.submit(a_call(timeout_s=100.0), 0.0)
    shell.tick(0.0)
    shell.answer_pulse(0.1)
    shell.tick(2.0)
    assert shell.core.deadline() == 8.0
    assert shell.tick(7.9) == []
    assert shell.tick(8.0) == [
        CloseLane(b"L2"),
        OpenLane(b"L3"),
        SendOnLane(b"L3", question(b"L1", lease=b"lease=12.000")),
    ]
    assert shell.receive(b"L2", report("second", lost=[b"L1"]), 8.1) == []
    assert shell.core.deadline() == 14.0  # a known broker is asked at the same pace


def test_a_broker_that_comes_back_after_a_silence_gets_what_it_lost_again() -> None:
    shell = Shell()
    shell.submit(a_call(timeout_s=100.0), 0.0)
    shell.tick(0.0)
    shell.answer_pulse(0.1, "first")
    shell.tick(1.0)
    shell.tick(4.0)
    shell.answer_pulse(4.1, "second", lost=[b"L1"])
    assert len(shell.requests) == 2


# Foreign brokers.


def _pulse_answers() -> list[Frames]:
    good = {"instance": "a", "lost": []}
    bodies: list[list[bytes]] = [
        [b"501"],
        [b"404"],
        [b"MDP-ERROR", b"404", b"no worker for mmi.broker"],
        [],
        [b"200"],
        [b"200", b""],
        [b"200", b"\xc1"],
        [b"200", b"garbage"],
        [b"200", msgpack.packb(good) + b"x"],
        [b"200", msgpack.packb(good)[:-1]],
        [b"200", msgpack.packb(good), b"more"],
        [b"200", msgpack.packb([])],
        [b"200", msgpack.packb(7)],
        [b"200", msgpack.packb(None)],
        [b"200", msgpack.packb("text")],
        [b"200", msgpack.packb({"instance": "a"})],
        [b"200", msgpack.packb({"lost": []})],
        [b"200", msgpack.packb({"instance": "a", "lost": 7})],
        [b"200", msgpack.packb({"instance": "a", "lost": [{}]})],
        [b"200", msgpack.packb({1: 2})],
        [b"200", b"\x91" * 2000 + b"\xc0"],
    ]
    return [final(*body, service=b"mmi.broker") for body in bodies]


@pytest.mark.parametrize("frames", _pulse_answers())
def test_a_broker_that_does_not_know_mmi_broker_does_no_harm(frames: Frames) -> None:
    shell, call = Shell(), a_call(timeout_s=50.0)
    shell.submit(call, 0.0)
    shell.tick(0.0)
    assert shell.receive(b"L2", frames, 0.1) == []
    assert shell.core.deadline() == 50.0  # it is not asked again
    assert shell.tick(40.0) == []
    shell.receive(b"L1", final(b"x"), 45.0)
    assert answer_of(shell, call) == [b"x"]
    assert shell.core.deadline() == math.inf


def test_while_no_broker_is_there_the_probe_tries_again_every_4_seconds() -> None:
    shell, call = Shell(), a_call(timeout_s=300.0)
    shell.submit(call, 0.0)
    asked_at: list[float] = []
    shell.run_until(30.0, answer=asked_at.append)
    assert asked_at == [0.0, 3.0, 7.0, 11.0, 15.0, 19.0, 23.0, 27.0]
    shell.receive(b"L1", final(b"x"), 32.0)
    assert answer_of(shell, call) == [b"x"]


def test_with_slow_heartbeats_the_probe_waits_as_long_as_they_say() -> None:
    shell, call = Shell(interval_s=5.0), a_call(timeout_s=300.0)
    shell.submit(call, 0.0)
    asked_at: list[float] = []
    shell.run_until(50.0, answer=asked_at.append)
    assert asked_at == [0.0, 15.0, 30.0, 45.0]


def test_the_waits_of_a_probe_that_tries_again_are_shortened_at_random() -> None:
    """The first wait is not: it is the silence after which the connection counts as dead."""
    shell, call = Shell(random=lambda: 0.5), a_call(timeout_s=300.0)
    shell.submit(call, 0.0)
    asked_at: list[float] = []
    shell.run_until(14.0, answer=asked_at.append)
    assert asked_at == [0.0, 3.0, 6.5, 10.0, 13.5]


def test_a_thousand_clients_do_not_come_back_in_one_instant() -> None:
    """After an outage of a minute, each asks within 4 s, and no tenth of a second has many."""
    asked_at: list[float] = []
    for seed in range(1000):
        shell = Shell(random=random.Random(seed).random)
        shell.submit(a_call(timeout_s=300.0), 0.0)
        shell.run_until(60.0)
        asked_at.append(shell.core.deadline())
    assert min(asked_at) > 60.0
    assert max(asked_at) <= 64.0
    tenths = Counter(int(10 * at) for at in asked_at)
    assert max(tenths.values()) < 100


def test_a_foreign_broker_that_never_answers_the_pulse_is_asked_ever_more_rarely() -> None:
    """It is alive, because it answers on other lanes."""
    shell, call = Shell(), a_call(timeout_s=300.0)
    shell.submit(call, 0.0)
    asked_at: list[float] = []

    def answer(now: float) -> None:
        asked_at.append(now)
        assert call.lane is not None
        shell.receive(call.lane, partial(b"x"), now)

    shell.run_until(250.0, answer=answer)
    assert asked_at == [0.0, 3.0, 9.0, 21.0, 45.0, 93.0, 153.0, 213.0]  # 60 s at most


def test_an_answer_to_a_pulse_makes_the_broker_known_again() -> None:
    shell = Shell()
    shell.submit(a_call(timeout_s=300.0), 0.0)
    shell.run_until(21.0)
    shell.answer_pulse(22.0)
    shell.tick(22.0)
    shell.answer_pulse(22.0)
    shell.tick(23.0)
    assert shell.core.deadline() == 26.0


@pytest.mark.parametrize("body", [[b"501"], [b"404"], [b"200", msgpack.packb({"cancelled": 1})]])
def test_the_answer_to_a_cancel_is_of_no_consequence(body: list[bytes]) -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    shell.submit(a_call(), 0.0)
    shell.tick(0.0)
    shell.abandon(call, 0.1)
    assert shell.receive(b"L3", final(*body, service=b"mmi.cancel"), 0.2) == []
    shell.answer_pulse(0.3)
    assert shell.core.deadline() == 1.0


# Giving up.


def test_an_abandoned_call_is_cancelled_and_never_heard_of_again() -> None:
    shell, call = Shell(lanes=1), a_call(b"1")
    shell.submit(call, 0.0)
    shell.submit(a_call(b"2"), 0.0)
    shell.tick(0.0)
    assert shell.abandon(call, 0.1) == [
        CloseLane(b"L1"),
        SendOnLane(b"L2", cancel(b"L1")),
        OpenLane(b"L3"),
        SendOnLane(b"L3", ask(b"2")),
    ]
    assert shell.receive(b"L1", final(b"x"), 0.2) == []
    assert shell.abandon(call, 0.3) == []
    assert call not in shell.ends


def test_a_call_that_waits_for_a_lane_can_be_abandoned() -> None:
    shell, waiting = Shell(lanes=1), a_call(b"2")
    shell.submit(a_call(b"1"), 0.0)
    shell.submit(waiting, 0.0)
    shell.submit(a_call(b"3"), 0.0)
    assert shell.abandon(waiting, 0.1) == []
    shell.receive(b"L1", final(b"x"), 0.2)
    assert [frames[3] for _, frames in shell.requests] == [b"1", b"3"]


def test_a_call_that_waits_out_a_503_can_be_abandoned() -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    shell.receive(b"L1", error(503), 0.0)
    assert shell.abandon(call, 0.5) == []
    assert shell.core.deadline() == math.inf
    assert shell.tick(5.0) == []


def test_a_call_that_is_over_cannot_be_abandoned() -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    shell.receive(b"L1", final(b"x"), 0.1)
    assert shell.abandon(call, 0.2) == []


def test_close_fails_every_call_cancels_what_flies_and_closes_every_socket() -> None:
    shell = Shell(lanes=2)
    calls = [a_call(b"%d" % number) for number in range(4)]
    for call in calls:
        shell.submit(call, 0.0)
    shell.tick(0.0)  # the probe is L3
    shell.receive(b"L1", error(503), 0.1)  # 0 rests, 1 and 2 fly, 3 waits
    shell.close()
    assert shell.open == set()
    assert [frames for _, frames in shell.cancels] == [cancel(b"L2"), cancel(b"L1")]
    for call in calls:
        assert isinstance(failure(shell, call), errors.ClientClosed)
        assert "echo" in str(failure(shell, call))


def test_close_closes_lanes_that_are_idle() -> None:
    shell = Shell()
    shell.submit(a_call(), 0.0)
    shell.receive(b"L1", final(b"x"), 0.1)
    assert shell.close() == [CloseLane(b"L1")]


def test_close_of_a_client_that_never_asked_does_nothing() -> None:
    assert Shell().close() == []


# Parts that a broken connection has lost.


def _part(number: int, body: bytes, *, final: bool = False) -> Frames:
    return [b"MDPC02", b"\x13" if final else b"\x12", b"echo", b"%d" % number, body]


def test_numbered_parts_arrive_as_any_others() -> None:
    shell = Shell()
    call = a_call()
    shell.submit(call, 0.0)
    lane = shell.requests[0][0]
    shell.receive(lane, _part(0, b"p0"), 0.1)
    shell.receive(lane, _part(1, b"p1"), 0.2)
    shell.receive(lane, _part(2, b"last", final=True), 0.3)
    assert shell.parts == [[b"p0"], [b"p1"]]
    assert shell.ends[call] == FinalReply(call, [b"last"])


@pytest.mark.parametrize("final", [True, False])
def test_a_part_that_was_lost_is_noticed_and_each_part_arrives_once(final: bool) -> None:
    shell = Shell()
    call = a_call(tries=1)
    shell.submit(call, 0.0)
    lane = shell.requests[0][0]
    shell.receive(lane, _part(0, b"p0"), 0.1)
    shell.receive(lane, _part(2, b"p2", final=final), 0.2)
    assert call not in shell.ends
    assert [frames for _, frames in shell.cancels] == [cancel(lane)]
    again = shell.requests[1][0]
    assert again != lane
    for number in range(3):
        shell.receive(again, _part(number, b"p%d" % number), 0.3)
    shell.receive(again, _part(3, b"last", final=True), 0.4)
    assert shell.parts == [[b"p0"], [b"p1"], [b"p2"]]
    assert shell.ends[call] == FinalReply(call, [b"last"])
