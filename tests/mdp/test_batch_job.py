"""The batch job that a process runs in. The real Slurm is asked in tests/slurm."""

from __future__ import annotations

import logging
import math
import os
from datetime import datetime
from pathlib import Path

import pytest

from mdp.system.batch_job import BatchJob, asked_end_time, end_time, here

JOB = BatchJob("8812_3", "8815")


def test_outside_of_a_job_there_is_none() -> None:
    assert here({}) is None
    assert here({"SLURM_JOB_ID": ""}) is None
    assert here({"SLURM_CONF": "/etc/x"}) is None


def test_a_job_and_a_task_of_an_array_are_named_as_slurm_prints_them() -> None:
    assert here({"SLURM_JOB_ID": "8812", "SLURM_PROCID": "2"}) == BatchJob("8812", "8812", task=2)
    job = here(
        {
            "SLURM_JOB_ID": "8815",
            "SLURM_ARRAY_JOB_ID": "8812",
            "SLURM_ARRAY_TASK_ID": "3",
            "SLURM_RESTART_COUNT": "1",
            "SLURM_JOB_END_TIME": "1795874400",
        }
    )
    assert job == BatchJob("8812_3", "8815", restarts=1, ends_at=1795874400.0)
    assert job is not None
    assert end_time(job) == 1795874400.0  # squeue is not asked


def squeue(folder: Path, script: str, patch: pytest.MonkeyPatch) -> None:
    program = folder / "squeue"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_the_end_is_asked_for_one_task_in_the_standard_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUEUE_STATES", "PENDING")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    script = f'echo "$* $SLURM_TIME_FORMAT [$SQUEUE_STATES]" >{tmp_path}/asked'
    squeue(tmp_path, f'{script}; echo "2026-11-28T15:52:00     "', monkeypatch)
    assert end_time(JOB) == datetime(2026, 11, 28, 15, 52).timestamp()
    asked = (tmp_path / "asked").read_text()
    assert "--jobs 8812_3" in asked
    assert asked.endswith("standard []\n")


def test_a_job_without_a_time_limit_has_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue(tmp_path, "echo N/A", monkeypatch)
    assert asked_end_time(JOB) == math.inf


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Unable to contact slurm controller' >&2; exit 1", "Unable to contact"),
        ("exec sleep 60", "0.5 s"),
        ("true", "does not know the job"),
        ("echo tomorrow", "'tomorrow'"),
        ("exit 3", "exit code 3"),
    ],
)
def test_a_squeue_that_fails_is_logged_and_gives_none(
    script: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    squeue(tmp_path, script, monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert asked_end_time(JOB, timeout_s=0.5) is None
    [line] = caplog.messages
    assert "8812_3" in line
    assert reason in line


def test_a_machine_without_squeue_gives_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert asked_end_time(JOB) is None
