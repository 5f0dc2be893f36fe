"""What a process of workers says while no broker answers, by the numbers."""

from __future__ import annotations

import math

from mdp.worker.broker_search import BrokerSearch


def lines(search: BrokerSearch, until: int, *, answers_s: float = 0.0) -> list[tuple[float, str]]:
    """Let the search go on, each second, and return its lines."""
    out, asked_at = [], math.inf
    for second in range(until + 1):
        now = float(second)
        search.update(True, now)
        if search.asks(now):
            asked_at = now
        if now >= asked_at + answers_s:
            asked_at = math.inf
            if (line := search.explained("refused", now)) is not None:
                out.append((now, line))
        if search.verdict(now) is not None:
            break
    return out


def test_a_line_comes_after_10_s_and_then_each_minute() -> None:
    said = lines(BrokerSearch(math.inf), 200)
    assert [at for at, _ in said] == [10.0, 60.0, 120.0, 180.0]
    assert said[1][1] == "for 60 s: refused"


def test_it_gives_up_after_its_time_with_the_latest_reason() -> None:
    search = BrokerSearch(90.0)
    assert [at for at, _ in lines(search, 89)] == [10.0, 60.0]
    assert search.deadline() == 90.0
    assert search.verdict(90.0) is None
    assert search.asks(90.0)
    assert search.explained("no such host", 91.0) is None
    assert search.verdict(91.0) == "within 90 s: no such host"


def test_a_reason_that_does_not_come_does_not_keep_it_from_giving_up() -> None:
    search = BrokerSearch(5.0)
    search.update(True, 0.0)
    assert search.asks(5.0)
    assert not search.asks(6.0)
    assert search.deadline() == 15.0
    assert search.verdict(14.9) is None
    verdict = search.verdict(15.0)
    assert verdict is not None
    assert "within 5 s" in verdict


def test_a_broker_that_answers_ends_the_search_and_the_next_one_begins_anew() -> None:
    search = BrokerSearch(30.0)
    search.update(True, 0.0)
    search.update(False, 29.0)
    assert search.deadline() == math.inf
    search.update(True, 40.0)
    assert search.verdict(60.0) is None
    assert search.deadline() == 50.0


def test_a_reason_that_comes_after_the_broker_is_not_logged() -> None:
    search = BrokerSearch(30.0)
    search.update(True, 0.0)
    assert search.asks(10.0)
    search.update(False, 11.0)
    assert search.explained("refused", 12.0) is None
