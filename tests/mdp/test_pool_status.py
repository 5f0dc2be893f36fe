"""What `pool status` shows, for looks that are made up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mdp.pool.pool_settings import Kind
from mdp.pool.status import (
    BrokerView,
    Sight,
    as_json,
    is_serving,
    lines,
    rows,
    with_submitted,
)
from tests.support.pools import (
    KEEPER,
    NOW,
    a_job,
    a_service,
    a_sight,
    a_worker,
    the_settings,
)

SILENT = {"broker": BrokerView("tcp://login2:1", trouble="refused"), "services": None}


def shown(sight: Sight) -> dict[str, str]:
    pairs = lines(sight, program="ssnet", time_text=lambda at: f"<{at:.0f}>")
    return dict(pairs)


def test_a_row_counts_workers_jobs_and_requests() -> None:
    sight = a_sight(
        services={
            "plane0": a_service(2, queued=7, serving_s={"p50": 0.3, "p95": 0.4, "measured": 9}),
            "plane2": a_service(0),
        },
        workers=[
            a_worker("plane0", "1_0", busy=True, facts={"until": NOW + 50.0}),
            a_worker("plane0", "1_1"),
        ],
    )
    first, second = rows(sight)
    assert (first.want, first.ready, first.busy, first.starting) == (2, 2, 1, 0)
    assert (first.queued_jobs, first.waiting, first.p50_s, first.p95_s) == (0, 7, 0.3, 0.4)
    assert first.ends_next == NOW + 50.0
    assert (second.ready, second.starting, second.ends_next) == (0, 2, NOW + 3600.0)
    assert second.p50_s is None
    assert second.advice == "no worker yet"


def test_queued_jobs_are_counted_by_reason() -> None:
    pending = [
        a_job("3_0", state="pending", reason="Priority"),
        a_job("3_1", state="pending", reason="Priority"),
        a_job("3_2", state="pending", reason="Resources"),
    ]
    row = rows(a_sight(jobs=pending, workers=[], services={}))[0]
    assert row.queued_jobs == 3
    assert row.reasons == {"Priority": 2, "Resources": 1}


def test_a_retired_worker_is_not_ready_and_its_job_does_not_start() -> None:
    workers = [a_worker("plane0", "1_0", retired=True), a_worker("plane0", "1_1")]
    row = rows(a_sight(workers=workers))[0]
    assert (row.ready, row.starting) == (1, 0)


def test_a_job_with_several_workers_starts_until_all_have_registered() -> None:
    sight = a_sight(
        settings=the_settings("plane0", per_job=3),
        jobs=[a_job("1_0")],
        workers=[a_worker("plane0", "1_0")],
    )
    assert rows(sight)[0].starting == 2


def test_without_the_broker_the_jobs_are_shown() -> None:
    row = rows(a_sight(**SILENT, workers=[]))[0]
    assert (row.ready, row.busy, row.starting, row.waiting) == (None, None, None, None)
    assert (row.want, row.queued_jobs, row.ends_next) == (2, 0, NOW + 3600.0)
    assert row.advice == ""


def test_what_the_keeper_wants_comes_before_the_settings() -> None:
    sight = a_sight(keeper=replace(KEEPER, want={"plane0": 9, "plane2": 1}))
    assert [row.want for row in rows(sight)] == [9, 1]


def test_jobs_with_workers_of_all_services_count_for_each() -> None:
    settings = replace(the_settings(), kinds=(Kind("all", {"plane0": 1, "plane2": 1}, ("x",)),))
    sight = a_sight(settings=settings, jobs=[a_job("1_0", "all", state="pending")], workers=[])
    assert [row.queued_jobs for row in rows(sight)] == [1, 1]


def test_jobs_that_the_listing_is_too_old_to_show_count_as_queued() -> None:
    event = {"event": "submitted", "kind": "plane0", "array": "9", "count": 2}
    history = [
        {**event, "time": NOW - 1.0},  # after the listing
        {**event, "time": NOW - 500.0, "array": "8"},
        {**event, "time": NOW - 1.0, "array": "1"},  # listed
    ]
    sight = with_submitted(a_sight(), history)
    assert [job.id for job in sight.jobs if job.state == "pending"] == ["9_0", "9_1"]
    assert rows(sight)[0].queued_jobs == 2


def test_without_any_listing_nothing_is_known_of_jobs() -> None:
    event = {"event": "submitted", "kind": "plane0", "array": "9", "count": 2, "time": NOW}
    sight = with_submitted(a_sight(jobs=[], jobs_seen_at=None, silence="down"), [event])
    assert rows(sight)[0].queued_jobs is None


@pytest.mark.parametrize(
    ("fields", "serves"),
    [
        ({}, True),
        ({"workers": [a_worker("plane0", "1_0")]}, False),
        (SILENT, False),
        ({"settings": replace(the_settings(), want={"plane0": 1, "plane2": 0})}, True),
    ],
)
def test_it_serves_if_each_wanted_service_has_a_worker(
    fields: dict[str, Any], serves: bool
) -> None:
    sight = a_sight(**fields)
    assert is_serving(sight, rows(sight)) is serves


def test_the_lines_name_broker_keeper_and_jobs() -> None:
    found = shown(a_sight())
    assert found["broker"] == "tcp://login2:46113 on login2, answers"
    assert found["keeper"] == "pid 4 on login2, last look 1 s ago"
    assert found["slurm"] == "4 jobs running, 0 queued"


@pytest.mark.parametrize(
    ("fields", "heading", "words"),
    [
        (SILENT, "broker", ["tcp://login2:1", "does not answer", "refused"]),
        ({"broker": BrokerView(trouble="no contact file")}, "broker", ["no contact file"]),
        ({"keeper_alive": False}, "keeper", ["is gone", "pid 4", "`ssnet pool start july`"]),
        ({"silence": "timed out"}, "slurm", ["does not answer", "timed out", "<9997>: 4 jobs"]),
        ({"silence": "timed out", "jobs_seen_at": None}, "slurm", ["does not answer"]),
        ({"keeper": replace(KEEPER, paused={"plane0": "3 bad"})}, "paused", ["plane0", "3 bad"]),
        ({"keeper": replace(KEEPER, excluded={"n1": "2 bad"})}, "excluded", ["n1", "2 bad"]),
        ({"keeper": replace(KEEPER, trouble="disk full")}, "trouble", ["disk full"]),
        ({"stopped_at": 9000.0}, "stopped", ["<9000>"]),
    ],
)
def test_the_lines_name_troubles(fields: dict[str, Any], heading: str, words: list[str]) -> None:
    text = shown(a_sight(**fields))[heading]
    assert [word for word in words if word not in text] == []


def test_a_stopped_pool_has_no_advice() -> None:
    sight = a_sight(stopped_at=9000.0, workers=[], services={}, jobs=[])
    assert [row.advice for row in rows(sight)] == ["", ""]


def test_json_has_everything_in_numbers() -> None:
    sight = a_sight()
    report = as_json(sight, rows(sight))
    assert report["services"]["plane0"]["ready"] == 2
    assert report["broker"]["alive"] is True
    assert report["keeper"]["alive"] is True
    assert report["jobs"][0]["id"] == "1_0"
    assert report["time"] == NOW
