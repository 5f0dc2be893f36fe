"""The quantile of the times that workers need, in constant memory."""

from __future__ import annotations

import random

import pytest

from mdp.broker.serving_times import ServingTimes


@pytest.mark.parametrize("typical_s", [0.004, 0.15, 30.0])
def test_the_quantile_is_at_most_a_fifth_too_long(typical_s: float) -> None:
    dice = random.Random(1)
    times = [typical_s * dice.uniform(0.5, 2.0) for _ in range(2000)]
    counted = ServingTimes()
    for seconds in times:
        counted.add(seconds)
    right = sorted(times)[int(0.99 * len(times))]
    assert right <= counted.p99 * 1.01
    assert counted.p99 <= 1.2 * right


def test_a_few_slow_requests_do_not_move_it() -> None:
    times = ServingTimes()
    for number in range(1000):
        times.add(500.0 if number % 200 == 0 else 0.1)
    assert times.p99 < 0.13


def test_it_follows_the_requests_of_late() -> None:
    times = ServingTimes()
    for seconds in [0.1] * 50_000 + [3.0] * 10_000:
        times.add(seconds)
    assert 3.0 <= times.p99 < 3.7
    assert times.measured == 60_000


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e9])
def test_any_time_can_be_counted(seconds: float) -> None:
    times = ServingTimes()
    for _ in range(50):
        times.add(seconds)
    assert times.p99 > 0


@pytest.mark.parametrize("share", [0.5, 0.95])
@pytest.mark.parametrize("typical_s", [0.004, 0.3, 30.0])
def test_an_estimate_is_within_a_tenth(typical_s: float, share: float) -> None:
    dice = random.Random(2)
    times = [typical_s * dice.uniform(0.5, 2.0) for _ in range(2000)]
    counted = ServingTimes()
    for seconds in times:
        counted.add(seconds)
    right = sorted(times)[int(share * len(times))]
    assert counted.estimate(share) == pytest.approx(right, rel=0.1)


def test_a_single_time_is_in_the_middle_of_its_bucket_up_to_a_tenth() -> None:
    times = ServingTimes()
    times.add(0.3)
    assert times.estimate(0.5) == pytest.approx(0.3, rel=0.1)


def test_without_times_an_estimate_is_0() -> None:
    assert ServingTimes().estimate(0.5) == 0.0 == ServingTimes().quantile(0.5)
