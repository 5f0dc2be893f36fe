"""The plan of faults: the same for the same seed, of all sorts, as often as told."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdp import Heartbeats
from tests.faults.plan import HOSTS, PLANES, SORTS, Fault, Kind, Part, plan, sorts_named

HEARTBEATS = Heartbeats(0.2, 3)
SEEDS = st.integers(0, 1 << 32)


def faults(seed: int, seconds: float = 600.0) -> list[Fault]:
    return plan(seed, seconds=seconds, every_s=2.0, heartbeats=HEARTBEATS)


def test_a_seed_gives_the_plan_that_it_always_gave() -> None:
    assert [str(fault) for fault in faults(1, 6.0)] == [
        "    1      0.29 s  half open workers' network 2 for 1.11 s",
        "    2      0.81 s  kill -9 child 0.1",
    ]


@settings(max_examples=25)
@given(seed=SEEDS)
def test_the_same_seed_gives_the_same_plan_and_a_longer_one_begins_with_it(seed: int) -> None:
    shorter, longer = faults(seed, 100.0), faults(seed, 300.0)
    assert shorter == faults(seed, 100.0)
    assert longer[: len(shorter)] == shorter
    assert faults(seed + 1, 300.0) != longer


@settings(max_examples=25)
@given(seed=SEEDS)
def test_every_sort_comes_as_often_as_the_others(seed: int) -> None:
    counted = Counter((fault.kind, fault.part) for fault in faults(seed))
    times = [counted[sort] for sort in SORTS]
    assert max(times) - min(times) <= 1


@settings(max_examples=25)
@given(seed=SEEDS)
def test_faults_come_in_order_and_hit_what_there_is(seed: int) -> None:
    result = faults(seed)
    times = [fault.at_s for fault in result]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < 600
    for fault in result:
        of_plane = fault.part in (Part.host, Part.child, Part.plane, Part.worker_link)
        of_host = fault.part in (Part.host, Part.child)
        assert fault.plane in (PLANES if of_plane else (None,))
        assert fault.host in (range(HOSTS) if of_host else (None,))


def test_a_plan_may_have_some_sorts_only() -> None:
    killed = sorts_named("kill -9")
    assert killed == tuple((Kind.kill, part) for part in list(Part)[:4])
    assert sorts_named("kill -9 broker") == ((Kind.kill, Part.broker),)
    assert sorts_named("nothing of the kind") == ()
    assert sorts_named("") == SORTS
    result = plan(1, seconds=60, every_s=2, heartbeats=HEARTBEATS, sorts=killed)
    assert {(fault.kind, fault.part) for fault in result} == set(killed)


def test_there_is_a_fault_as_often_as_told_on_average() -> None:
    counts = [len(faults(seed)) for seed in range(50)]
    assert sum(counts) / len(counts) == pytest.approx(600 / 2.0, rel=0.03)


@settings(max_examples=25)
@given(seed=SEEDS)
def test_short_faults_end_within_a_peers_patience_and_long_ones_after_it(seed: int) -> None:
    for fault in faults(seed):
        if fault.kind in (Kind.kill, Kind.drop):
            assert fault.length_s == 0
        elif fault.kind in (Kind.stop, Kind.silence, Kind.delay):
            assert 0 < fault.length_s < HEARTBEATS.silence_s
        else:
            assert fault.length_s > HEARTBEATS.silence_s
