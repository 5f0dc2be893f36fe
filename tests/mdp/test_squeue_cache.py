"""The listing that all commands of a user share, where its file cannot be written or read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from mdp.pool import slurm_launcher
from mdp.pool.launcher import LauncherSilent
from mdp.pool.slurm_launcher import SlurmLauncher

LINE = "\x1f".join(("8_0", "RUNNING", "None", "n1", "N/A", "N/A", "N/A", "july.all", "/data/july"))


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of squeue; `down` in it: Slurm does not answer from then on."""
    found: list[str] = []

    def run(command: list[str], limit_s: float) -> str:
        found.append(command[0])
        if "down" in found:
            raise LauncherSilent("no answer")
        return LINE + "\n"

    monkeypatch.setattr(slurm_launcher, "run_slurm", run)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return found


def folder_of(tmp_path: Path) -> Path:
    return tmp_path / f"mdp-{os.geteuid()}"


def test_without_a_folder_for_the_file_squeue_is_not_asked_at_each_look(
    tmp_path: Path, calls: list[str]
) -> None:
    folder_of(tmp_path).write_text("")  # not a folder
    launcher = SlurmLauncher()
    for _ in range(5):
        assert [job.id for job in launcher.jobs()] == ["8_0"]
    assert len(calls) == 1


def test_what_was_seen_last_is_known_without_a_file_too(tmp_path: Path, calls: list[str]) -> None:
    folder_of(tmp_path).write_text("")
    launcher = SlurmLauncher(cache_s=0.0)
    launcher.jobs()
    calls.append("down")
    with pytest.raises(LauncherSilent) as caught:
        launcher.jobs()
    assert [job.id for job in caught.value.jobs] == ["8_0"]


@pytest.mark.parametrize("text", ["", "\xff", '{"asked_at": NaN', '{"asked_at": 1e300}', "[1]"])
def test_a_corrupted_file_is_read_as_none(tmp_path: Path, calls: list[str], text: str) -> None:
    SlurmLauncher().jobs()
    SlurmLauncher().jobs()
    assert len(calls) == 1
    for path in folder_of(tmp_path).glob("*.json"):
        path.write_bytes(text.encode("latin-1"))
    assert [job.id for job in SlurmLauncher().jobs()] == ["8_0"]
    assert len(calls) == 2


def test_another_squeue_on_the_path_has_its_own_listing(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a command said before its user loaded the module of Slurm does not count after it."""
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    calls.append("down")
    with pytest.raises(LauncherSilent):
        SlurmLauncher().jobs()
    calls.clear()
    program = tmp_path / "bin" / "squeue"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert [job.id for job in SlurmLauncher().jobs()] == ["8_0"]
