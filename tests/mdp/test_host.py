"""A worker's host by the numbers: its child, its conversation, and a random walk through both."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mdp.settings import WorkerLife, WorkerSettings
from mdp.wire import Frame, Frames
from mdp.worker.host import Host, KillChild, StartChild, Step, Work
from mdp.worker.session import Close, Open, Send
from tests.support.steps import Steps

FACTS = b"\x81\xa7regular\xc2"  # msgpack: {"regular": False}
ANNOUNCED = Send([b"MDPC02", b"\x01", b"mmi.fingerprint", b"echo", b"", FACTS])
READY = Send([b"MDPW02", b"\x01", b"echo"])
OPENED = [Open(), ANNOUNCED, READY]
FACTS_AFTER_A_DEATH = b"\x82\xa7regular\xc2\xa8restarts\x01"  # ..., "restarts": 1}
OPENED_AFTER_A_DEATH = [Open(), Send([*ANNOUNCED.frames[:-1], FACTS_AFTER_A_DEATH]), READY]
HEARTBEAT = Send([b"MDPW02", b"\x05"])
DISCONNECT = Send([b"MDPW02", b"\x06"])
CRASHED = Send([b"MDPC02", b"\x01", b"mmi.crashed", b"t"])
HEARD: Frames = [b"MDPW02", b"\x05"]
RETIRE = Send([b"MDPC02", b"\x01", b"mmi.retire"])
RETIRED: Frames = [b"MDPC02", b"\x03", b"mmi.retire", b"200", b"\x80"]
GO_AWAY: Frames = [b"MDPW02", b"\x06"]


def request(token: bytes, *body: bytes) -> Frames:
    return [b"MDPW02", b"\x02", token, b"", *body]


def stop(token: bytes, how: bytes) -> Frames:
    return [b"MDPC02", b"\x03", b"mmi.stop", token, how]


def reply(token: bytes, *body: bytes) -> Send:
    return Send([b"MDPW02", b"\x04", token, b"", *body])


def part(token: bytes, *body: bytes) -> Send:
    return Send([b"MDPW02", b"\x03", token, b"", *body])


class Watched(Host):
    """A host whose steps can be compared."""

    def ready(
        self,
        now: float,
        fingerprint: bytes = b"",
        *,
        regular: bool = False,
        facts: Mapping[str, Any] | None = None,
    ) -> list[Step]:
        return Steps(super().ready(now, fingerprint, regular=regular, facts=facts))

    def answered(
        self, number: int, body: Sequence[Frame], *, final: bool, now: float
    ) -> list[Step]:
        return Steps(super().answered(number, body, final=final, now=now))

    def died(self, how: str, now: float) -> list[Step]:
        return Steps(super().died(how, now))

    def receive(self, frames: Frames, now: float) -> list[Step]:
        return Steps(super().receive(frames, now))

    def tick(self, now: float) -> list[Step]:
        return Steps(super().tick(now))

    def disconnected(self, now: float, why: str = "it broke") -> list[Step]:
        return Steps(super().disconnected(now, why))

    def drain(self, now: float) -> list[Step]:
        return Steps(super().drain(now))

    def stop(self, now: float) -> list[Step]:
        return Steps(super().stop(now))


def a_host(settings: WorkerSettings | None = None) -> Host:
    return Watched(b"echo", settings or WorkerSettings(), name="echo#1")


# Each state that a host can be in, at the time 0.


def dead() -> Host:
    return a_host()


def starting() -> Host:
    host = a_host()
    host.tick(0.0)
    return host


def idle() -> Host:
    host = starting()
    host.ready(0.0)
    return host


def busy() -> Host:
    host = idle()
    host.receive(request(b"t", b"x"), 0.0)
    return host


def orphaned() -> Host:
    """Its child computes what was taken from it."""
    host = busy()
    host.receive(GO_AWAY, 0.0)
    return host


def resting() -> Host:
    """Its child is idle, and its conversation is to be opened again after a wait."""
    host = idle()
    host.receive(GO_AWAY, 0.0)
    return host


def broken() -> Host:
    """Its child crashed in `setup()`, and is to be started again after a wait."""
    host = starting()
    host.died("was killed by SIGSEGV", 0.0)
    return host


STATES = [dead, starting, idle, busy, orphaned, resting, broken]
each_state = pytest.mark.parametrize("state", STATES)


# READY.


def test_a_worker_is_offered_only_after_its_setup() -> None:
    host = a_host()
    assert host.deadline() <= 0.0
    assert host.tick(0.0) == [StartChild()]
    assert host.deadline() == math.inf
    assert host.tick(500.0) == []
    assert host.ready(500.0) == OPENED


def test_heartbeats_go_on_while_the_child_computes() -> None:
    host = busy()
    for second in range(1, 100):
        assert host.deadline() == second
        assert host.tick(float(second)) == [HEARTBEAT]
        host.receive(HEARD, float(second))


def test_a_request_is_handed_to_the_child_and_its_answer_to_the_broker() -> None:
    host = idle()
    assert host.receive(request(b"t", b"a", b""), 0.1) == [Work(1, [b"a", b""])]
    assert host.answered(1, [b"p"], final=False, now=0.2) == [part(b"t", b"p")]
    assert host.answered(1, [b"z"], final=True, now=0.3) == [reply(b"t", b"z")]
    assert host.receive(request(b"u", b"b"), 0.4) == [Work(2, [b"b"])]


def test_a_second_request_while_one_is_held_goes_nowhere() -> None:
    host = busy()
    assert host.receive(request(b"u", b"y"), 0.1) == []
    assert host.answered(1, [b"z"], final=True, now=0.2) == [reply(b"t", b"z")]


# Crashes.


def test_a_crash_while_busy_is_told_to_the_broker_so_that_it_requeues() -> None:
    host = busy()
    assert host.died("was killed by SIGSEGV", 1.0) == [CRASHED, DISCONNECT, Close(flush=True)]
    assert host.deadline() == 1.0
    assert host.tick(1.0) == [StartChild()]
    assert host.ready(9.0) == OPENED_AFTER_A_DEATH


def test_a_crash_while_idle_takes_the_worker_off_the_broker() -> None:
    assert idle().died("was killed by SIGKILL", 1.0) == [DISCONNECT, Close(flush=True)]


def test_after_three_crashes_the_wait_before_a_restart_doubles_up_to_its_longest() -> None:
    host, now, waits = a_host(), 0.0, []
    for _ in range(11):
        assert host.tick(now) == [StartChild()]
        host.ready(now)
        host.receive(request(b"t"), now)
        host.died("crashed", now)
        waits.append(host.deadline() - now)
        now = host.deadline()
    assert waits == [0.0, 0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 32.0]


def test_an_answered_request_resets_the_wait_before_a_restart() -> None:
    host, now = a_host(), 0.0
    for _ in range(4):
        host.tick(now)
        host.ready(now)
        host.died("crashed", now)
        now = host.deadline()
    host.tick(now)
    host.ready(now)
    host.receive(request(b"t"), now)
    host.answered(1, [b"p"], final=False, now=now)
    host.answered(1, [b"z"], final=True, now=now)
    host.died("crashed", now)
    assert host.deadline() == now


def test_a_setup_that_fails_is_tried_again_after_a_wait_the_first_time_too() -> None:
    host = starting()
    host.died("crashed", 1.0)
    assert host.deadline() == 1.5


def test_a_part_alone_does_not_reset_the_wait_before_a_restart() -> None:
    host = busy()
    for number in range(2, 5):
        host.died("crashed", 0.0)
        host.tick(0.0)
        host.ready(0.0)
        host.receive(request(b"u"), 0.0)
        host.answered(number, [b"p"], final=False, now=0.5)
    host.died("crashed", 0.5)
    assert host.deadline() == 1.0


def test_a_child_may_crash_for_days_and_is_still_started_again() -> None:
    host, now = a_host(), 0.0
    for _ in range(1100):
        assert host.tick(now) == [StartChild()]
        host.ready(now)
        host.died("crashed", now)
        now = host.deadline()
    assert not host.ended


# setup().


@pytest.mark.parametrize("reason", ["FileNotFoundError: no net.caffemodel", None])
def test_a_setup_that_fails_three_times_ends_the_worker_and_says_why(reason: str | None) -> None:
    host, now = a_host(), 0.0
    for attempt in (1, 2, 3):
        assert host.tick(now) == [StartChild()]
        if reason is not None:
            assert host.setup_failed(reason, now) == []
            assert not host.ended  # its death follows
        assert host.died("exited with code 1", now) == []
        assert host.ended == (attempt == 3)
        now = min(host.deadline(), 1e9)
    assert host.failure is not None
    assert "echo#1" in host.failure
    assert (reason or "exited with code 1") in host.failure
    assert host.deadline() == math.inf
    assert host.tick(1e9) == []


def test_the_reason_of_an_earlier_failure_is_not_blamed_for_a_later_crash() -> None:
    host = a_host(WorkerSettings(max_setup_failures=2))
    host.tick(0.0)
    host.setup_failed("no such file", 0.0)
    host.died("exited with code 1", 0.0)
    host.tick(1.0)
    host.died("was killed by SIGKILL", 1.0)
    assert host.failure is not None
    assert "SIGKILL" in host.failure
    assert "no such file" not in host.failure


def test_setup_failures_count_only_in_a_row() -> None:
    host, now = a_host(), 0.0
    for _ in range(10):
        for _ in range(2):
            host.tick(now)
            host.setup_failed("not yet", now)
            host.died("exited with code 1", now)
            now = host.deadline()
        host.tick(now)
        host.ready(now)
        host.died("crashed", now)
        now = host.deadline()
    assert host.failure is None
    assert not host.ended


def test_crashes_after_setup_never_end_the_worker() -> None:
    host, now = a_host(WorkerSettings(max_setup_failures=1)), 0.0
    for _ in range(20):
        host.tick(now)
        host.ready(now)
        host.died("crashed", now)
        now = host.deadline()
    assert host.failure is None


def test_a_failed_setup_is_tried_again_after_the_wait_of_a_crash() -> None:
    host = starting()
    host.setup_failed("no such file", 1.0)
    host.died("exited with code 1", 1.0)
    assert host.deadline() == 1.5
    assert host.tick(1.5) == [StartChild()]


# Requests that are taken away.


def test_an_answer_to_a_request_that_was_taken_away_goes_nowhere() -> None:
    host = busy()
    assert host.receive(GO_AWAY, 1.0) == [Close()]
    assert host.answered(1, [b"p"], final=False, now=1.5) == []
    assert host.answered(1, [b"z"], final=True, now=1.75) == []
    assert host.tick(2.0) == OPENED


def test_a_silent_broker_takes_a_request_away_too() -> None:
    host = busy()
    host.tick(1.0)
    host.tick(2.0)
    assert host.tick(3.0) == [Close()]
    assert host.answered(1, [b"z"], final=True, now=3.5) == []
    assert host.deadline() == 4.0
    assert host.tick(4.0) == OPENED


def test_a_worker_is_not_offered_again_while_its_child_goes_on_with_what_was_taken() -> None:
    host = orphaned()
    assert host.tick(5.0) == []
    assert host.answered(1, [b"z"], final=True, now=6.0) == OPENED


def test_an_answer_under_an_older_number_goes_nowhere() -> None:
    host = orphaned()
    host.answered(1, [b"z"], final=True, now=1.0)
    host.receive(request(b"u", b"y"), 2.0)
    assert host.answered(1, [b"z"], final=True, now=2.5) == []
    assert host.answered(2, [b"y"], final=True, now=2.5) == [reply(b"u", b"y")]


def test_an_answer_that_nobody_waits_for_goes_nowhere() -> None:
    assert idle().answered(0, [b"z"], final=True, now=0.5) == []
    host = busy()
    host.answered(1, [b"z"], final=True, now=0.5)
    assert host.answered(1, [b"z"], final=True, now=0.6) == []


def test_an_orphan_is_killed_after_its_grace_and_the_child_started_again() -> None:
    host = orphaned()
    assert host.deadline() == 10.0
    assert host.tick(9.9) == []
    assert host.tick(10.0) == [KillChild()]
    assert host.deadline() == math.inf
    assert host.tick(11.0) == []
    assert host.died("was killed by SIGKILL", 11.0) == []
    assert host.tick(11.5) == [StartChild()]


def test_the_settings_give_an_orphans_grace() -> None:
    host = a_host(WorkerSettings(orphan_s=2.0))
    host.tick(0.0)
    host.ready(0.0)
    host.receive(request(b"t"), 0.0)
    host.receive(GO_AWAY, 1.0)
    assert host.deadline() == 3.0
    assert host.tick(3.0) == [KillChild()]


def test_a_child_that_answers_in_its_grace_is_not_killed_in_its_next_request() -> None:
    host = orphaned()
    host.answered(1, [b"z"], final=True, now=5.0)
    host.receive(request(b"u", b"y"), 6.0)
    for second in range(6, 30):
        host.receive(HEARD, float(second))
        assert KillChild() not in host.tick(float(second))
        assert host.deadline() > second
    assert host.answered(2, [b"y"], final=True, now=30.0)[:1] == [reply(b"u", b"y")]


def test_a_child_that_dies_in_its_grace_is_not_killed_in_its_next_life() -> None:
    host = orphaned()
    host.died("crashed", 1.0)
    host.tick(1.5)
    host.ready(2.0)
    host.receive(request(b"u"), 9.0)
    host.receive(HEARD, 10.0)
    assert KillChild() not in host.tick(10.0)


def test_a_child_that_is_being_killed_is_not_offered_to_the_broker() -> None:
    # its last words, an answer, may come between the kill and the death
    host = orphaned()
    assert host.tick(10.0) == [KillChild()]
    assert host.answered(1, [b"z"], final=True, now=10.001) == []


def test_a_worker_without_a_request_rests_and_comes_back() -> None:
    host = resting()
    assert host.deadline() == 1.0
    assert host.tick(0.9) == []
    assert host.tick(1.0) == OPENED
    assert KillChild() not in host.tick(20.0)


# Drain: finish what is held, then leave.


def test_a_host_that_is_told_to_drain_before_it_started_is_over() -> None:
    host = dead()
    assert host.drain(0.0) == []
    assert host.ended
    assert host.tick(1.0) == []


def test_a_drain_during_setup_kills_the_child() -> None:
    host = starting()
    assert host.drain(0.5) == [KillChild()]
    assert host.ended
    assert host.died("was killed by SIGKILL", 0.6) == []
    assert host.ended
    assert host.failure is None


def test_a_child_that_gets_ready_while_it_is_killed_is_not_offered() -> None:
    host = starting()
    host.drain(0.5)
    assert not any(isinstance(step, (Open, Send)) for step in host.ready(0.5))
    assert host.ended


def test_an_idle_worker_that_drains_leaves_when_the_broker_knows() -> None:
    host = idle()
    assert host.drain(0.5) == [RETIRE]
    assert not host.ended
    assert host.receive(RETIRED, 0.6) == []
    assert host.tick(0.6) == [DISCONNECT, Close(flush=True), KillChild()]
    assert host.ended


def test_a_request_that_was_on_its_way_when_a_worker_drains_is_answered() -> None:
    host = idle()
    host.drain(0.5)
    assert host.receive(request(b"t", b"x"), 0.5) == [Work(1, [b"x"])]
    assert host.receive(RETIRED, 0.6) == []
    assert host.tick(0.6) == []
    assert host.answered(1, [b"z"], final=True, now=0.9) == [
        reply(b"t", b"z"),
        DISCONNECT,
        Close(flush=True),
        KillChild(),
    ]


def test_a_worker_that_drains_does_not_wait_for_ever_for_a_broker_that_does_not_retire() -> None:
    host = idle()
    host.drain(0.5)
    host.receive(HEARD, 3.0)
    assert not host.ended
    assert host.deadline() <= 3.5
    assert host.tick(3.5)[-3:] == [DISCONNECT, Close(flush=True), KillChild()]
    assert host.ended


def test_a_busy_worker_that_drains_finishes_what_it_holds() -> None:
    host = busy()
    assert host.drain(0.5) == [RETIRE]
    assert host.receive(RETIRED, 0.6) == []
    assert not host.ended
    assert host.tick(1.0) == [HEARTBEAT]
    assert host.answered(1, [b"p"], final=False, now=1.5) == [part(b"t", b"p")]
    assert host.answered(1, [b"z"], final=True, now=2.0) == [
        reply(b"t", b"z"),
        DISCONNECT,
        Close(flush=True),
        KillChild(),
    ]
    assert host.ended


def test_a_busy_worker_that_drains_and_crashes_says_so_and_is_not_started_again() -> None:
    host = busy()
    host.drain(0.5)
    assert host.died("crashed", 1.0) == [CRASHED, DISCONNECT, Close(flush=True)]
    assert host.ended
    assert host.tick(100.0) == []


def test_an_orphan_is_killed_at_once_by_a_drain() -> None:
    host = orphaned()
    assert host.drain(0.5) == [KillChild()]
    assert host.ended


def test_a_request_that_is_taken_away_during_a_drain_leaves_a_child_that_is_killed() -> None:
    host = busy()
    host.drain(0.5)
    host.receive(GO_AWAY, 1.0)
    host.tick(11.0)
    host.died("was killed by SIGKILL", 11.0)
    assert host.ended


def test_a_worker_that_rests_is_over_at_once_when_it_drains() -> None:
    host = resting()
    assert host.drain(0.5) == [KillChild()]
    assert host.ended


def test_a_worker_whose_child_crashed_is_over_at_once_when_it_drains() -> None:
    host = broken()
    assert host.drain(0.1) == []
    assert host.ended
    assert host.tick(100.0) == []


@each_state
def test_after_a_drain_no_child_is_started_and_no_request_taken(state: Callable[[], Host]) -> None:
    host = state()
    host.drain(0.0)
    steps = [*host.tick(50.0), *host.drain(50.0)]
    assert not any(isinstance(step, (StartChild, Open, Work)) for step in steps)


# Stop: leave at once.


@each_state
def test_a_stop_ends_the_worker_and_kills_its_child_whatever_it_does(
    state: Callable[[], Host],
) -> None:
    host = state()
    was_open = state in (idle, busy)
    goodbye: list[Step] = [DISCONNECT, Close(flush=True)] if was_open else []
    assert host.stop(0.5) == [*goodbye, KillChild()]
    assert host.ended
    assert host.failure is None
    assert host.deadline() == math.inf
    assert host.tick(100.0) == []
    assert host.died("was killed by SIGKILL", 100.0) == []
    assert host.ended


def test_a_stop_cuts_a_drain_short() -> None:
    host = busy()
    host.drain(0.5)
    assert host.stop(1.0) == [DISCONNECT, Close(flush=True), KillChild()]
    assert host.ended


def test_an_answer_after_a_stop_goes_nowhere() -> None:
    host = busy()
    host.stop(0.5)
    assert host.answered(1, [b"z"], final=True, now=0.6) == []
    assert host.ended


# Deadlines.


@each_state
def test_a_tick_at_the_deadline_does_something_or_moves_it_on(state: Callable[[], Host]) -> None:
    host, now = state(), 0.0
    for _ in range(100):
        now = max(now, host.deadline())
        if now == math.inf:
            return
        host.tick(now)
        assert host.deadline() > now


@each_state
def test_before_its_deadline_a_host_does_nothing(state: Callable[[], Host]) -> None:
    host = state()
    host.tick(0.0)
    due = min(host.deadline(), 1e6)
    for share in (0.1, 0.5, 0.999):
        assert host.tick(due * share) == []


# Requests that nobody waits for any more: the session goes on.


def test_a_cancelled_request_has_its_grace_and_the_session_goes_on() -> None:
    host = busy()
    assert host.receive(stop(b"t", b"grace"), 1.0) == []
    assert host.tick(1.0) == [HEARTBEAT]
    assert host.answered(1, [b"p"], final=False, now=1.5) == [part(b"t", b"p")]
    assert host.answered(1, [b"z"], final=True, now=2.0) == [reply(b"t", b"z")]
    assert host.receive(request(b"u", b"y"), 2.5) == [Work(2, [b"y"])]
    for second in range(3, 30):
        host.receive(HEARD, float(second))
        assert KillChild() not in host.tick(float(second))


def test_a_child_that_does_not_finish_a_cancelled_request_is_killed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mdp")
    caplog.set_level("INFO")
    host = busy()
    host.receive(stop(b"t", b"grace"), 1.0)
    for second in range(2, 11):
        host.receive(HEARD, float(second))
        host.tick(float(second))
        assert host.deadline() <= 11.0
    assert host.tick(11.0) == [HEARTBEAT, KillChild()]
    assert host.answered(1, [b"z"], final=True, now=11.1) == []
    assert host.died("was killed by SIGKILL", 11.2) == [DISCONNECT, Close(flush=True)]
    assert host.tick(11.2) == [StartChild()]
    assert host.ready(12.0) == OPENED_AFTER_A_DEATH
    lines = [record.getMessage() for record in caplog.records]
    assert any("cancelled" in line and "10 s" in line for line in lines)
    assert any("killed the child" in line and "cancelled" in line for line in lines)


def test_a_second_stop_does_not_lengthen_the_grace_nor_does_a_lost_session() -> None:
    host = busy()
    host.receive(stop(b"t", b"grace"), 1.0)
    host.receive(stop(b"t", b"grace"), 5.0)
    host.receive(GO_AWAY, 6.0)
    assert host.deadline() == 11.0
    assert host.tick(11.0) == [KillChild()]


def test_a_request_that_takes_too_long_ends_with_its_child_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mdp")
    host = busy()
    assert host.receive(stop(b"t", b"now"), 1.0) == [KillChild()]
    assert host.receive(GO_AWAY, 1.0) == [Close()]
    assert host.answered(1, [b"z"], final=True, now=1.1) == []
    assert host.died("was killed by SIGKILL", 1.2) == []
    assert host.tick(1.2) == [StartChild()]
    assert host.ready(1.5) == []
    assert host.tick(2.0) == OPENED_AFTER_A_DEATH
    assert "killed the child" in caplog.text
    assert "1.0 s" in caplog.text


def test_a_grace_may_be_cut_short() -> None:
    host = busy()
    host.receive(stop(b"t", b"grace"), 0.5)
    assert host.receive(stop(b"t", b"now"), 1.0) == [KillChild()]


@pytest.mark.parametrize("how", [b"grace", b"now"])
@pytest.mark.parametrize("state", [idle, busy])
def test_a_stop_of_another_request_changes_nothing(state: Callable[[], Host], how: bytes) -> None:
    host = state()
    assert host.receive(stop(b"of before", how), 0.5) == []
    assert host.deadline() == 1.0
    for second in range(1, 30):
        host.receive(HEARD, float(second))
        assert host.tick(float(second)) == [HEARTBEAT]


def test_a_child_that_its_host_killed_has_not_crashed() -> None:
    host, now = busy(), 0.0
    for _ in range(20):
        host.receive(stop(b"t", b"now"), now)
        host.died("was killed by SIGKILL", now)
        assert host.tick(now) == [StartChild()]
        host.ready(now)
        host.receive(request(b"t"), now)
    host.died("was killed by SIGSEGV", now)
    assert host.tick(now) == [StartChild()]


def test_a_drain_does_not_wait_for_a_cancelled_request() -> None:
    host = busy()
    host.receive(stop(b"t", b"grace"), 0.25)
    assert host.drain(0.5) == [DISCONNECT, Close(flush=True), KillChild()]
    assert host.ended


def test_a_request_that_is_cancelled_during_a_drain_ends_it_after_its_grace() -> None:
    host = busy()
    host.drain(0.5)
    host.receive(RETIRED, 0.6)
    host.receive(stop(b"t", b"grace"), 0.75)
    host.receive(HEARD, 10.0)
    assert host.tick(10.75)[-1:] == [KillChild()]
    assert host.died("was killed by SIGKILL", 11.0) == [DISCONNECT, Close(flush=True)]
    assert host.ended


# A connection that breaks.


def test_a_connection_that_breaks_orphans_the_request() -> None:
    host = busy()
    assert host.disconnected(0.5) == [Close()]
    assert host.answered(1, [b"z"], final=True, now=0.75) == []
    assert host.tick(1.5) == OPENED


def test_a_child_that_does_not_finish_after_the_connection_broke_is_killed() -> None:
    host = busy()
    host.disconnected(0.5)
    assert host.deadline() == 10.5
    assert host.tick(10.5) == [KillChild()]


@pytest.mark.parametrize("state", [dead, starting, orphaned, resting, broken])
def test_without_a_session_no_connection_can_break(state: Callable[[], Host]) -> None:
    host = state()
    due = host.deadline()
    assert host.disconnected(0.5) == []
    assert host.deadline() == due


# Answers larger than the broker takes.


def limited(max_bytes: int) -> Host:
    """Its child is busy, and its broker takes answers of this size."""
    host = idle()
    accepted: Frames = [b"MDPC02", b"\x03", b"mmi.fingerprint", b"200"]
    assert host.receive([*accepted, msgpack.packb({"max_bytes": max_bytes})], 0.0) == []
    host.receive(request(b"t", b"x"), 0.0)
    return host


def too_large(step: Step, *, parts: int = 0) -> bool:
    """Whether this FINAL, under the token t and after parts, has error 413 with both sizes."""
    assert isinstance(step, Send)
    *head, error, code, text = step.frames
    numbered: Frames = [b"MDPW02", b"\x13", b"t", b"", b"%d" % parts]
    assert head == (numbered if parts else reply(b"t").frames)
    assert isinstance(text, bytes)
    return [error, code] == [b"MDP-ERROR", b"413"] and all(
        word in text for word in (b"11 bytes", b"10", b"--max-queue-bytes")
    )


def test_an_answer_of_the_brokers_limit_is_sent_and_a_larger_one_is_error_413() -> None:
    host = limited(10)
    assert host.answered(1, [bytes(4), bytes(6)], final=True, now=1.0) == [
        reply(b"t", bytes(4), bytes(6))
    ]
    (step,) = limited(10).answered(1, [bytes(4), bytes(7)], final=True, now=0.5)
    assert too_large(step)


def test_a_part_that_is_too_large_becomes_error_413_when_the_child_is_done() -> None:
    host = limited(10)
    numbered = Send([b"MDPW02", b"\x12", b"t", b"", b"0", bytes(10)])
    assert host.answered(1, [bytes(10)], final=False, now=0.1) == [numbered]
    assert host.answered(1, [bytes(11)], final=False, now=0.2) == []
    assert host.answered(1, [b"p"], final=False, now=0.3) == []
    (step,) = host.answered(1, [b"z"], final=True, now=0.4)
    assert too_large(step, parts=1)
    host.receive(request(b"u", b"y"), 0.5)
    assert host.answered(2, [b"y"], final=True, now=0.6) == [reply(b"u", b"y")]


def test_a_child_that_dies_after_a_part_that_is_too_large_leaves_no_error_behind() -> None:
    host = limited(10)
    host.answered(1, [bytes(11)], final=False, now=0.2)
    host.died("crashed", 0.3)
    host.tick(0.3)
    host.ready(0.4)
    host.receive(request(b"u", b"y"), 0.5)
    assert host.answered(2, [b"y"], final=True, now=0.6) == [reply(b"u", b"y")]


def test_a_broker_that_states_no_limit_gets_every_answer() -> None:
    assert busy().answered(1, [bytes(1000)], final=True, now=0.5) == [reply(b"t", bytes(1000))]


# A random walk, with a child and a broker that behave.

eighths = st.integers(1, 400).map(lambda count: count / 8)  # exact in binary


class HostWalk(RuleBasedStateMachine):
    """The process and the socket around one host; both do only what real ones could do."""

    settings = WorkerSettings()

    def __init__(self) -> None:
        super().__init__()
        self.host = a_host(self.settings)
        self.now = 0.0
        self.process = "none"  # starting, failing, idle, busy
        self.number = 0  # that the child works on
        self.is_open = False
        self.ready_sent = False
        self.held: bytes | None = None  # the token of the request on this socket
        self.tokens = 0
        self.failures = 0  # of setup(), in a row
        self.restart_at = 0.0
        self.was_ended = False
        self.killed = False  # and its death was not seen yet

    def _carry_out(self, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, StartChild):
                assert self.process == "none", "two children at once"
                self.process = "starting"
            elif isinstance(step, Work):
                assert self.process == "idle", "work for a child that is not idle"
                assert self.is_open
                self.process, self.number = "busy", step.number
            elif isinstance(step, Open):
                assert not self.is_open, "an Open without a Close before it"
                assert self.process == "idle", "offered while its child cannot work"
                self.is_open, self.ready_sent, self.held = True, False, None
            elif isinstance(step, Close):
                assert self.is_open, "a Close without an Open before it"
                self.is_open, self.held = False, None
            elif isinstance(step, Send):
                self._on_send(step.frames)
            elif isinstance(step, KillChild):
                self.killed = True
        assert not (self.was_ended and not self.host.ended), "what has ended stays so"
        if self.was_ended:
            assert all(isinstance(step, KillChild) for step in steps)
        self.was_ended = self.host.ended

    def _on_send(self, frames: Frames) -> None:
        assert self.is_open, "a Send without a socket"
        if frames == RETIRE.frames:
            assert self.ready_sent
            return
        if frames[:-1] == ANNOUNCED.frames[:-1]:
            assert not self.ready_sent
            return
        if frames[:3] == [b"MDPC02", b"\x01", b"mmi.crashed"]:
            assert frames[3:] == [self.held], "the death of another request"
            return
        assert frames[0] == b"MDPW02"
        assert (frames[1] == b"\x01") == (not self.ready_sent), "READY first, and only once"
        self.ready_sent = True
        if frames[1] in (b"\x03", b"\x04"):
            assert self.held is not None, "an answer to nothing"
            assert frames[2:4] == [self.held, b""]
            assert frames[4:] == [b"%d" % self.number], "the answer to another request"
        if frames[1] == b"\x04":
            self.held = None

    # The child.

    @precondition(lambda self: self.process == "starting")
    @rule()
    def the_child_is_ready(self) -> None:
        self.process, self.failures = "idle", 0
        self._carry_out(self.host.ready(self.now))

    @precondition(lambda self: self.process == "starting")
    @rule()
    def its_setup_raises(self) -> None:
        self.process = "failing"
        self._carry_out(self.host.setup_failed("no such file", self.now))

    @precondition(lambda self: self.process == "busy")
    @rule()
    def the_child_sends_a_part(self) -> None:
        body: Frames = [b"%d" % self.number]
        self._carry_out(self.host.answered(self.number, body, final=False, now=self.now))

    @precondition(lambda self: self.process == "busy")
    @rule()
    def the_child_answers(self) -> None:
        self.process = "idle"
        held, body = None if self.killed else self.held, [b"%d" % self.number]
        steps = self.host.answered(self.number, body, final=True, now=self.now)
        if held is not None:
            assert steps[:1] == [Send([b"MDPW02", b"\x04", held, b"", *body])]
        self._carry_out(steps)

    @precondition(lambda self: self.process != "none")
    @rule()
    def the_child_dies(self) -> None:
        if self.process in ("starting", "failing") and not self.host.ended:
            self.failures += 1
        crashed: list[Step] = []
        if self.process == "busy" and self.held is not None and not self.killed:
            crashed = [Send([b"MDPC02", b"\x01", b"mmi.crashed", self.held])]
        was_open, self.process, self.killed = self.is_open, "none", False
        steps = self.host.died("crashed", self.now)
        assert steps == ([*crashed, DISCONNECT, Close(flush=True)] if was_open else [])
        self._carry_out(steps)

    # The broker.

    @precondition(lambda self: self.is_open)
    @rule(frames=st.sampled_from([HEARD, HEARD, GO_AWAY, RETIRED, [b"MDPW02"], [b"\xff"] * 5]))
    def the_broker_speaks(self, frames: Frames) -> None:
        self._carry_out(self.host.receive(frames, self.now))

    @precondition(lambda self: self.is_open)
    @rule()
    def a_request_comes(self) -> None:
        self.tokens += 1
        token = b"%d" % self.tokens
        was_free, self.held = self.held is None, self.held or token
        steps = self.host.receive(request(token, b"x", token), self.now)
        assert [type(step) for step in steps] == ([Work] if was_free else [])
        self._carry_out(steps)

    @precondition(lambda self: self.is_open)
    @rule()
    def the_connection_breaks(self) -> None:
        steps = self.host.disconnected(self.now)
        assert steps == [Close()]
        self._carry_out(steps)

    @precondition(lambda self: self.held is not None)
    @rule(how=st.sampled_from([b"grace", b"now"]), is_late=st.booleans())
    def nobody_waits_for_the_request(self, how: bytes, is_late: bool) -> None:
        assert self.held is not None
        token = b"an older one" if is_late else self.held
        is_killed = how == b"now" and not (is_late or self.killed)
        steps = self.host.receive(stop(token, how), self.now)
        assert steps == ([KillChild()] if is_killed else [])
        self._carry_out(steps)

    # Time, and the person at the terminal.

    @rule(wait_s=eighths)
    def time_passes(self, wait_s: float) -> None:
        self.now += wait_s
        self._tick()

    @precondition(lambda self: self.host.deadline() < math.inf)
    @rule()
    def the_deadline_comes(self) -> None:
        self.now = max(self.now, self.host.deadline())
        self._tick()

    def _tick(self) -> None:
        is_due = self.now >= self.host.deadline()
        steps = self.host.tick(self.now)
        assert is_due or not steps, "nothing is done before the deadline"
        self._carry_out(steps)
        assert self.host.ended or self.host.deadline() > self.now

    @precondition(lambda self: self.now > 100)
    @rule()
    def drain(self) -> None:
        self._carry_out(self.host.drain(self.now))

    @precondition(lambda self: self.now > 300)
    @rule()
    def stop(self) -> None:
        self._carry_out(self.host.stop(self.now))
        assert self.host.ended

    def teardown(self) -> None:
        """After any walk: a drain ends when the child answers, or is dead."""
        self._carry_out(self.host.drain(self.now))
        if self.process == "busy":
            self.the_child_answers()
        if self.killed:
            self.the_child_dies()
        if self.is_open:
            self.the_broker_speaks(RETIRED)
            self._tick()
        assert self.host.ended
        assert not self.is_open

    # What holds at any time.

    @invariant()
    def a_host_that_has_ended_holds_no_socket_and_waits_for_nothing(self) -> None:
        if self.host.ended:
            assert not self.is_open
            assert self.host.deadline() == math.inf

    @invariant()
    def it_fails_when_setup_failed_too_often_in_a_row(self) -> None:
        limit = self.settings.max_setup_failures
        assert (self.host.failure is not None) == (self.failures >= limit)

    @invariant()
    def a_request_that_is_held_is_in_the_childs_hands(self) -> None:
        if self.held is not None:
            assert self.process == "busy" or self.killed

    @invariant()
    def a_host_that_waits_for_no_time_waits_for_its_child(self) -> None:
        if self.host.deadline() == math.inf and not self.host.ended:
            assert self.process != "none"


HostWalk.TestCase.settings = hypothesis_settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestAHostWhateverHappens: Any = HostWalk.TestCase


# It leaves by itself.


def living(**life: float) -> Host:
    """A worker with an open session that the broker has answered."""
    host = a_host(WorkerSettings(life=WorkerLife(**life)))  # type: ignore[arg-type]
    host.tick(0.0)
    host.ready(0.0)
    host.receive(HEARD, 0.0)
    return host


def test_it_retires_before_its_job_ends() -> None:
    host = living()
    host.end_known(100.0, 1.7e9, 0.0)
    host.end_known(100.0, 1.7e9, 75.0)
    host.receive(HEARD, 89.0)
    host.tick(89.9)
    assert not host.draining
    assert RETIRE in host.tick(90.0)
    host.receive(RETIRED, 90.1)
    assert host.tick(90.1) == [DISCONNECT, Close(flush=True), KillChild()]
    assert host.failure is None


def test_it_retires_before_the_answer_after_which_a_request_would_be_too_late() -> None:
    host = living()
    host.end_known(100.0, 1.7e9, 0.0)
    host.receive(request(b"t", b"x"), 50.0)
    for second in range(51, 70):
        host.receive(HEARD, float(second))
    host.tick(69.0)
    assert not host.draining
    host.receive(HEARD, 70.0)  # the request has taken 20 s; 30 s are left, 10 s are the margin
    assert RETIRE in host.tick(70.0)
    assert host.answered(1, [b"z"], final=True, now=71.0) == [reply(b"t", b"z")]


def test_a_job_without_time_is_left_during_the_setup() -> None:
    host = starting()
    assert host.end_known(5.0, 1.7e9, 0.0) == [KillChild()]
    assert host.ended
    assert host.failure is None


def test_a_worker_that_nobody_asks_leaves() -> None:
    host = living(idle_s=30.0)
    host.receive(HEARD, 29.0)
    host.tick(29.0)
    assert not host.draining
    assert host.deadline() <= 30.0
    assert RETIRE in host.tick(30.0)


def test_the_time_without_a_broker_is_not_idle() -> None:
    host = living(idle_s=30.0)
    host.disconnected(10.0)
    host.tick(3600.0)
    host.receive(HEARD, 3600.0)
    host.receive(HEARD, 3629.0)
    host.tick(3629.0)
    assert not host.draining
    assert RETIRE in host.tick(3630.0)


def test_an_answer_after_the_session_was_lost_does_not_begin_the_idle_time() -> None:
    host = living(idle_s=30.0)
    host.receive(request(b"t", b"x"), 1.0)
    host.disconnected(2.0)
    host.answered(1, [b"z"], final=True, now=5.0)
    host.tick(3600.0)
    assert not host.draining


def test_it_looks_for_a_broker_only_while_its_child_could_serve() -> None:
    assert not starting().is_looking
    host = idle()
    assert (host.is_looking, host.has_broker) == (True, False)
    host.receive(HEARD, 0.5)
    assert (host.is_looking, host.has_broker) == (False, True)
    host.disconnected(1.0)
    assert (host.is_looking, host.has_broker) == (True, False)


# Standby.

REFUSED: Frames = [b"MDPC02", b"\x03", b"mmi.fingerprint", b"409", b"served by others"]
ACCEPTED: Frames = [b"MDPC02", b"\x03", b"mmi.fingerprint", b"200", msgpack.packb({})]


def test_a_worker_that_stands_by_tries_each_second_and_takes_the_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    host = a_host(WorkerSettings(life=WorkerLife(standby=True)))
    host.tick(0.0)
    host.ready(0.0)
    for second in range(3600):
        host.receive(REFUSED, second + 0.02)
        host.receive(GO_AWAY, second + 0.02)
        assert host.deadline() < second + 1.03
        host.tick(second + 1.03)
    assert not host.ended
    host.receive(ACCEPTED, 3600.5)
    standby, ready = caplog.messages
    assert "served by others" in standby
    assert "taken the name" in ready


def test_without_standby_a_refused_worker_ends() -> None:
    host = idle()
    for second in range(4):
        host.receive(REFUSED, float(second))
    assert host.ended
    assert host.failure is not None


# What an operator wants.

LEAVE: Frames = [b"MDPC02", b"\x03", b"mmi.leave"]


def test_an_idle_worker_that_is_dismissed_retires_and_ends() -> None:
    host = idle()
    host.receive(HEARD, 0.1)
    assert RETIRE in host.receive(LEAVE, 0.2)
    assert DISCONNECT in [*host.receive(RETIRED, 0.3), *host.tick(0.3)]
    assert host.ended
    assert host.failure is None


def test_a_busy_worker_that_is_dismissed_answers_first() -> None:
    host = idle()
    host.receive(request(b"t", b"x"), 0.1)
    assert host.receive(LEAVE, 0.2) == [RETIRE]
    host.receive(RETIRED, 0.3)
    assert not host.ended
    assert reply(b"t", b"y") in host.answered(1, [b"y"], final=True, now=1.0)
    assert host.ended


def test_a_paused_worker_does_not_leave_because_it_is_idle() -> None:
    host = a_host(WorkerSettings(life=WorkerLife(idle_s=5.0)))
    host.tick(0.0)
    host.ready(0.0)
    host.receive(HEARD, 0.1)
    host.receive([b"MDPC02", b"\x03", b"mmi.paused", b"1"], 1.0)
    for second in range(2, 20):
        host.receive(HEARD, float(second))
        host.tick(float(second))
    assert not host.draining
    host.receive([b"MDPC02", b"\x03", b"mmi.paused", b"0"], 20.0)
    for second in range(20, 27):
        host.receive(HEARD, float(second))
        host.tick(float(second))
    assert host.draining


def test_the_id_of_a_request_is_read_from_the_tokens_of_brokers_of_ours_only() -> None:
    host = idle()
    verdict = msgpack.packb({"max_bytes": 10_000, "instance": b"INSTANCE".hex()})
    host.receive([b"MDPC02", b"\x03", b"mmi.fingerprint", b"200", verdict], 0.1)
    work = list(host.receive(request(b"another broker's, 24 b.."), 0.2))
    assert work == [Work(1, [], b"")]
    host.answered(1, [b"y"], final=True, now=0.3)
    token = b"INSTANCE" + bytes(8) + b"IDENTITY"
    assert host.receive(request(token), 0.4) == [Work(2, [], b"IDENTITY")]
