"""The client's core with a contact file, and a client that waits: by the numbers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest

from mdp.client.lane import CloseLane, FinalReply, Met, OpenLane, SendOnLane, Silent
from mdp.errors import MDPError, RequestTimeout
from mdp.sockets.addresses import Place
from mdp.wire import Frames
from tests.mdp.test_lane import Shell, a_call, ask, error, final

OLD, NEW = Place("tcp://a:1", "old"), Place("tcp://b:2", "new")
CHECK: Frames = [b"MDPC02", b"\x01", b"mmi.broker"]


class File:
    """The contact file: what it says now, and how often it was read."""

    def __init__(self, place: Place | None = OLD) -> None:
        self.place = place
        self.reads = 0

    def __call__(self) -> Place:
        self.reads += 1
        if self.place is None:
            raise MDPError("no contact file")
        return self.place


def report(instance: str, lost: Sequence[bytes] = (), **more: Any) -> Frames:
    packed = msgpack.packb({"instance": instance, "lost": list(lost), **more})
    return final(b"200", packed, service=b"mmi.broker")


def sent(steps: Sequence[object]) -> list[tuple[bytes, Frames]]:
    return [(step.lane, step.frames) for step in steps if isinstance(step, SendOnLane)]


def ready(shell: Shell, instance: str = "old") -> bytes:
    """Have the probe answered by a broker; returns the first request's lane."""
    shell.tick(0.0)
    shell.receive(shell.probes[-1][0], report(instance), 0.1)
    return shell.names[-1]


def test_nothing_is_sent_before_the_broker_of_the_file_has_answered() -> None:
    shell = Shell(locate=File())
    assert shell.submit(a_call(), 0.0) == []
    assert sent(shell.tick(0.0))[0][0] == b"L1"  # the probe's question
    assert shell.requests == []
    steps = shell.receive(b"L1", report("old"), 0.1)
    assert steps == [OpenLane(b"L2"), SendOnLane(b"L2", CHECK)]


def test_a_new_lane_sends_its_request_when_the_right_broker_has_answered_there() -> None:
    shell = Shell(locate=File())
    call = a_call()
    shell.submit(call, 0.0)
    lane = ready(shell)
    assert shell.receive(lane, report("old"), 0.2) == [SendOnLane(lane, ask())]
    shell.receive(lane, final(b"hi"), 0.3)
    assert isinstance(shell.ends[call], FinalReply)
    assert shell.submit(a_call(b"2"), 0.4) == [SendOnLane(lane, ask(b"2"))]  # it was checked


def test_another_broker_at_the_address_gets_no_request() -> None:
    file = File()
    shell = Shell(locate=file)
    shell.submit(a_call(), 0.0)
    shell.tick(0.0)
    steps = shell.receive(b"L1", report("other", user="eve", host="n1"), 0.1)
    assert steps == [CloseLane(b"L1")]
    shell.tick(1.1)  # the file is read again, and the probe asks on a new lane
    assert (file.reads, shell.requests) == (2, [])
    file.place = NEW
    shell.receive(b"L2", report("other"), 1.2)
    shell.tick(2.3)
    steps = shell.receive(b"L3", report("new"), 2.4)
    assert steps == [OpenLane(b"L4"), SendOnLane(b"L4", CHECK)]


def test_a_lane_that_reaches_another_broker_sends_nothing_and_counts_no_try() -> None:
    shell = Shell(locate=File())
    call = a_call()
    shell.submit(call, 0.0)
    lane = ready(shell)
    steps = shell.receive(lane, report("other"), 0.2)
    assert CloseLane(lane) in steps
    assert not sent(steps)
    assert (call.tries_used, shell.requests) == (0, [])
    assert call in shell.core.pending


def test_the_answer_to_a_check_is_no_answer_to_a_user_who_asks_for_it() -> None:
    shell = Shell(locate=File())
    call = a_call(service=b"mmi.broker")
    shell.submit(call, 0.0)
    lane = ready(shell)
    assert shell.receive(lane, report("old"), 0.2) == [SendOnLane(lane, ask(service=b"mmi.broker"))]
    assert not shell.ends


def test_without_a_file_a_request_waits_to_the_end_of_its_time_and_the_error_says_why() -> None:
    file = File(None)
    shell = Shell(locate=file)
    call = a_call(timeout_s=2.0, tries=2)
    shell.submit(call, 0.0)
    for now in (0.0, 1.0, 2.0, 3.0):
        shell.tick(now)
    assert file.reads == 4
    assert not shell.open
    shell.tick(4.0)
    end = shell.ends[call]
    assert isinstance(end.error, RequestTimeout)  # type: ignore[union-attr]
    assert "no contact file" in str(end.error)  # type: ignore[union-attr]


