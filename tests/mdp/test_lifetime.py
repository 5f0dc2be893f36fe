"""When a worker leaves by itself, by the numbers."""

from __future__ import annotations

import math

import pytest

from mdp.settings import WorkerLife
from mdp.worker.lifetime import Lifetime

MARGIN_S = 10.0


def a_life(*, jitter: float = 0.0, idle_s: float = math.inf) -> Lifetime:
    return Lifetime(WorkerLife(margin_s=MARGIN_S, idle_s=idle_s), jitter=jitter)


def serve(life: Lifetime, took_s: float, *, now: float) -> None:
    life.began(now - took_s)
    life.finished(now)


def leaves_at(life: Lifetime) -> float:
    """When the worker leaves, if its end is confirmed and nothing else happens."""
    life.end_known(life.ends_at, 0.0)
    due = life.deadline()
    assert life.why_leave(due - 0.001) is None
    assert life.why_leave(due) is not None
    return due


def test_a_worker_without_an_end_never_leaves() -> None:
    life = a_life()
    serve(life, 5.0, now=5.0)
    assert life.deadline() == math.inf
    assert life.why_leave(1e9) is None
    assert not life.wants_end(1e9)


def test_before_it_has_measured_anything_it_leaves_at_the_margin() -> None:
    life = a_life()
    life.end_known(100.0, 0.0)
    assert leaves_at(life) == 90.0


def test_the_longest_request_counts_while_few_are_measured() -> None:
    life = a_life()
    life.end_known(100.0, 0.0)
    for number, took_s in enumerate([2.0, 8.0, 1.0]):
        serve(life, took_s, now=10.0 * (number + 1))
    assert leaves_at(life) == 100.0 - MARGIN_S - 8.0


def test_the_quantile_counts_from_twenty_on() -> None:
    life = a_life()
    life.end_known(10_000.0, 0.0)
    serve(life, 60.0, now=60.0)  # the first one is slow: one of 100 is not the 95 % quantile
    for number in range(99):
        serve(life, 1.0, now=100.0 + number)
    left_s = 10_000.0 - MARGIN_S - leaves_at(life)
    assert 1.0 <= left_s <= 1.2  # the buckets are 19 % wide


def test_a_request_that_runs_counts_as_long_as_it_has_run() -> None:
    life = a_life()
    life.end_known(100.0, 0.0)
    life.end_known(100.0, 0.0)
    life.began(20.0)
    # at 55 s it has taken 35 s; 45 s are left, with a margin of 10 s
    assert life.deadline() == 55.0
    assert life.why_leave(54.9) is None
    assert life.why_leave(55.0) is not None


@pytest.mark.parametrize(
    ("time_s", "stagger_s"), [(60.0, 6.0), (300.0, 30.0), (600.0, 60.0), (86400.0, 60.0)]
)
def test_the_stagger_is_a_tenth_of_the_time_and_at_most_a_minute(
    time_s: float, stagger_s: float
) -> None:
    life = a_life(jitter=1.0)
    life.end_known(time_s, 0.0)
    assert leaves_at(life) == time_s - MARGIN_S - stagger_s


def test_the_end_is_asked_for_again_before_it_leaves_and_once_is_enough() -> None:
    life = a_life()
    life.end_known(100.0, 0.0)
    assert not life.wants_end(69.9)
    assert life.deadline() == 70.0
    assert life.wants_end(70.0)
    assert life.deadline() == 90.0
    life.end_known(100.2, 75.0)  # the same, by another clock
    assert not life.wants_end(89.0)
    assert life.why_leave(90.0) is not None


def test_an_end_that_has_moved_lets_it_go_on_and_is_asked_for_again() -> None:
    life = a_life()
    life.end_known(100.0, 0.0)
    assert life.wants_end(70.0)
    life.end_known(400.0, 71.0)
    assert life.why_leave(95.0) is None
    assert life.deadline() == 370.0
    assert life.wants_end(370.0)
    life.end_known(200.0, 371.0)  # it may move back, too
    assert life.why_leave(371.0) is not None


def test_a_question_that_fails_or_takes_too_long_leaves_the_known_end() -> None:
    life = a_life()
    life.end_known(100.0, 0.0)
    assert life.wants_end(70.0)
    assert life.why_leave(90.0) is not None  # no answer yet
    life.end_known(None, 79.0)
    assert not life.wants_end(80.0)
    assert life.deadline() == 90.0


def test_a_job_without_time_is_left_at_once_and_the_reason_has_the_numbers() -> None:
    life = a_life(jitter=0.999)
    life.end_known(1008.0, 1000.0)
    why = life.why_leave(1000.0)
    assert why is not None
    assert "8 s" in why
    assert "10 s" in why


def test_an_idle_worker_leaves_after_its_time_from_when_it_could_be_asked() -> None:
    life = a_life(idle_s=60.0)
    assert life.deadline() == math.inf  # no broker has answered
    life.offered(100.0)
    assert life.deadline() == 160.0
    life.began(150.0)
    assert life.deadline() == math.inf
    assert life.why_leave(1000.0) is None
    life.finished(2000.0)
    assert life.why_leave(2059.9) is None
    assert life.why_leave(2060.0) is not None
    life.withdrawn()
    assert life.why_leave(9000.0) is None


def test_the_time_of_a_pause_is_no_idle_time() -> None:
    life = a_life(idle_s=10.0)
    life.offered(0.0)
    life.paused(True, 5.0)
    assert life.why_leave(1000.0) is None
    assert life.deadline() == math.inf
    life.paused(False, 1000.0)
    assert life.why_leave(1009.0) is None
    assert life.why_leave(1010.0) is not None


def test_a_request_that_ends_in_a_pause_begins_no_idle_time() -> None:
    life = a_life(idle_s=10.0)
    life.began(0.0)
    life.paused(True, 1.0)
    life.finished(2.0)
    assert life.why_leave(1000.0) is None
    life.withdrawn()  # the broker has gone, and the pause with it
    life.offered(1000.0)
    assert life.why_leave(1010.0) is not None
