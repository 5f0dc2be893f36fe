"""Figures of ledgers against the same figures computed in another way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.ledger.demand import Demand
from clients.ledger.figures import figures
from clients.ledger.limits import pools
from clients.ledger.records import TICK_S, UNKNOWN, EventTimes, Record, RunStart, WorkerName
from clients.ledger.spread import Spread
from tests.support.ledgers import PLANES, MadeUp

TIMES = st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=200)
MADE_UP = MadeUp(events=300, crops=2, workers={p: [0.01 * (p + 1)] * 2 for p in PLANES})


@given(times=TIMES, percent=st.integers(1, 100))
def test_percentiles_are_within_a_percent_of_numpys(times: list[float], percent: int) -> None:
    spread = Spread()
    for number, seconds in enumerate(times):
        spread.add(seconds)
        if number == 7:
            spread.close()
    spread.close()
    want = np.percentile(times, percent, method="inverted_cdf")
    assert spread.percentile(percent) == pytest.approx(want, rel=0.01)
    assert (spread.count, spread.min_s, spread.max_s) == (len(times), min(times), max(times))
    assert spread.total_s == pytest.approx(sum(times))


INTERVALS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), min_size=1, max_size=40)


@given(intervals=INTERVALS, workers=st.integers(1, 4))
def test_time_without_requests_is_what_looking_at_each_instant_finds(
    intervals: list[tuple[int, int]], workers: int
) -> None:
    intervals.sort()
    demand = Demand()
    for sent, took in intervals:
        demand.add(sent, sent + took)
    first, last = intervals[0][0], max(sent + took for sent, took in intervals)
    out = [
        sum(sent <= instant < sent + took for sent, took in intervals)
        for instant in range(first, last)
    ]
    idle = sum(max(workers - count, 0) for count in out)
    want = idle / (workers * len(out)) if out else 0.0
    assert demand.wanting(workers, of_s=float(len(out))) == pytest.approx(want)


def test_sums_are_those_of_the_records() -> None:
    job = figures(MADE_UP.records())
    events = [record for record in MADE_UP.records() if isinstance(record, EventTimes)]
    assert job.events == 300
    assert job.crops == 1800
    assert job.span_s == pytest.approx((events[-1].began + events[-1].written) * TICK_S)
    assert job.reading_s == pytest.approx(300 * 0.001)
    assert job.writing_s == pytest.approx(300 * 0.001)
    for plane in PLANES:
        assert job.crop_stages[plane, "worker"].total_s == pytest.approx(600 * 0.01 * (plane + 1))
        assert [worker.crops for worker in job.workers_of(plane)] == [300, 300]


def test_a_run_that_went_on_counts_with_the_one_before_and_not_with_older_ones() -> None:
    facts = MADE_UP.facts
    records: list[Record] = [
        *MadeUp(events=50).records(),
        *MADE_UP.records()[:-1],
        facts._replace(done=300, started_at=facts.started_at + 1e6),
        *MADE_UP.records()[1:],
    ]
    job, alone = figures(records), figures(MADE_UP.records())
    assert (job.earlier, len(job.runs), job.ends) == (1, 2, ["done"])
    assert job.events == 600
    assert job.span_s == pytest.approx(2 * alone.span_s)
    for both, one in zip(pools(job), pools(alone), strict=True):
        assert both.busy == pytest.approx(one.busy, abs=0.02)


def test_a_worker_that_came_late_and_one_that_went_early_are_judged_by_their_own_time() -> None:
    """Node a works for the first half of the run, node b for the second, both without a rest."""
    facts: RunStart = MadeUp(events=200).facts
    records: list[Record] = [facts, WorkerName(0, "a"), WorkerName(0, "b")]
    one = next(
        r for r in MadeUp(events=1, workers={0: [0.01]}).records() if isinstance(r, EventTimes)
    )
    for number in range(200):
        crops = tuple(crop._replace(worker=number // 100) for crop in one.crops)
        records.append(one._replace(entry=number, began=number * 1000, crops=crops))
    job = figures(records)
    a, b = job.workers[WorkerName(0, "a")], job.workers[WorkerName(0, "b")]
    assert a.busy_s / job.present_s(a) == pytest.approx(1, abs=0.02)
    assert b.busy_s / job.present_s(b) == pytest.approx(1, abs=0.02)
    [pool] = pools(job)
    assert pool.workers == pytest.approx(1, abs=0.02)


def test_crops_that_failed_count_and_have_no_worker() -> None:
    records = MADE_UP.records()
    place = next(k for k, record in enumerate(records) if isinstance(record, EventTimes))
    event = records[place]
    assert isinstance(event, EventTimes)
    nobody = {"worker": UNKNOWN, "busy": UNKNOWN, "computed": UNKNOWN}
    crops = tuple(crop._replace(**nobody) for crop in event.crops)
    records[place] = event._replace(crops=crops)
    job = figures(records)
    assert (job.crops, job.untimed) == (1800, 6)
    assert sum(worker.crops for worker in job.workers.values()) == 1794
