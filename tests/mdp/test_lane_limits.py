"""The client's core at its limits: sockets, sizes, slow readers, names, and many calls at once."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdp import errors
from mdp.client.deadlines import Deadlines
from mdp.client.lane import ClientRequest, CloseLane, OpenLane, SendOnLane
from mdp.errors import MDPError
from tests.mdp.test_lane import (
    Shell,
    a_call,
    answer_of,
    ask,
    cancel,
    error,
    failure,
    final,
    partial,
    question,
)

NO_FILES = MDPError("cannot open a socket: Too many open files")


# Sockets that cannot be opened or used.


def test_a_socket_that_cannot_be_opened_fails_its_call_and_the_others_go_on() -> None:
    shell, one, two = Shell(), a_call(b"1"), a_call(b"2")
    shell.submit(one, 0.0)
    shell.submit(two, 0.0)
    shell.failed(b"L1", NO_FILES, 0.0)
    assert "echo" in str(failure(shell, one))
    assert "Too many open files" in str(failure(shell, one))
    shell.receive(b"L2", final(b"x"), 1.0)
    assert answer_of(shell, two) == [b"x"]


def test_the_next_call_takes_the_place_of_one_whose_socket_failed() -> None:
    shell = Shell(lanes=1)
    shell.submit(a_call(b"1"), 0.0)
    shell.submit(a_call(b"2"), 0.0)
    shell.failed(b"L1", NO_FILES, 0.0)
    assert [frames for _, frames in shell.requests] == [ask(b"1"), ask(b"2")]


def test_an_idle_lane_that_fails_is_not_used_again() -> None:
    shell = Shell()
    shell.submit(a_call(), 0.0)
    shell.receive(b"L1", final(b"x"), 0.1)
    assert shell.failed(b"L1", NO_FILES, 0.2) == [CloseLane(b"L1")]
    shell.submit(a_call(b"2"), 0.3)
    assert shell.requests[-1] == (b"L2", ask(b"2"))


def test_a_probe_that_cannot_be_opened_is_tried_again_after_an_interval() -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    shell.tick(0.0)
    assert shell.failed(b"L2", NO_FILES, 0.0) == [CloseLane(b"L2")]
    assert shell.core.deadline() == 1.0
    assert shell.tick(1.0) == [OpenLane(b"L3"), SendOnLane(b"L3", question(b"L1"))]
    assert call not in shell.ends


def test_close_opens_no_socket_only_to_cancel() -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    steps = shell.close()
    assert not [step for step in steps if isinstance(step, OpenLane)]
    assert shell.cancels == []
    assert isinstance(failure(shell, call), errors.ClientClosed)


# Sockets that are closing.


def test_however_fast_calls_are_cancelled_there_are_only_so_many_sockets() -> None:
    shell = Shell(lanes=4)
    now, most = 0.0, 0
    for number in range(10_000):
        call = a_call(b"%d" % number)
        shell.submit(call, now)
        shell.abandon(call, now)
        now += 0.0001
        most = max(most, sum(at > now - 0.1 for at in shell.closed_at[-200:]))
    assert most <= shell.core.sockets
    assert len(shell.names) < 10_000
    last = a_call(b"last")
    shell.submit(last, now)
    shell.run_until(now + 1.0)
    assert last.lane is not None


def test_a_call_waits_while_too_many_sockets_are_closing_and_then_goes_on() -> None:
    shell, waiting = Shell(lanes=2, sockets=4), a_call(b"waiting")
    for number in range(4):
        call = a_call(b"%d" % number)
        shell.submit(call, 0.0)
        shell.abandon(call, 0.0)
    shell.submit(waiting, 0.0)
    assert list(shell.core.pending) == [waiting]
    shell.tick(0.0)
    assert 0.0 < shell.core.deadline() <= 0.2
    shell.tick(0.2)
    shell.receive(shell.requests[-1][0], final(b"x"), 0.3)
    assert answer_of(shell, waiting) == [b"x"]


def test_a_retry_waits_at_the_head_while_too_many_sockets_are_closing() -> None:
    shell, retried, later = Shell(lanes=1, sockets=2), a_call(b"retried", timeout_s=0.05), a_call()
    given_up = a_call(b"given up")
    shell.submit(given_up, 0.0)
    shell.abandon(given_up, 0.0)
    shell.submit(retried, 0.0)
    shell.submit(later, 0.0)
    shell.tick(0.05)
    assert retried.lane is None
    assert list(shell.core.pending) == [retried, later]
    shell.tick(0.12)
    assert shell.requests[-1][1] == ask(b"retried")
    assert list(shell.core.pending) == [later]


def test_with_fewer_sockets_fewer_calls_are_in_flight() -> None:
    shell = Shell(lanes=100, sockets=8)
    for _ in range(20):
        shell.submit(a_call(), 0.0)
    assert len(shell.core.in_flight) == shell.core.most_in_flight == 6
    while shell.core.in_flight:
        shell.receive(next(iter(shell.core.in_flight)), final(b"x"), 1.0)
    assert len(shell.ends) == 20


def test_a_call_that_was_sent_before_fails_in_time_while_it_waits_for_a_lane() -> None:
    """`tries` * `timeout_s` after its first try, although another call has the only lane."""
    shell, call, other = Shell(lanes=1), a_call(timeout_s=2.0, tries=2), a_call(timeout_s=90.0)
    shell.submit(call, 0.0)
    shell.submit(other, 0.0)
    shell.receive(b"L1", error(503), 1.0)
    shell.run_until(3.9)
    assert call not in shell.ends
    shell.run_until(4.0)
    assert isinstance(failure(shell, call), errors.RequestTimeout)
    assert other not in shell.ends
    assert shell.abandon(call, 5.0) == []


def test_idle_lanes_are_closed_when_a_connection_has_lost_a_request() -> None:
    shell = Shell(liveness=1)
    shell.submit(a_call(b"1"), 0.0)
    shell.submit(a_call(b"2", timeout_s=60.0), 0.0)
    shell.receive(b"L1", final(b"x"), 0.1)
    shell.tick(0.1)
    shell.answer_pulse(0.2, lost=[b"L2"])
    assert shell.open == {shell.probes[-1][0], shell.requests[-1][0]}
    assert shell.requests[-1][1] == ask(b"2")


def test_a_request_that_the_question_overtook_is_not_sent_twice_after_a_restart() -> None:
    """The client rested while the broker was restarted; then both are sent at one instant."""
    shell, call = Shell(liveness=2), a_call(timeout_s=60.0)
    shell.submit(a_call(), 0.0)
    shell.tick(0.0)
    shell.answer_pulse(0.1, "first")
    shell.tick(1.0)
    shell.receive(b"L1", final(b"x"), 1.1)
    shell.submit(call, 50.0)
    shell.tick(50.0)
    shell.answer_pulse(50.1, "second", lost=[b"L1"])
    assert len(shell.requests) == 2
    for now in (51.1, 52.1):  # it is lost indeed
        shell.tick(now)
        shell.answer_pulse(now, "second", lost=[b"L1"])
    assert len(shell.requests) == 3


# Requests that are too large.


def limits(instance: str = "first", **settings: Any) -> list[Any]:
    packed = msgpack.packb({"instance": instance, "lost": [], "settings": settings})
    return final(b"200", packed, service=b"mmi.broker")


def test_a_request_above_the_brokers_limit_fails_when_the_limit_becomes_known() -> None:
    shell, large, small = Shell(), a_call(b"x" * 1001), a_call(b"x" * 1000)
    shell.submit(large, 0.0)
    shell.submit(small, 0.0)
    shell.tick(0.0)
    shell.receive(b"L3", limits(max_queue_bytes=1000, max_bytes=9000), 0.1)
    got = failure(shell, large)
    assert isinstance(got, errors.TooLarge)
    for word in ("echo", "1001", "1000", "--max-queue-bytes"):
        assert word in str(got)
    assert small not in shell.ends
    assert shell.cancels == [(b"L3", cancel(b"L1"))]


def test_a_later_request_above_the_limit_fails_at_once_and_opens_nothing() -> None:
    shell, large = Shell(), ClientRequest(b"echo", [b"x" * 600] * 2, None, timeout_s=9, tries=3)
    shell.submit(a_call(), 0.0)
    shell.tick(0.0)
    shell.receive(b"L2", limits(max_queue_bytes=9000, max_bytes=1000), 0.1)
    shell.submit(large, 1.0)
    assert isinstance(failure(shell, large), errors.TooLarge)
    assert "1200" in str(failure(shell, large))
    assert "(--max-bytes" in str(failure(shell, large))
    assert len(shell.requests) == 1


def test_a_limit_that_is_old_is_asked_for_again() -> None:
    """There may be another broker by now."""
    shell, large = Shell(), a_call(b"x" * 1001, timeout_s=60.0)
    shell.submit(a_call(), 0.0)
    shell.tick(0.0)
    shell.receive(b"L2", limits(max_queue_bytes=1000), 0.1)
    shell.receive(b"L1", final(b"x"), 0.2)
    shell.submit(large, 50.0)
    assert large not in shell.ends
    shell.tick(50.0)
    assert len(shell.probes) == 2
    shell.receive(b"L2", limits("second", max_queue_bytes=2000), 50.1)
    assert large not in shell.ends


@pytest.mark.parametrize("value", [None, "1000", -1, 0, True, 1.5, [], b"9"])
def test_a_limit_that_is_no_size_is_none(value: object) -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    shell.tick(0.0)
    shell.receive(b"L2", limits(max_queue_bytes=value), 0.1)
    assert call not in shell.ends


def test_a_413_of_the_broker_is_too_large_and_not_tried_again() -> None:
    shell, call = Shell(), a_call()
    shell.submit(call, 0.0)
    shell.receive(b"L1", error(413, "1200 bytes"), 0.1)
    assert isinstance(failure(shell, call), errors.TooLarge)
    assert len(shell.requests) == 1


# A reader of parts that lags.


def test_the_time_of_a_call_stands_still_while_its_reader_lags() -> None:
    shell, call = Shell(), a_call(timeout_s=5.0, tries=1)
    shell.submit(call, 0.0)
    shell.receive(b"L1", partial(b"a"), 1.0)
    shell.core.pause(call, 1.0)
    shell.run_until(100.0, answer=lambda now: shell.answer_pulse(now))
    assert call not in shell.ends
    shell.core.resume(call, 101.0)
    shell.tick(104.9)
    assert call not in shell.ends
    shell.tick(105.0)
    assert isinstance(failure(shell, call), errors.RequestTimeout)


def test_while_a_reader_lags_its_request_is_not_believed_to_be_lost() -> None:
    """The broker may have sent all of the answer, which waits unread."""
    shell, call = Shell(), a_call(timeout_s=50.0)
    shell.submit(call, 0.0)
    shell.tick(0.0)
    shell.answer_pulse(0.1)
    shell.core.pause(call, 0.5)
    for second in range(1, 20):
        shell.tick(float(second))
        shell.answer_pulse(float(second), "second" if second > 10 else "first", lost=[b"L1"])
    assert len(shell.requests) == 1
    shell.core.resume(call, 20.0)
    for second in range(20, 23):
        shell.tick(float(second))
        shell.answer_pulse(float(second), "second", lost=[b"L1"])
    assert len(shell.requests) == 2


def test_a_part_shows_that_the_answer_is_on_its_way() -> None:
    shell, call = Shell(), a_call(timeout_s=500.0)
    shell.submit(call, 0.0)
    for second in range(20):
        shell.tick(float(second))
        shell.answer_pulse(float(second), lost=[b"L1"])
        shell.receive(b"L1", partial(b"x"), second + 0.5)
    assert len(shell.requests) == 1


def test_a_reader_that_loses_a_stream_again_and_again_waits_no_longer_each_time() -> None:
    shell, call = Shell(liveness=2), a_call(timeout_s=5000.0)
    shell.submit(call, 0.0)
    sent_at = [0.0]
    for second in range(40):
        shell.tick(float(second))
        assert call.lane is not None
        shell.answer_pulse(float(second), lost=[call.lane])
        if len(shell.requests) > len(sent_at):
            sent_at.append(float(second))
            for _ in range(len(shell.parts) + 1):  # one part more than the last time
                shell.receive(call.lane, partial(b"x"), second + 0.1)
    waits = {later - earlier for earlier, later in itertools.pairwise(sent_at[1:])}
    assert waits == {2.0}


@pytest.mark.parametrize("reply", [final(b"x"), error(500), error(503)])
def test_a_call_that_streams_has_a_lane_to_itself(reply: list[Any]) -> None:
    shell = Shell()
    call = ClientRequest(b"echo", [b"hello"], None, timeout_s=9.0, tries=1, streams=True)
    shell.submit(a_call(b"1"), 0.0)
    shell.receive(b"L1", final(b"x"), 0.0)
    assert shell.submit(call, 0.0) == [OpenLane(b"L2"), SendOnLane(b"L2", ask())]
    shell.receive(b"L2", reply, 0.1)
    assert shell.open == {b"L1"}
    shell.tick(1.1)
    assert (call in shell.ends) == (call.lane is None)


def test_a_paused_call_can_be_abandoned_and_closed() -> None:
    shell, one, two = Shell(), a_call(b"1"), a_call(b"2")
    for call in (one, two):
        shell.submit(call, 0.0)
        shell.core.pause(call, 0.0)
    shell.abandon(one, 1.0)
    shell.core.resume(one, 2.0)
    assert one.lane is None
    shell.close()
    assert isinstance(failure(shell, two), errors.ClientClosed)


# Many calls.


def test_a_hundred_thousand_calls_are_cancelled_in_little_time() -> None:
    shell, calls = Shell(lanes=4), [a_call() for _ in range(100_000)]
    started_s = time.process_time()
    for call in calls:
        shell.core.submit(call, 0.0)
    for call in reversed(calls):
        shell.core.abandon(call, 0.0)
        shell.core.deadline()
    assert not shell.core.pending
    assert not shell.core.in_flight
    assert time.process_time() - started_s < 20.0  # about 1 s; with a scan each, an hour


def test_deadlines_do_not_pile_up() -> None:
    due: Deadlines[str] = Deadlines()
    for number in range(10_000):
        due.set("a", float(number))
        due.set("b", 1.0)
    assert len(due) == 2
    assert len(due._heap) < 100
    assert due.next() == 1.0


@given(
    st.lists(
        st.tuples(st.sampled_from(["set", "drop", "pop"]), st.integers(0, 5), st.integers(0, 20))
    )
)
def test_deadlines_are_those_of_a_table(events: list[tuple[str, int, int]]) -> None:
    due: Deadlines[int] = Deadlines()
    table: dict[int, float] = {}
    for verb, thing, at in events:
        if verb == "set":
            due.set(thing, at)
            table[thing] = at
        elif verb == "drop":
            due.drop(thing)
            table.pop(thing, None)
        else:
            popped = due.pop_due(at)
            assert set(popped) == {name for name, when in table.items() if when <= at}
            instants = [table.pop(name) for name in popped]
            assert instants == sorted(instants)
        assert due.next() == min(table.values(), default=math.inf)
        assert len(due) == len(table)


def test_a_client_that_was_late_asks_for_a_longer_lease() -> None:
    """Another thread held the GIL, say; it may do so again."""
    shell = Shell()
    shell.submit(a_call(timeout_s=90.0), 0.0)
    shell.tick(0.0)
    shell.answer_pulse(0.1)
    shell.tick(9.0)  # the question was due at 1.0
    assert shell.probes[0][1][-1] == b"lease=6.000"
    assert shell.probes[1][1][-1] == b"lease=22.000"
