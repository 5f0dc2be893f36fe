"""Cores, memory and GPUs that a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mdp.system import machine


def without_job(patch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "CUDA_VISIBLE_DEVICES"):
        patch.delenv(name, raising=False)


def test_the_affinity_limits_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    without_job(monkeypatch)
    monkeypatch.setattr(machine, "_quotas", lambda: iter(()))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 4, 5})
    assert machine.cpus() == 3


@pytest.mark.parametrize(("quota", "cores"), [(1.5, 2), (0.2, 1), (2.0, 2), (64.0, 8)])
def test_a_quota_limits_the_cores_rounded_up(
    quota: float, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_job(monkeypatch)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(machine, "_quotas", lambda: iter((quota,)))
    assert machine.cpus() == cores


def test_a_slurm_job_limits_the_cores_where_the_site_does_not_bind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_job(monkeypatch)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setattr(machine, "_quotas", lambda: iter(()))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert machine.cpus() == 64  # without a job it is a stray variable
    monkeypatch.setenv("SLURM_JOB_ID", "8812")
    assert machine.cpus() == 4


def test_quotas_of_both_versions_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "cpu.cfs_quota_us").write_text("150000\n")
    (tmp_path / "v1" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2" / "cpu.max").write_text("300000 100000\n")
    (tmp_path / "free1").mkdir()
    (tmp_path / "free1" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "free1" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "free2").mkdir()
    (tmp_path / "free2" / "cpu.max").write_text("max 100000\n")
    groups = [(tmp_path / name, name.endswith("1")) for name in ("v1", "v2", "free1", "free2")]
    monkeypatch.setattr(machine, "_control_groups", lambda controller: iter(groups))
    assert list(machine._quotas()) == [1.5, 3.0]


def test_memory_is_at_most_the_machines() -> None:
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < machine.memory_bytes() <= pages


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("0", ["cuda:0"]),
        ("2,5", ["cuda:0", "cuda:1"]),
        ("GPU-1a2b,MIG-3c4d", ["cuda:0", "cuda:1"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["cuda:0"]),  # CUDA ends at the first invalid one
        ("NoDevFiles", []),
    ],
)
def test_the_visible_gpus_count_from_0(
    visible: str, devices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.gpus() == devices


def test_without_the_variable_the_driver_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_job(monkeypatch)
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "GPU 0: H100 (UUID: GPU-1)"\necho "GPU 1: H100"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert machine._listed_by_driver() == 2
    program.write_text("#!/bin/sh\nexit 9\n")
    assert machine._listed_by_driver() == 0
