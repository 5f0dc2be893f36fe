"""Which worker of a pool computes on which device, with how many threads."""

from __future__ import annotations

import logging

import pytest

from clients.local.plane_pool import PlanePool
from mdp import SettingsError
from mdp.system import machine
from services.ssnet import SSNet


def machine_of(patch: pytest.MonkeyPatch, *, gpus: int, cores: int = 16) -> None:
    patch.setattr(machine, "gpus", lambda: [f"cuda:{number}" for number in range(gpus)])
    patch.setattr(machine, "cpus", lambda: cores)


def devices(pool: PlanePool) -> list[tuple[str, str, int]]:
    """Service, device and threads of each worker."""
    workers = [(service, factory()) for service, factory in pool.factories()]
    assert all(isinstance(worker, SSNet) for _, worker in workers)
    return [(service, worker.device, worker.threads) for service, worker in workers]


def test_each_gpu_gets_a_worker_of_each_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_of(monkeypatch, gpus=2)
    pool = PlanePool((0, 2), device="auto")
    assert devices(pool) == [
        ("ssnet-plane0", "cuda:0", 4),
        ("ssnet-plane0", "cuda:1", 4),
        ("ssnet-plane2", "cuda:0", 4),
        ("ssnet-plane2", "cuda:1", 4),
    ]
    assert pool.total == 4


@pytest.mark.parametrize(
    ("gpus", "workers", "per_gpu", "expected"),
    [
        (2, 1, 3, ["cuda:0", "cuda:1"] * 3),
        (2, 5, None, ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]),
        (1, 1, None, ["cuda:0"]),
        (0, 2, None, ["cpu", "cpu"]),
        (0, 1, 3, ["cpu", "cpu", "cpu"]),
    ],
)
def test_workers_are_spread_over_the_gpus(
    gpus: int,
    workers: int,
    per_gpu: int | None,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine_of(monkeypatch, gpus=gpus)
    pool = PlanePool((2,), workers, device="auto", per_gpu=per_gpu)
    assert [device for _, device, _ in devices(pool)] == expected


def test_a_named_device_is_every_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_of(monkeypatch, gpus=4, cores=3)
    assert (
        devices(PlanePool((2,), 2, device="cuda:3", threads=7))
        == [("ssnet-plane2", "cuda:3", 7)] * 2
    )
    assert [threads for *_, threads in devices(PlanePool((0, 1, 2), 2))] == [1] * 6


def test_the_plan_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    machine_of(monkeypatch, gpus=2)
    PlanePool((0, 2), device="auto").log_plan()
    first, second = caplog.messages
    for part in ("cuda:0", "4 threads", "ssnet-plane0#1, ssnet-plane2#1"):
        assert part in first
    assert "ssnet-plane0#2, ssnet-plane2#2" in second


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(SettingsError, match="--device auto"):
        PlanePool((0,), per_gpu=2)
    with pytest.raises(SettingsError, match="--workers"):
        PlanePool((0,), 2, device="auto", per_gpu=2)
