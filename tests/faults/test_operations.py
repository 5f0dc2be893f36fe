"""Trouble at each file operation of a client: what it leaves, and what the same command makes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import plane_pools
from tests.support.commands_of_ssnet import ssnet
from tests.support.processes import ROOT, Processes
from tests.support.production_runs import Pools

EVENTS = 2


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pools]:
    folder = tmp_path_factory.mktemp("pools")
    with Processes(folder) as processes:
        yield Pools(processes, folder)


@pytest.mark.parametrize(
    ("how", "suffix", "part_s", "retry"),
    [
        ("kill", ".h5", 0, False),
        ("kill", ".h5", 60, True),
        ("stop", ".h5", 60, False),
        ("full", ".h5", 60, True),
    ],
)
def test_trouble_at_any_file_operation_loses_nothing(
    pools: Pools, tmp_path: Path, how: str, suffix: str, part_s: int, retry: bool
) -> None:
    earlier, output = tmp_path / "before", tmp_path / "files" / f"out{suffix}"
    earlier.mkdir()
    events = plane_pools.toys(tmp_path / "in.root", EVENTS)
    options = ("--broker", pools.endpoint, "--size", "64", "--checkpoint-seconds", str(part_s))
    arguments = [str(tmp_path / "in.root"), *options]
    poison = events if retry else events[1:]
    pools.poison("refuse", *(event.rse.event for event in poison))
    if retry:
        ssnet("run", *arguments, "-o", earlier / output.name, code=3)
        pools.poison("refuse", events[1].rse.event)
        arguments.append("--retry-failed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.operations", how, output, earlier, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) >= 15