def test_a_client_that_is_first_sends_when_the_file_comes() -> None:
    file = File(None)
    shell = Shell(locate=file)
    shell.submit(a_call(timeout_s=60.0), 0.0)
    shell.tick(0.0)
    file.place = OLD
    shell.tick(1.0)
    assert shell.receive(b"L1", report("old"), 1.1)[-1] == SendOnLane(b"L2", CHECK)


def test_after_silence_the_file_is_read_again_and_all_is_sent_to_the_broker_that_moved() -> None:
    file = File()
    shell = Shell(locate=file)
    calls = [a_call(bytes([n]), timeout_s=60.0) for n in range(3)]
    for call in calls:
        shell.submit(call, 0.0)
    ready(shell)
    lanes = list(shell.core.in_flight)
    for lane in lanes[:2]:
        shell.receive(lane, report("old"), 0.2)
    file.place = NEW
    shell.tick(1.2)
    shell.tick(4.2)  # silent for 3 s: another lane for the probe
    asked = shell.probes[-1][0]
    held = a_call(b"held", timeout_s=60.0)
    assert shell.submit(held, 4.3) == []  # held until the new broker has answered
    shell.receive(asked, report("new", lost=lanes), 4.4)
    checks = list(shell.core.in_flight)
    assert len(checks) == 4
    assert not set(lanes) & set(checks)
    before = len(shell.requests)
    for lane in checks:
        shell.receive(lane, report("new"), 4.5)
    bodies: list[Any] = [frames[3] for _, frames in shell.requests[before:]]
    assert sorted(bodies) == [b"\0", b"\1", b"\2", b"held"]
    assert {call.tries_used for call in (*calls, held)} == {1}


def test_a_broker_that_drains_is_left_and_its_held_requests_stay() -> None:
    file = File()
    shell = Shell(locate=file)
    busy, queued = a_call(b"busy", timeout_s=600.0), a_call(b"queued", timeout_s=600.0)
    shell.submit(busy, 0.0)
    shell.submit(queued, 0.0)
    ready(shell)
    first, second = shell.core.in_flight
    shell.receive(first, report("old"), 0.2)
    shell.receive(second, report("old"), 0.2)
    file.place = NEW
    steps = shell.receive(second, error(503), 2.0)
    [(lane, frames)] = sent(steps)
    assert (lane, frames[3]) == (b"L1", first)  # the last heartbeat, with a long lease
    assert {CloseLane(second), CloseLane(b"L1")} <= set(map_closed(steps))
    shell.tick(2.0)
    probe = shell.probes[-1][0]
    shell.receive(probe, report("new", lost=[first]), 2.1)
    assert list(shell.core.in_flight) == [first]  # the old broker still answers it
    shell.tick(3.0)  # the other one is sent again, to the new broker
    [moved] = [lane for lane in shell.core.in_flight if lane != first]
    assert sent(shell.receive(moved, report("new"), 3.1)) == [(moved, ask(b"queued"))]
    shell.receive(first, final(b"done"), 5.0)
    assert isinstance(shell.ends[busy], FinalReply)
    assert first not in shell.open  # no other request goes to the old broker


def map_closed(steps: Sequence[object]) -> list[CloseLane]:
    return [step for step in steps if isinstance(step, CloseLane)]


def test_a_client_without_a_503_learns_from_the_report_that_the_broker_drains() -> None:
    file = File()
    shell = Shell(locate=file)
    shell.submit(a_call(timeout_s=60.0), 0.0)
    lane = ready(shell)
    shell.receive(lane, report("old"), 0.2)
    file.place = NEW
    shell.tick(1.1)
    shell.receive(b"L1", report("old", draining=True), 1.2)
    shell.tick(1.2)
    assert shell.core.place == NEW
    assert list(shell.core.in_flight) == [lane]


def test_what_a_leaving_broker_never_answers_is_sent_to_the_new_one_after_a_minute() -> None:
    file = File()
    shell = Shell(locate=file)
    shell.submit(a_call(timeout_s=600.0), 0.0)
    lane = ready(shell)
    shell.receive(lane, report("old"), 0.2)
    file.place = NEW
    shell.tick(1.1)
    shell.receive(b"L1", report("old", draining=True), 1.2)
    now = 1.2
    while lane in shell.core.in_flight and now < 100.0:
        shell.tick(now)
        shell.receive(shell.probes[-1][0], report("new", lost=[lane]), now + 0.1)
        now += 1.0
    assert 60.0 < now < 70.0
    assert len(shell.core.in_flight) == 1


