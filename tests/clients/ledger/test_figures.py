"""Figures of ledgers against the same figures computed in another way."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.ledger import chunks as chunks_module
from clients.ledger.demand import Demand
from clients.ledger.figures import figures
from clients.ledger.limits import pools
from clients.ledger.records import TICK_S, UNKNOWN, Event, Named, Record, Run
from clients.ledger.spread import Spread
from clients.ledger.timeline import STATES, Bins, Timeline
from tests.support.ledgers import PLANES, MadeUp

TIMES = st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=200)
MADE_UP = MadeUp(events=300, crops=2, workers={p: [0.01 * (p + 1)] * 2 for p in PLANES})


@given(times=TIMES, percent=st.integers(1, 100))
def test_percentiles_are_within_a_percent_of_numpys(times: list[float], percent: int) -> None:
    spread = Spread()
    spread.add(np.array(times[:7]))
    spread.add(np.array(times[7:]))
    want = np.percentile(times, percent, method="inverted_cdf")
    assert spread.percentile(percent) == pytest.approx(want, rel=0.01)
    assert spread.max_s == max(times)
    assert spread.total_s == pytest.approx(sum(times))


INTERVALS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), min_size=1, max_size=40)


@given(intervals=INTERVALS, at_once=st.integers(1, 7), workers=st.integers(1, 4))
def test_time_without_requests_is_what_looking_at_each_instant_finds(
    intervals: list[tuple[int, int]], at_once: int, workers: int
) -> None:
    intervals.sort()
    demand = Demand()
    for k in range(0, len(intervals), at_once):
        sent, took = np.array(intervals[k : k + at_once], float).T
        demand.add(sent, sent + took)
    demand.close()
    first, last = intervals[0][0], max(sent + took for sent, took in intervals)
    out = [
        sum(sent <= instant < sent + took for sent, took in intervals)
        for instant in range(first, last)
    ]
    idle = sum(max(workers - count, 0) for count in out)
    want = idle / (workers * len(out)) if out else 0.0
    assert demand.wanting(workers, of_s=float(len(out))) == pytest.approx(want)


@given(intervals=INTERVALS, bins=st.integers(1, 20))
def test_bins_hold_what_goes_on_in_them(intervals: list[tuple[int, int]], bins: int) -> None:
    span = 80.0
    starts, took = np.array(intervals, float).T
    made = Bins(2, span_s=span, bins=bins)
    made.add(1, starts, starts + took)
    edges = np.linspace(0, span, bins + 1)
    want = [
        sum(max(min(s + t, high) - max(s, low), 0) for s, t in intervals) / (high - low)
        for low, high in itertools.pairwise(edges)
    ]
    assert made.values()[1] == pytest.approx(want, abs=1e-9)
    assert not made.values()[0].any()


def test_figures_do_not_depend_on_how_many_events_are_counted_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once = figures(MADE_UP.records())
    monkeypatch.setattr(chunks_module, "AT_ONCE", 7)
    in_pieces = figures(MADE_UP.records())
    assert in_pieces.slowest == at_once.slowest
    for one, other in zip(pools(at_once), pools(in_pieces), strict=True):
        assert vars(one) == pytest.approx(vars(other))
    assert in_pieces.span_s == pytest.approx(at_once.span_s)


def test_sums_are_those_of_the_records() -> None:
    made = figures(MADE_UP.records())
    events = [record for record in MADE_UP.records() if isinstance(record, Event)]
    assert made.events == 300
    assert made.crops == 1800
    assert made.span_s == pytest.approx((events[-1].began + events[-1].written) * TICK_S)
    assert made.reading_s == pytest.approx(300 * 0.001)
    assert made.writing_s == pytest.approx(300 * 0.001)
    for plane in PLANES:
        assert made.crop_stages[plane, "worker"].total_s == pytest.approx(600 * 0.01 * (plane + 1))
        assert [worker.crops for worker in made.workers_of(plane)] == [300, 300]


def test_the_timelines_areas_are_the_times_of_the_records() -> None:
    made = figures(MADE_UP.records())
    timeline = Timeline(MADE_UP.records(), made, state_bins=37, lane_bins=53)
    state_s, lane_s = made.span_s / 37, made.span_s / 53
    by_state = dict(zip(STATES, timeline.states.sum(axis=1) * state_s, strict=True))
    assert by_state["read"] == pytest.approx(0.3)
    assert by_state["write"] == pytest.approx(0.3)
    assert by_state["room"] == pytest.approx(made.stages["room"].total_s)
    assert by_state["turn"] == pytest.approx(made.stages["turn"].total_s)
    busy = [made.workers[worker].busy_s for worker in timeline.workers]
    assert timeline.lanes.sum(axis=1) * lane_s == pytest.approx(busy)
    assert timeline.threads.sum(axis=1) * lane_s == pytest.approx([0.3, 0.3])


def test_a_run_that_went_on_counts_with_the_one_before_and_not_with_older_ones() -> None:
    facts = MADE_UP.facts
    records: list[Record] = [
        *MadeUp(events=50).records(),
        *MADE_UP.records()[:-1],
        replace(facts, done=300, started=facts.started + 1e6),
        *MADE_UP.records()[1:],
    ]
    made, alone = figures(records), figures(MADE_UP.records())
    assert (made.earlier, len(made.runs), made.ends) == (1, 2, ["done"])
    assert made.events == 600
    assert made.span_s == pytest.approx(2 * alone.span_s)
    for both, one in zip(pools(made), pools(alone), strict=True):
        assert both.busy == pytest.approx(one.busy, abs=0.02)
    timeline = Timeline(records, made, state_bins=100, lane_bins=100)
    assert timeline.states[:, :50] == pytest.approx(timeline.states[:, 50:], abs=1)
    assert timeline.lanes.sum() > 0


def test_a_worker_that_came_late_and_one_that_went_early_are_judged_by_their_own_time() -> None:
    """Node a works for the first half of the run, node b for the second, both without a rest."""
    facts: Run = MadeUp(events=200).facts
    records: list[Record] = [facts, Named(0, "a"), Named(0, "b")]
    one = next(r for r in MadeUp(events=1, workers={0: [0.01]}).records() if isinstance(r, Event))
    for number in range(200):
        records.append(one._replace(entry=number, began=number * 1000, worker=[number // 100]))
    made = figures(records)
    a, b = made.workers[Named(0, "a")], made.workers[Named(0, "b")]
    assert a.busy_s / made.present_s(a) == pytest.approx(1, abs=0.02)
    assert b.busy_s / made.present_s(b) == pytest.approx(1, abs=0.02)
    [pool] = pools(made)
    assert pool.workers == pytest.approx(1, abs=0.02)


def test_crops_that_failed_count_and_have_no_worker() -> None:
    records = MADE_UP.records()
    place = next(k for k, record in enumerate(records) if isinstance(record, Event))
    event = records[place]
    assert isinstance(event, Event)
    nobody = [UNKNOWN] * len(event.plane)
    records[place] = event._replace(worker=nobody, busy=nobody, computed=nobody)
    made = figures(records)
    assert (made.crops, made.unsaid) == (1800, 6)
    assert sum(worker.crops for worker in made.workers.values()) == 1794
