"""Which file is asked for next, tried again or given up: without files, readers or a clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.campaign.driving.progression import MOST_IN_FLIGHT, RETRY_S, Progression, Verdict


def good(number: int) -> Verdict:
    return Verdict(number, ok=True)


def bad(number: int, kind: str = "input", reason: str = "damaged") -> Verdict:
    return Verdict(number, ok=False, kind=kind, reason=reason)


def over(files: Progression) -> bool:
    return files.is_over


def why(files: Progression) -> str:
    return files.stopped


def finish(files: Progression, number: int) -> None:
    assert files.answered(good(number), 0.0) == "publish"
    files.published([number])


def test_files_in_flight_are_readers_and_a_quarter_more() -> None:
    files = Progression()
    files.add(range(1000))
    assert files.next_files(0.0) == [0, 1]
    files.readers = 8
    assert files.next_files(0.0) == list(range(2, 12))
    assert files.next_files(0.0) == []
    files.readers = 4000
    assert len(files.next_files(0.0)) + 12 == MOST_IN_FLIGHT
    assert files.left == 1000


def test_while_many_answers_are_taken_at_once_more_files_are_in_flight() -> None:
    files = Progression()
    files.readers, files.batch = 2, 6
    files.add(range(100))
    assert len(files.next_files(0.0)) == 2 + 1 + 2 + 10


def test_a_campaign_is_over_when_every_output_is_published() -> None:
    files = Progression()
    files.add([7])
    assert not over(files)
    assert files.next_files(0.0) == [7]
    assert files.answered(good(7), 1.0) == "publish"
    assert not over(files)
    files.published([7])
    assert over(files)
    assert (files.done, files.failed, files.left) == (1, 0, 0)


def test_a_file_that_failed_is_tried_again_after_all_others() -> None:
    files = Progression(file_tries=2)
    files.add([0, 1, 2])
    assert files.next_files(0.0) == [0, 1]
    assert files.answered(bad(0), 1.0) == "later"
    assert files.next_files(1.0) == [2]
    finish(files, 1)
    finish(files, 2)
    assert files.next_files(1.5) == []
    assert files.deadline() == 1.0 + RETRY_S
    assert files.next_files(1.0 + RETRY_S) == [0]
    assert files.deadline() == math.inf
    assert files.answered(bad(0), 5.0) == "fail"
    assert over(files)
    assert (files.done, files.failed) == (2, 1)


def test_options_that_do_not_fit_are_not_tried_again() -> None:
    files = Progression(file_tries=5)
    files.add([0])
    files.next_files(0.0)
    assert files.answered(bad(0, "settings"), 0.0) == "fail"


def test_a_file_that_nobody_scored_is_asked_for_again_without_a_try() -> None:
    files = Progression(file_tries=1)
    files.add([0])
    for turn in range(3):
        assert files.next_files(10.0 * turn) == [0]
        files.returned(0, 10.0 * turn)
        assert not over(files)
    assert files.next_files(100.0) == [0]
    assert files.answered(bad(0), 100.0) == "fail"


def test_draining_waits_for_what_is_in_flight_and_asks_for_nothing() -> None:
    files = Progression()
    files.add([0, 1, 2, 3])
    assert files.next_files(0.0) == [0, 1]
    files.drain()
    assert files.next_files(0.0) == []
    assert not over(files)
    finish(files, 0)
    assert files.answered(bad(1), 0.0) == "later"
    assert over(files)
    assert files.left == 3


def fail_some(files: Progression, numbers: range, kind: str, reason: str) -> None:
    files.readers = 1000
    files.add(numbers)
    files.next_files(0.0)
    for number in numbers:
        files.answered(bad(number, kind, reason.format(number)), 0.0)


def test_ten_failures_in_a_row_with_one_reason_stop_the_campaign() -> None:
    files = Progression(max_failed=1)
    fail_some(files, range(9), "write", "cannot write /d/work/{0}/x.root: No space left")
    assert not why(files)
    fail_some(files, range(9, 10), "write", "cannot write /d/work/{0}/x.root: No space left")
    assert "10 files" in files.stopped
    assert "No space left" in files.stopped
    assert files.draining


def test_a_success_between_or_another_reason_begins_a_new_row() -> None:
    files = Progression(max_failed=1)
    fail_some(files, range(9), "service", "no workers")
    files.add([50])
    files.next_files(0.0)
    finish(files, 50)
    fail_some(files, range(60, 69), "service", "no workers")
    fail_some(files, range(70, 79), "write", "no space")
    assert not why(files)


def test_damaged_files_stop_a_campaign_only_by_their_share() -> None:
    files = Progression(max_failed=0.1)
    files.add(range(1000, 1090))
    files.readers = 100
    for number in files.next_files(0.0):
        finish(files, number)
    fail_some(files, range(10), "input", "damaged")
    assert not why(files)  # 10 of 100: not above a tenth
    fail_some(files, range(10, 11), "input", "damaged")
    assert "11 of the first 101" in files.stopped


def test_failures_of_an_earlier_driver_do_not_stop_this_one() -> None:
    files = Progression(max_failed=0.1, done=10, failed=50)
    fail_some(files, range(1), "input", "damaged")
    assert not why(files)


def test_strict_stops_at_the_first_failure() -> None:
    files = Progression(strict=True)
    fail_some(files, range(1), "input", "damaged")
    assert "damaged" in files.stopped


MOVES = st.lists(st.tuples(st.sampled_from("anfgrpd"), st.integers(0, 30)), max_size=80)


@settings(max_examples=200, deadline=None)
@given(moves=MOVES, tries=st.integers(1, 3))
def test_every_file_is_in_one_place_whatever_happens(
    moves: list[tuple[str, int]], tries: int
) -> None:
    files = Progression(file_tries=tries, max_failed=1)
    added, now = 0, 0.0
    asked: list[int] = []
    accepted: list[int] = []
    tried: dict[int, int] = {}
    for move, amount in moves:
        now += 0.5
        if move == "a":
            files.add(range(added, added + amount))
            added += amount
        elif move == "n":
            files.readers = amount
            asked += files.next_files(now)
        elif move in "fg" and asked:
            number = asked.pop(amount % len(asked))
            tried[number] = tried.get(number, 0) + 1
            verdict = good(number) if move == "g" else bad(number, "network", f"reason {amount}")
            if files.answered(verdict, now) == "publish":
                accepted.append(number)
        elif move == "r" and asked:
            files.returned(asked.pop(amount % len(asked)), now)
        elif move == "p":
            files.published(accepted)
            accepted = []
        elif move == "d" and amount == 0:
            files.drain()
        assert files.in_flight == set(asked)
        assert len(asked) == len(set(asked)) <= MOST_IN_FLIGHT
        assert files.left + files.done + files.failed == added
        assert max(tried.values(), default=0) <= tries


@pytest.mark.parametrize("seed", range(3))
def test_all_files_come_to_an_end(seed: int) -> None:
    files = Progression(file_tries=2, max_failed=1)
    files.add(range(50))
    files.readers = seed
    now = 0.0
    while not files.is_over:
        for number in files.next_files(now):
            verdict = bad(number) if number % 7 == seed else good(number)
            if files.answered(verdict, now) == "publish":
                files.published([number])
        now += 1.0
    assert files.done + files.failed == 50
    assert files.failed == sum(number % 7 == seed for number in range(50))
