"""The client is killed at random instants; what it goes on to make is what it would have made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.kill_client import Killer
from tests.support.processes import Processes


@pytest.mark.parametrize(("suffix", "kills"), [(".root", 6), (".h5", 4)])
def test_a_killed_client_goes_on_and_its_output_equals_an_undisturbed_one(
    processes: Processes, tmp_path: Path, suffix: str, kills: int
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    done = Killer(processes, files, seed=5, suffix=suffix).kill(kills)
    assert done.count >= kills
    assert done.refused == []
    assert done.left == []
    assert done.outputs == done.equal >= 1
