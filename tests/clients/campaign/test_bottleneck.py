"""What limits a campaign: tables of what was seen, and the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clients.campaign.views.bottleneck import Circumstances, Service, limit, services_of
from clients.campaign.views.standing import Running


def plane(number: int, busy: float, queued: float = 0.0, workers: int = 4) -> Service:
    return Service(f"ssnet-plane{number}", workers, busy, queued, 1000, 0.3)


def readers(busy: float, queued: float = 0.0, workers: int = 8) -> Service:
    return Service("ssnet-files", workers, busy, queued, 10, 60.0)


def running(waited: float | None) -> Running:
    return Running(1, "a.root", 1, "n1", 7, "", 1, 2, "scoring", 0.0, 0.0, waited)


SEEN = Circumstances(
    is_complete=False,
    waiting=100,
    is_driven=True,
    broker="tcp://n1:5555",
    services=[plane(0, 1.0), plane(1, 1.0), plane(2, 1.0), readers(8.0, 20.0)],
    planes=(0, 1, 2),
    running=[],
    more_readers="ssnet pool scale july readers={all}",
)


@pytest.mark.parametrize(
    ("fields", "who", "words"),
    [
        ({"is_complete": True}, "nothing", "nothing is left"),
        ({"is_driven": False}, "driver", "nobody drives"),
        ({}, "readers", "all 8 are busy"),
        ({"services": [plane(0, 1.0), plane(1, 1.0), plane(2, 1.0)]}, "readers", "no reader"),
        (
            {"services": [plane(0, 4, 30), plane(1, 4, 30), plane(2, 4, 30), readers(8)]},
            "planes",
            "plane 0 and plane 1 and plane 2 limit",
        ),
        (
            {"services": [plane(0, 1), plane(1, 1), plane(2, 4, 30), readers(8)]},
            "planes",
            "plane 2 limits",
        ),
        (
            {"services": [plane(0, 1), plane(1, 1), plane(2, 3.9, 0.2), readers(8)]},
            "planes",
            "plane 2 98 %",
        ),
        ({"services": [plane(0, 1), plane(1, 1), readers(8)]}, "planes", "plane 2 has no worker"),
        (
            {"planes": (0, 1), "services": [plane(0, 1), plane(1, 1), readers(8, 9)]},
            "readers",
            "plane 1 25 %",
        ),
        ({"waiting": 0, "services": [*SEEN.services[:3], readers(2)]}, "files", "6 of 8"),  # type: ignore[index]
        ({"services": [*SEEN.services[:3], readers(5, 3)]}, "unclear", "62 %"),  # type: ignore[index]
        ({"services": None}, "broker", "tcp://n1:5555"),
        ({"services": None, "running": [running(0.9)]}, "planes", "90 %"),
        ({"services": None, "running": [running(0.1)]}, "readers", "10 %"),
        ({"services": None, "running": [running(0.4)]}, "unclear", "40 %"),
        ({"services": None, "broker": ""}, "unclear", "not known"),
    ],
)
def test_the_limit_is_named_with_its_figures(fields: dict[str, Any], who: str, words: str) -> None:
    found = limit(replace(SEEN, **fields))
    assert found.who == who
    assert words in found.text


def test_readers_that_limit_are_added_by_a_command_with_a_number() -> None:
    assert "readers=16" in limit(SEEN).todo  # the planes are busy a quarter of the time
    more = replace(SEEN, more_readers="ssnet worker files -n {more}")
    assert "files -n 8`" in limit(more).todo


def test_services_are_the_mean_of_several_looks() -> None:
    looks = [
        {"ssnet-plane1": report(busy, queued), "ssnet-files": report(1, 0), "other": report(1, 1)}
        for busy, queued in ((4, 0), (2, 3))
    ]
    first, last = services_of(looks)
    assert (first.name, first.workers, first.busy, first.queued) == ("ssnet-plane1", 4, 3.0, 1.5)
    assert (first.share, first.label, last.name) == (0.75, "plane 1", "ssnet-files")
    assert services_of([]) == []


def report(busy: int, queued: int) -> dict[str, Any]:
    return {"workers": 4, "busy": busy, "queued": queued, "answered": 9, "serving_s": None}
