"""The share of one reader: the planes are busy, and their queues stay short."""

from __future__ import annotations

from typing import Any

import pytest

from clients.campaign.file_request import SERVICE
from clients.campaign.readers.share import LEAST, Share, share

GIB = 1 << 30


def services(*, workers: int, readers: int, files: int | None = None) -> dict[str, Any]:
    files = readers if files is None else files
    rows = {f"ssnet-plane{plane}": {"workers": workers, "retired": 0} for plane in (0, 1, 2)}
    busy = min(readers, files)
    row = {"workers": readers, "busy": busy, "queued": files - busy, "retired": 0}
    return {**rows, SERVICE: row}


@pytest.mark.parametrize(
    ("workers", "readers", "crops", "window"),
    [
        (4, 1, 1.0, 8),  # the campaign's own limit
        (4, 2, 1.0, 6),
        (4, 2, 3.0, LEAST),
        (20, 2, 6.0, 5),
        (1, 100, 1.0, LEAST),
        (400, 100, 1.0, 8),
    ],
)
def test_readers_together_ask_for_three_requests_for_each_worker_of_a_plane(
    workers: int, readers: int, crops: float, window: int
) -> None:
    seen = services(workers=workers, readers=readers)
    mine = share(seen, 4 * GIB, planes=(0, 1, 2), window=8, crops=crops)
    assert mine.window == window


def test_the_plane_with_the_most_workers_counts() -> None:
    seen = services(workers=2, readers=2)
    seen["ssnet-plane2"] = {"workers": 5, "retired": 1}
    assert share(seen, 4 * GIB, planes=(0, 2), window=8).window == 6
    assert share(seen, 4 * GIB, planes=(0,), window=8).window == 3


def test_all_readers_fill_at_most_a_quarter_of_the_brokers_memory() -> None:
    for readers in (1, 2, 10, 100, 1000):
        mine = share(services(workers=50, readers=readers), GIB, planes=(0,), window=8)
        assert readers * mine.window_bytes <= GIB // 4
        assert mine.window_bytes >= min(256 << 20, GIB // 4 // readers) - 1


def test_the_last_files_get_the_share_of_readers_that_have_none() -> None:
    many, few = (
        share(services(workers=4, readers=10, files=n), GIB, planes=(0,), window=8) for n in (30, 1)
    )
    assert many.window == LEAST
    assert few == Share(8, 256 << 20)


def test_without_workers_or_report_the_campaigns_window_holds() -> None:
    assert share({}, GIB, planes=(0, 1), window=5) == Share(5, 256 << 20)
