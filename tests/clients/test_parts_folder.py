"""The hidden folder beside an output: its lock, its contents, and what may be in its place."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from clients.scoring.output.parts_folder import PartsFolder
from lartpc import FileExists, WriteError


@pytest.fixture
def folder(tmp_path: Path) -> PartsFolder:
    return PartsFolder(tmp_path / "out.root")


def test_a_link_to_nowhere_in_its_place_is_refused(folder: PartsFolder) -> None:
    folder.path.symlink_to("a scratch disk that was emptied")
    with pytest.raises(WriteError, match=r"at .*\.out\.root\.parts, got a link to nowhere"), folder:
        pass


def test_a_lock_that_has_lost_its_name_is_none(
    folder: PartsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rename the file, as NFS does if a file is removed while it is open."""
    elsewhere = folder.path.with_name(".nfs0001")
    lock = fcntl.flock

    def lock_and_lose(descriptor: int, how: int) -> None:
        lock(descriptor, how)
        if not elsewhere.exists():
            (folder.path / "lock").rename(elsewhere)

    monkeypatch.setattr(fcntl, "flock", lock_and_lose)
    with folder:
        assert elsewhere.exists()
        with pytest.raises(FileExists, match="one client at a time"), PartsFolder(folder.output):
            pass


def test_what_cannot_be_removed_at_the_end_is_an_error_and_the_lock_ends(
    folder: PartsFolder,
) -> None:
    somebodys = folder.path / "somebody's"
    with pytest.raises(WriteError, match="Is a directory"), folder:
        somebodys.mkdir()
    somebodys.rmdir()
    with PartsFolder(folder.output) as again:
        assert again.path.is_dir()
    assert list(folder.output.parent.iterdir()) == []
