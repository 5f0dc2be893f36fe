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
