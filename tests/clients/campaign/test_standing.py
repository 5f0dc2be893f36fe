"""Rates, the end, and the worst hosts of a campaign: numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.campaign.views.host_sums import HostSums, hosts_of, is_clear, percent, suspects
from clients.campaign.views.standing import (
    NO_RATE,
    Rate,
    Running,
    Span,
    Standing,
    Sums,
    covered_s,
    left_s,
    rate_of,
)


def running(done: int, total: int, *, began_at: float = 0.0, bytes: int = 1000) -> Running:
    return Running(1, "in.root", bytes, "n1", 7, "", done, total, "scoring", began_at, 100.0)


def test_a_file_counts_with_the_share_of_its_time_that_lies_in_the_period() -> None:
    long = Span(0.0, 2000.0, 2000, 4000)
    rate = rate_of([long], [], since=1400.0, until=2000.0)
    assert rate == pytest.approx(Rate(600.0, 0.3 / 600, 1.0, 2.0))


def test_the_time_of_a_rate_begins_with_the_first_try() -> None:
    rate = rate_of([Span(90.0, 100.0, 50, 500)], [], since=-500.0, until=110.0)
    assert rate == pytest.approx(Rate(20.0, 0.05, 2.5, 25.0))


def test_files_that_are_being_scored_count_with_what_is_done_of_them() -> None:
    rate = rate_of([], [running(30, 100)], since=-500.0, until=100.0)
    assert rate == pytest.approx(Rate(100.0, 0.0, 0.3, 3.0))
    assert rate_of([], [], since=0.0, until=100.0) == NO_RATE


def test_what_is_left_is_counted_in_bytes_without_what_readers_have_done() -> None:
    rate = Rate(600.0, 1.0, 1.0, 10.0)
    left = Sums(files=3, bytes=3000)
    assert left_s(left, [running(50, 100)], rate, NO_RATE) == pytest.approx(250.0)
    assert left_s(left, [], NO_RATE, rate) == pytest.approx(300.0)
    assert left_s(left, [], NO_RATE, NO_RATE) is None
    assert left_s(Sums(), [], NO_RATE, NO_RATE) == 0.0


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20))))
def test_the_covered_time_is_the_union_of_the_spans(parts: Sequence[tuple[int, int]]) -> None:
    spans = sorted((float(began), float(began + length)) for began, length in parts)
    seconds = {second for began, end in spans for second in range(int(began), int(end))}
    assert covered_s(spans) == len(seconds)


def test_states_are_summed_and_copies_are_not_to_be_scored() -> None:
    sums = {"done": Sums(4, 40, 400, 1), "failed": Sums(1, 10), "repeated": Sums(2, 20)}
    standing = Standing(0.0, sums, [], NO_RATE, NO_RATE, None)
    assert standing.of() == Sums(7, 70, 400, 1)
    assert standing.of("waiting") == Sums()
    assert (standing.to_score, standing.is_complete, standing.has_failures) == (5, True, True)


# Hosts.


def host(name: str, tries: int, failed: int, files: int = 0, lossy: int = 0) -> HostSums:
    return HostSums(name, tries=tries, failed=failed, files=files, lossy_files=lossy)


def test_a_host_that_fails_a_large_share_stands_out_against_one_that_does_more() -> None:
    hosts = [host("busy", 1000, 20), host("ill", 20, 8), host("fine", 500, 9)]
    (worst,) = suspects(hosts)
    assert (worst.host, worst.failed, worst.tries) == ("ill", 8, 20)
    assert "40 %" in worst.why
    assert "1.9 %" in worst.why


def test_a_few_failures_are_a_chance() -> None:
    assert suspects([host("a", 5, 1), host("b", 500, 5)]) == []
    assert suspects([host("a", 100, 4), host("b", 100, 3)]) == []
    assert not is_clear(0, 10, 0, 10)


def test_a_host_without_others_is_judged_alone() -> None:
    assert [one.host for one in suspects([host("only", 10, 6)])] == ["only"]
    assert suspects([host("only", 10, 3)]) == []


def test_a_host_whose_files_lose_events_stands_out() -> None:
    hosts = [host("a", 100, 0, 100, 1), host("b", 100, 0, 100, 30)]
    (worst,) = suspects(hosts)
    assert worst.host == "b"
    assert "30 %" in worst.why


def test_a_slow_host_stands_out() -> None:
    rows = [(f"n{k}", "done", 10, 1000, 300.0) for k in range(3)]
    found = suspects(hosts_of([*rows, ("slow", "done", 10, 1000, 900.0)], []))
    assert [(one.host, "3.0 times" in one.why) for one in found] == [("slow", True)]


def test_bad_files_do_not_count_against_a_host_and_the_worst_host_comes_first() -> None:
    tries = [
        *(("a", "done", 10, 100, 5.0), ("a", "input", 5, 0, 1.0)),
        *(("b", "service", 1, 0, 1.0), ("b", "done", 3, 30, 1.5)),
    ]
    worst, other = hosts_of(tries, [("a", 10, 1, 100, 2), ("b", 3, 0, 30, 0)])
    assert (worst.host, worst.share, worst.tries) == ("b", 0.25, 4)
    assert (other.host, other.share, other.bad_files, other.failed_events) == ("a", 0.0, 5, 2)
    assert other.event_s == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (1e-6, "below 0.01 %"), (0.0031, "0.31 %"), (0.4, "40 %"), (1.0, "100 %")],
)
def test_shares_are_rounded_but_never_to_nothing(share: float, text: str) -> None:
    assert percent(share) == text
    assert percent(0.99999) == "99 %"
