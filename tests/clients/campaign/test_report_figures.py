"""Rates over time, reasons by kind, slow files, and hosts of workers, for a campaign's page."""

from __future__ import annotations

import random

import pytest

from clients.campaign.views.page.report_figures import (
    MOST_BINS,
    FailedEvent,
    Reasons,
    Timed,
    Try,
    pace,
    rates,
    worker_hosts,
)


def a_try(began_at: float, ended_at: float, outcome: str = "done", events: int = 10) -> Try:
    return Try(1, began_at, ended_at, "n1", outcome, "", events)


def test_the_events_of_a_try_are_spread_over_its_time() -> None:
    found = rates([a_try(1005.5, 1008.0, events=25), a_try(1006.0, 1006.5, "input", 0)])
    assert found.length_s == 1.0
    assert [one.began_at for one in found.bins] == [1005.0, 1006.0, 1007.0, 1008.0]
    assert [one.events for one in found.bins] == pytest.approx([5.0, 10.0, 10.0, 0.0])
    assert [one.files for one in found.bins] == [0, 0, 0, 1]
    assert [one.failed for one in found.bins] == [0, 1, 0, 0]
    assert found.most_events_per_s == pytest.approx(10.0)


@pytest.mark.parametrize("span_s", [0.0, 9.9, 1200.0, 86_400.0, 40 * 86_400.0, 9e8])
def test_no_event_is_lost_and_the_bins_are_few(span_s: float) -> None:
    chance = random.Random(7)
    tries = [
        a_try(began_at := 1e9 + chance.random() * span_s, began_at + chance.random() * 100)
        for _ in range(200)
    ]
    found = rates(tries)
    assert 1 <= len(found.bins) <= MOST_BINS + 1
    assert sum(one.events for one in found.bins) == pytest.approx(2000)
    assert sum(one.files for one in found.bins) == 200


def test_without_tries_there_is_no_rate() -> None:
    assert rates([]).bins == ()
    assert rates([a_try(0.0, 0.0)]).bins == ()


def test_reasons_have_their_hosts_planes_and_some_examples() -> None:
    counted = Reasons()
    for k in range(5):
        counted.add(f"timeout after {k} s", host=f"n{k % 2}", path=f"f{k}", entry=k, plane=2)
    counted.add("", host="", path="g")
    part = counted.part(1)
    (row,) = part.rows
    assert (row.text, row.count, part.more) == ("timeout after N s", 5, 1)
    assert row.hosts == {"n0": 3, "n1": 2}
    assert row.planes == {2: 5}
    assert row.examples[0] == "f0 entry 0"


def test_slow_files_are_compared_by_the_time_of_an_event_not_of_the_file() -> None:
    files = [Timed(k, f"f{k}", "n1", 100, 100.0 + k) for k in range(9)]
    files += [Timed(20, "long", "n1", 1000, 1000.0), Timed(21, "slow", "n2", 2, 20.0)]
    found = pace([*files, Timed(22, "empty", "n1", 0, 5.0)], most=10)
    assert [(slow.file.path, round(slow.times, 1)) for slow in found.slow.rows] == [("slow", 9.6)]
    assert found.median_s == pytest.approx(1.04)
    assert found.tenth_s <= found.median_s <= found.ninth_s
    assert pace([], most=10).median_s == 0.0


def test_an_event_that_fails_in_two_planes_counts_once_for_a_host() -> None:
    rows = [(1, 0, 0, "g1"), (1, 0, 1, "g1"), (1, 1, 0, "g2"), (2, 0, 0, "g1"), (2, 1, None, "")]
    events = [
        FailedEvent(file, "f", entry, 1, 1, entry, plane, 500, "bad", host)
        for file, entry, plane, host in rows
    ]
    first, last = worker_hosts(events, most=10).rows
    assert (first.host, first.events, first.share, first.files) == ("g1", 2, 0.5, 2)
    assert (last.host, last.events) == ("g2", 1)
