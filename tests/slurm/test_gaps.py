"""Gaps without workers, and the jobs that a pool needed, from samples."""

from __future__ import annotations

import pytest

from tests.slurm.gaps import Gap, Outage, gaps, jobs_needed


def ready(*counts: int) -> list[tuple[float, int]]:
    """A sample each second."""
    return [(float(at), count) for at, count in enumerate(counts)]


def test_a_gap_lasts_from_the_first_sample_without_workers_to_the_next_with_one() -> None:
    assert gaps(ready(1, 0, 0, 0, 2, 0, 1), [], longest_s=1.0) == [Gap(1.0, 4.0)]


def test_a_gap_that_has_not_ended_counts_until_the_last_sample() -> None:
    assert gaps(ready(1, 0, 0, 0), [], longest_s=1.0) == [Gap(1.0, 3.0)]


def test_what_is_within_an_outage_is_no_gap() -> None:
    crash = Outage("crash", 0.0, 3.0)
    assert gaps(ready(0, 0, 0, 0, 0, 0, 1), [crash], longest_s=1.0) == [Gap(4.0, 6.0)]


def test_jobs_are_needed_for_the_workers_that_were_wanted_all_the_time() -> None:
    wanted = [(0.0, 2), (60.0, 4), (120.0, 4)]
    assert jobs_needed(wanted, walltime_s=60.0) == pytest.approx(2 + 4 + 4 / 2)


def test_a_pool_needs_all_its_first_jobs_however_soon_it_is_stopped() -> None:
    assert jobs_needed([(0.0, 6), (1.0, 6)], walltime_s=60.0) == 6
