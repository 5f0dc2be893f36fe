"""What a client does while an operator has paused a service, and which ids its requests have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack
import pytest

from mdp.client.lane import ClientRequest, Failed, Lanes, Paused, SendOnLane, Step
from mdp.errors import RequestTimeout
from mdp.settings import ClientSettings, Heartbeats
from mdp.wire import Frames

BY = {"by": "key ann (ann@n1)", "for_s": 7.0}
WHO = b"who=n7:812 bob"


def answer(service: bytes, *body: bytes) -> Frames:
    return [b"MDPC02", b"\x03", service, *body]


class Walk:
    """A client with lanes that are named as real ones, and a broker that answers its probe."""

    def __init__(self, *, timeout_s: float = 10.0, tries: int = 1, lanes: int = 8) -> None:
        self.made = 0
        self.core = Lanes(
            ClientSettings(heartbeats=Heartbeats(1.0, 3), lanes=lanes), self._name, who=WHO
        )
        self.timeout_s, self.tries = timeout_s, tries
        self.steps: list[Step] = []

    def _name(self) -> bytes:
        self.made += 1
        return b"Lclient-1%08d" % self.made

    def do(self, steps: list[Step]) -> list[Step]:
        self.steps += steps
        return steps

    def submit(self, now: float, service: bytes = b"echo") -> ClientRequest:
        call = ClientRequest(service, [b"x"], None, timeout_s=self.timeout_s, tries=self.tries)
        self.do(self.core.submit(call, now))
        self.do(self.core.tick(now))
        return call

    def report(
        self, now: float, paused: Mapping[str, Any] | None = None, **more: Any
    ) -> list[Step]:
        """The broker answers the probe."""
        lane = self.core.probe_lane
        assert lane is not None
        fields = {"instance": "aa", "lost": [], "paused": paused or {}, **more}
        packed = msgpack.packb(fields)
        return self.do(self.core.receive(lane, answer(b"mmi.broker", b"200", packed), now))

    def seconds(self, first: int, last: int, paused: Mapping[str, Any] | None = None) -> list[Step]:
        """Each second, the probe asks and the broker answers."""
        out: list[Step] = []
        for now in range(first, last):
            out += self.do(self.core.tick(float(now)))
            out += self.report(now + 0.01, paused)
        return out

    def requests(self) -> list[Frames]:
        sends = [step.frames for step in self.steps if isinstance(step, SendOnLane)]
        return [frames for frames in sends if not bytes(frames[2]).startswith(b"mmi.")]  # type: ignore[call-overload]


def kinds(steps: list[Step], kind: type) -> list[Any]:
    return [step for step in steps if isinstance(step, kind)]


def test_the_time_of_a_paused_request_stands_still_and_goes_on_after_it() -> None:
    walk = Walk(timeout_s=10.0)
    call = walk.submit(0.0)
    walk.report(0.01)
    assert not kinds(walk.seconds(1, 100, {"echo": BY}), Failed)
    out = walk.seconds(100, 108)
    assert not kinds(out, Failed), "of its 10 s, about 1 s was over before the pause"
    [failed] = kinds(walk.seconds(108, 113), Failed)
    assert failed.call is call
    assert isinstance(failed.error, RequestTimeout)


def test_requests_of_other_services_keep_their_time() -> None:
    walk = Walk(timeout_s=10.0)
    walk.submit(0.0)
    other = walk.submit(0.0, b"plane2")
    [failed] = kinds(walk.seconds(0, 30, {"echo": BY}), Failed)
    assert failed.call is other


def test_a_broker_that_is_silent_for_long_does_not_stretch_the_time_beyond_it() -> None:
    walk = Walk(timeout_s=1000.0)
    walk.submit(0.0)
    walk.report(0.01)
    call = next(iter(walk.core.in_flight.values()))
    before = call.due_at
    walk.do(walk.core.tick(500.0))
    walk.report(500.0, {"echo": BY})
    assert 0 < call.due_at - before <= 6.0, "at most twice the time of a silent broker"


def test_the_pause_is_named_at_once_then_each_minute_and_its_end_once() -> None:
    walk = Walk(timeout_s=10.0)
    walk.submit(0.0)
    out = walk.seconds(0, 125, {"echo": BY})
    assert [(s.service, s.by, s.for_s) for s in kinds(out, Paused)] == [
        ("echo", "key ann (ann@n1)", 7.0)
    ] * 3
    out = walk.seconds(125, 130)
    assert [(s.service, s.ends) for s in kinds(out, Paused)] == [("echo", True)]


@pytest.mark.parametrize("odd", [7, [], {"echo": 3}, {"echo": {}}, {"echo": {"for_s": "x"}}])
def test_odd_reports_of_pauses_change_nothing(odd: Any) -> None:
    walk = Walk()
    walk.submit(0.0)
    assert kinds(walk.report(0.01, odd), Paused) == []


# Ids.


def test_the_first_request_of_a_lane_has_its_name_as_id_and_is_spelled_as_in_the_rfc() -> None:
    walk = Walk()
    call = walk.submit(0.0)
    assert call.lane is not None
    assert call.id == call.lane[-8:]
    assert walk.requests() == [[b"MDPC02", b"\x01", b"echo", b"x"]]


def one_after_the_other(walk: Walk, **report: Any) -> list[Frames]:
    """Two requests on one lane; the broker has answered the probe before the second one."""
    first = walk.submit(0.0)
    walk.report(0.01, **report)
    lane = first.lane
    assert lane is not None
    walk.do(walk.core.receive(lane, answer(b"echo", b"y"), 0.1))
    second = walk.submit(0.2)
    assert second.lane == lane
    assert second.id not in (b"", first.id)
    return walk.requests()


def test_a_later_request_carries_its_id_behind_the_command_if_the_broker_knows_ids() -> None:
    walk = Walk()
    _, frames = one_after_the_other(walk, request_ids=True)
    [call] = walk.core.in_flight.values()
    assert frames == [b"MDPC02", b"\x01" + call.id, b"echo", b"x"]


@pytest.mark.parametrize("report", [{}, {"request_ids": False}, {"request_ids": 1}])
def test_other_brokers_get_the_request_of_the_rfc(report: dict[str, Any]) -> None:
    _, frames = one_after_the_other(Walk(), **report)
    assert frames == [b"MDPC02", b"\x01", b"echo", b"x"]


def test_after_silence_the_broker_may_be_another_one_and_gets_the_request_of_the_rfc() -> None:
    walk = Walk(timeout_s=3.5, tries=3)
    one_after_the_other(walk, request_ids=True)
    for tenth in range(3, 80):  # nothing answers any more
        walk.do(walk.core.tick(tenth / 10))
    assert walk.requests()[-1] == [b"MDPC02", b"\x01", b"echo", b"x"]


def test_all_tries_of_a_request_have_one_id_and_the_error_names_it() -> None:
    walk = Walk(timeout_s=1.5, tries=2)
    call = walk.submit(0.0)
    first = call.id
    walk.report(0.01, request_ids=True)
    out = [*walk.do(walk.core.tick(1.0)), *walk.report(1.01, request_ids=True)]
    out += walk.do(walk.core.tick(1.5))
    assert walk.requests()[-1] == [b"MDPC02", b"\x01" + first, b"echo", b"x"]
    out = walk.do(walk.core.tick(3.1))
    [failed] = kinds(out, Failed)
    assert failed.error.request == first.hex()
    assert f"request {first.hex()}" in str(failed.error)


def test_the_probe_says_where_the_client_runs() -> None:
    walk = Walk()
    walk.submit(0.0)
    sends = [step.frames for step in walk.steps if isinstance(step, SendOnLane)]
    [question] = [frames for frames in sends if frames[2] == b"mmi.broker"]
    assert question[-2:] == [WHO, b"lease=6.000"]