def test_a_request_that_a_leaving_broker_has_not_got_yet_goes_to_the_new_one() -> None:
    file = File()
    shell = Shell(locate=file)
    call = a_call(timeout_s=600.0)
    shell.submit(call, 0.0)
    lane = ready(shell)  # its lane has not been checked
    file.place = NEW
    shell.tick(1.1)
    assert CloseLane(lane) in shell.receive(b"L1", report("old", draining=True), 1.2)
    shell.tick(1.2)
    shell.receive(shell.probes[-1][0], report("new"), 1.3)
    [moved] = shell.core.in_flight
    assert sent(shell.receive(moved, report("new"), 1.4)) == [(moved, ask())]
    assert call.tries_used == 1


def test_an_address_without_an_instance_in_the_file_needs_no_check() -> None:
    shell = Shell(locate=File(Place("tcp://a:1")))
    shell.submit(a_call(), 0.0)
    steps = shell.tick(0.0)
    assert sent(steps)[-1][1] == ask()


# A client that waits.


def test_a_404_is_no_end_for_a_client_that_waits() -> None:
    shell = Shell(waits=True)
    call = a_call(timeout_s=100.0, tries=2)
    shell.submit(call, 0.0)
    shell.tick(0.0)
    [(lane, _)] = shell.requests
    assert not shell.receive(lane, error(404), 60.0)
    shell.tick(61.0)
    assert len(shell.requests) == 2
    shell.receive(lane, error(404), 199.5)  # its time is over before it could be sent again
    assert "404" in str(shell.ends[call].error)  # type: ignore[union-attr]


def test_it_says_which_workers_it_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="mdp")
    shell = Shell(waits=True)
    shell.submit(a_call(timeout_s=1000.0), 0.0)
    shell.tick(0.0)
    probe = shell.probes[-1][0]
    for now in range(1, 130):
        unserved = {"ssnet-plane2": now + 500.0}  # longer than this client has waited
        shell.receive(probe, report("old", unserved=unserved), now - 0.5)
        shell.tick(float(now))
    lines = [record.getMessage() for record in caplog.records if "waiting" in record.getMessage()]
    assert lines == [
        "waiting for workers of ssnet-plane2, 10 s",
        "waiting for workers of ssnet-plane2, 60 s",
        "waiting for workers of ssnet-plane2, 120 s",
    ]
    shell.receive(probe, report("old", unserved={}), 130.0)
    caplog.clear()
    for now in range(131, 200):
        shell.tick(float(now))
        shell.receive(shell.probes[-1][0], report("old"), now + 0.1)
    assert not caplog.records


def test_it_reports_a_silent_broker_after_ten_seconds_then_each_minute() -> None:
    shell = Shell(waits=True)
    shell.submit(a_call(timeout_s=1000.0), 5.0)
    for tenth in range(50, 1400):
        shell.tick(tenth / 10)
    assert [round(step.silent_s) for step in shell.told if isinstance(step, Silent)] == [
        10,
        60,
        120,
    ]


def test_the_reason_of_silence_is_that_of_the_contact_file() -> None:
    shell = Shell(waits=True, locate=File(None))
    shell.submit(a_call(timeout_s=1000.0), 0.0)
    for second in range(12):
        shell.tick(float(second))
    [told] = shell.told
    assert isinstance(told, Silent)
    assert told.reason == "no contact file"


def test_a_client_that_does_not_wait_fails_by_a_404_and_says_nothing() -> None:
    shell = Shell()
    call = a_call(timeout_s=1000.0)
    shell.submit(call, 0.0)
    for second in range(60):
        shell.tick(float(second))
    [(lane, _)] = shell.requests
    shell.receive(lane, error(404), 60.0)
    assert call in shell.ends
    assert not shell.told


def test_a_new_broker_that_names_its_user_is_met_once() -> None:
    shell = Shell()
    shell.submit(a_call(timeout_s=60.0), 0.0)
    shell.tick(0.0)
    for now in (1.0, 2.0):
        shell.receive(shell.probes[-1][0], report("old", user="eve", host="n1"), now)
        shell.tick(now + 0.5)
    assert shell.told == [Met("eve", "n1")]
