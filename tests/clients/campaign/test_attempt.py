"""What an attempt takes over from earlier ones, and what it leaves alone."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.campaign.readers import scratch
from clients.campaign.readers.attempt import Attempt, adopt
from clients.files.failed_report import Failure, report_path
from clients.scoring.output.parts_folder import PartsFolder
from clients.scoring.output.state import FileId, Part, State
from lartpc import WriteError
from mdp import Refused
from tests.support import campaign_files
from tests.support.campaign_files import request

FAILED = Failure(1, "in.root entry 1", 1, 1, 1, None, None, 422, "bad")


@pytest.fixture
def asked(tmp_path: Path) -> Any:
    (tmp_path / "in.root").write_bytes(b"x")
    return request(tmp_path / "in.root", campaign_files.campaign(tmp_path / "out"), name="a/b.root")


def with_parts(attempt: Attempt, *sizes: int, joined: FileId | None = None) -> PartsFolder:
    """An attempt with a finished part of each size, of one event each."""
    folder = PartsFolder(attempt.output)
    folder.path.mkdir()
    parts = []
    for number, size in enumerate(sizes):
        part = Part(f"part-{number:06d}.root", number, number + 1, size)
        (folder.path / part.file).write_bytes(bytes([number + 1]) * size)
        parts.append(part)
    (folder.path / "lock").write_text("process 1 on n7")
    (folder.path / "part-000009.root").write_bytes(b"unfinished")
    folder.save(State({"mode": "croi"}, {}, parts, [FAILED], joined))
    return folder


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize("links", [True, False])
def test_the_parts_are_adopted_and_the_earlier_attempt_stays_as_it_is(
    asked: Any, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    first, second = Attempt.begin(asked), Attempt.begin(asked)
    folder = with_parts(first, 10, 20)
    before = snapshot(first.folder)
    assert adopt(second.output, second.earlier())
    assert snapshot(first.folder) == before
    mine = PartsFolder(second.output)
    assert sorted(os.listdir(mine.path)) == ["part-000000.root", "part-000001.root", "state.json"]
    assert mine.load() == folder.load()
    for part in ("part-000000.root", "part-000001.root"):
        assert (mine.path / part).read_bytes() == (folder.path / part).read_bytes()
        assert (mine.path / part).samefile(folder.path / part) == links


def test_parts_that_are_removed_meanwhile_are_left_out(asked: Any) -> None:
    first, second = Attempt.begin(asked), Attempt.begin(asked)
    folder = with_parts(first, 10, 20, 30)
    (folder.path / "part-000001.root").unlink()
    assert adopt(second.output, second.earlier())
    state = PartsFolder(second.output).load()
    assert state is not None
    assert [part.file for part in state.parts] == ["part-000000.root"]
    assert state.failed == []
    (folder.path / "part-000000.root").unlink()
    third = Attempt.begin(asked)
    shutil.rmtree(second.folder)
    assert not adopt(third.output, third.earlier())


def test_the_attempt_that_has_saved_the_most_is_adopted(asked: Any) -> None:
    attempts = [Attempt.begin(asked) for _ in range(4)]
    with_parts(attempts[0], 1, 2, 3)
    with_parts(attempts[1], 1)
    (with_parts(attempts[2], 1, 2, 3, 4).path / "state.json").write_text("{")  # damaged
    assert adopt(attempts[3].output, attempts[3].earlier())
    state = PartsFolder(attempts[3].output).load()
    assert state is not None
    assert state.events == 3


def test_a_complete_output_is_adopted_whole(asked: Any) -> None:
    first, other, second = (Attempt.begin(asked) for _ in range(3))
    with_parts(other, 1, 2, 3)
    first.output.write_bytes(b"complete")
    report_path(first.output).write_text("{}")
    with_parts(first, 10, joined=FileId.of(first.output))  # killed between rename and clean-up
    before = snapshot(first.folder)
    assert adopt(second.output, second.earlier())
    assert snapshot(first.folder) == before
    assert second.output.samefile(first.output)
    assert report_path(second.output).exists()
    state = PartsFolder(second.output).load()
    assert state is not None
    assert state.joined == FileId.of(second.output)


def test_a_full_disk_is_an_error_and_no_copy_is_tried(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    first, second = Attempt.begin(asked), Attempt.begin(asked)
    with_parts(first, 10)
    monkeypatch.setattr(os, "link", full)
    with pytest.raises(WriteError, match="No space left"):
        adopt(second.output, second.earlier())


def test_an_attempt_is_kept_only_with_checkpoints(asked: Any) -> None:
    first, second = Attempt.begin(asked), Attempt.begin(asked)
    with_parts(first, 10)
    first.leave()
    second.leave()
    assert os.listdir(first.folder.parent) == [first.token]
    first.remove()
    assert os.listdir(first.folder.parent.parent) == []


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.symlink_to("/tmp")])
def test_a_folder_that_is_no_campaigns_is_refused(asked: Any, make: Callable[[Path], None]) -> None:
    path = Path(asked.folder) / ".campaign"
    path.rmdir()
    make(path)
    with pytest.raises(Refused, match="want a campaign"):
        Attempt.begin(asked)


# Scratch folders.


def dead(place: Path, asked: Any, token: str = "dead") -> Path:
    """What a killed reader leaves behind."""
    with scratch.scratch_folder(place, token, asked) as folder:
        copy = shutil.copytree(folder, place / "copy")
    return copy.rename(folder)


def test_a_scratch_folder_is_removed_with_its_attempt(asked: Any, tmp_path: Path) -> None:
    place = tmp_path / "scratch"
    place.mkdir()
    with scratch.scratch_folder(place, "t1", asked) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        with scratch.left_behind(place, asked) as others:
            assert others == []  # this one lives
        assert folder.exists()
    assert os.listdir(place) == []
    nowhere = tmp_path / "nowhere"
    asked = replace(asked, scratch=str(nowhere))
    with (
        pytest.raises(WriteError, match=r"retry .* --scratch FOLDER` takes another") as error,
        scratch.scratch_folder(nowhere, "t1", asked),
    ):
        pass
    assert f"no folder {nowhere} (--scratch)" in str(error.value)


def test_what_a_killed_reader_left_is_adopted_by_the_next_of_its_file(
    asked: Any, tmp_path: Path
) -> None:
    place = tmp_path / "scratch"
    place.mkdir()
    Attempt.begin(asked)
    folder = dead(place, asked)
    other = request(Path(asked.path), Path(asked.folder), 2)
    with scratch.left_behind(place, other) as others:
        assert others == []
    assert folder.exists()  # its file is not done
    with scratch.left_behind(place, asked) as others:
        assert others == [folder]
    assert not folder.exists()


def test_what_is_left_of_a_file_that_is_done_is_removed(asked: Any, tmp_path: Path) -> None:
    place = tmp_path / "scratch"
    place.mkdir()
    folder = dead(place, asked)
    living = dead(place, asked, "living")
    elsewhere = dead(place, asked, "elsewhere")
    owner = (elsewhere / "owner.json").read_text()
    (elsewhere / "owner.json").write_text(owner.replace(os.uname().nodename, "another-host"))
    with (living / "owner.json").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with scratch.left_behind(place, None):
            pass
    assert not folder.exists()
    assert living.exists()
    assert elsewhere.exists()


def test_a_copy_is_compared_with_what_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(os.urandom(10_000_000))
    scratch.copy_whole(source, target)
    assert target.read_bytes() == source.read_bytes()
    target.unlink()

    def spoil(descriptor: int) -> None:
        os.pwrite(descriptor, b"spoilt", 5_000_000)

    monkeypatch.setattr(os, "fsync", spoil)
    with pytest.raises(WriteError, match="other bytes"):
        scratch.copy_whole(source, target)
    assert os.listdir(tmp_path) == ["a"]
