"""Figures of the page, from looks at a broker."""

from __future__ import annotations

from typing import Any

import pytest

from clients.dashboard.site_figures import (
    CHART_S,
    MOST_POINTS,
    History,
    headline,
    progress_of,
    service_rows,
    tiles,
)


def service(**more: Any) -> dict[str, Any]:
    usual = {"workers": 1, "retired": 0, "idle": 1, "busy": 0, "queued": 0, "bytes": 0}
    return {**usual, "answered": 0, "requeued": 0, "serving_s": None, "paused": None, **more}


def look(at: float, services: dict[str, Any], **metrics: Any) -> dict[str, Any]:
    measured = {name: {"oldest_s": 2.0, "failed": {"500": 3}} for name in services}
    usual = {"instance": "1", "draining": False, "services": measured}
    return {"at": at, "services": services, "metrics": {**usual, **metrics}}


def words(*looks: dict[str, Any], limits: tuple[str, ...] = ()) -> str:
    return headline(list(looks), silent_since=None, reason="", now=1.0, limits=limits).text


def test_rates_are_differences_over_ten_seconds() -> None:
    history = History()
    for k in range(31):
        history.see(look(float(k), {"echo": service(answered=k * k)}))
    assert history.rates["echo"] == pytest.approx((30**2 - 20**2) / 10)
    assert history.points[-1][1]["echo"] == 30**2 - 29**2


def test_another_broker_counts_from_zero_and_no_rate_is_negative() -> None:
    history = History()
    history.see(look(0.0, {"echo": service(answered=100)}))
    history.see(look(1.0, {"echo": service(answered=5)}, instance="2"))
    assert history.rates == {}
    history.see(look(2.0, {"echo": service(answered=9)}, instance="2"))
    assert history.rates == {"echo": 4.0}


def test_the_history_is_bounded() -> None:
    history = History()
    for k in range(5000):
        history.see(look(k / 10, {"echo": service(answered=k)}))
    assert len(history.points) == MOST_POINTS
    history.see(look(10_000.0, {"echo": service()}))
    assert [at for at, _ in history.points if at < 10_000.0 - CHART_S] == []


def test_counts_of_services_are_those_of_the_broker() -> None:
    seen = look(1.0, {"ssnet-plane0": service(queued=4, busy=1, idle=0, answered=7)})
    (row,) = service_rows(seen, {"ssnet-plane0": 2.5})
    assert (row["queued"], row["busy"], row["answered"], row["rate"]) == (4, 1, 7, 2.5)
    assert row["failed"] == 3
    figures = tiles([row], [], [])
    assert figures["crops_per_s"] == 2.5
    assert figures["queued"] == 4
    assert figures["failed"] == 3
    assert figures["left_s"] is None


def test_the_headline_says_what_is_wrong_before_what_is_right() -> None:
    served = service(busy=1, idle=0)
    dead = service(workers=0, idle=0)
    assert words(look(1.0, {"ssnet-plane2": dead, "ssnet-plane0": served})) == (
        "plane 2 has no worker"
    )
    assert "plane 0 is paused" in words(
        look(1.0, {"ssnet-plane0": service(paused={"by": "x", "for_s": 1.0})})
    )
    assert words(look(1.0, {"ssnet-plane0": served})) == "running"
    assert words(look(1.0, {"ssnet-plane0": served}), limits=("the reader limits",)) == (
        "running; the reader limits"
    )
    assert words(look(1.0, {"echo": service()})).startswith("idle")
    assert "no workers" in words(look(1.0, {}))
    silent = headline([], silent_since=10.0, reason="nobody", now=70.0)
    assert silent.level == "bad"
    assert "nobody" in silent.text


def test_a_plane_with_a_full_queue_limits() -> None:
    busy = {"busy": 1, "idle": 0, "serving_s": {"p50": 1.0, "p95": 1.0}}
    full = service(queued=90, answered=10, **busy)
    rest = service(answered=100, serving_s={"p50": 0.1, "p95": 0.1})
    looks = [look(float(k), {"ssnet-plane2": full, "ssnet-plane0": rest}) for k in range(5)]
    assert words(*looks) == "running; plane 2 limits: add workers"


def test_planes_that_limit_alike_are_named_together() -> None:
    full = service(queued=90, answered=10, busy=1, idle=0, serving_s={"p50": 1.0, "p95": 1.0})
    rest = service(answered=100, serving_s={"p50": 0.1, "p95": 0.1})
    planes = {"ssnet-plane2": full, "ssnet-plane0": rest, "ssnet-plane1": full}
    looks = [look(float(k), planes) for k in range(5)]
    assert words(*looks) == "running; plane 1 and plane 2 limit: add workers"
    planes["ssnet-plane0"] = full
    looks = [look(float(k), planes) for k in range(5)]
    text = "running; plane 0, plane 1 and plane 2: all are busy: more workers help"
    assert words(*looks) == text


def test_progress_of_a_client_gives_rate_and_time() -> None:
    told = {"what": "events", "done": 30, "of": 90, "begun_at": 100.0, "output": "o", "failed": 2}
    shown = progress_of(told, 115.0)
    assert (shown["rate"], shown["left_s"], shown["failed"]) == (2.0, 30.0, 2)
    assert progress_of({**told, "of": None}, 115.0)["left_s"] is None
    assert progress_of({**told, "of": 20}, 115.0)["left_s"] == 0.0


@pytest.mark.parametrize(
    "told",
    [
        None,
        "x",
        [],
        {},
        {"done": "1", "begun_at": 0.0},
        {"done": -1, "begun_at": 0.0},
        {"done": float("nan"), "begun_at": 0.0},
        {"done": 1, "begun_at": float("inf")},
        {"done": True, "begun_at": 0.0},
    ],
)
def test_progress_that_is_not_as_it_should_be_is_left_out(told: Any) -> None:
    assert progress_of(told, 10.0) == {}
