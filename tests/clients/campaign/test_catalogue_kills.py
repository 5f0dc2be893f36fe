"""A catalogue survives kill -9 at any instant, and is read whole while a driver writes it."""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from clients.campaign.plan import CampaignSettings
from clients.campaign.records import snapshot
from clients.campaign.records.catalogue import Catalogue
from clients.campaign.records.reading import reading
from clients.campaign.records.rows import CatalogueFailed, New, Scored
from clients.campaign.records.snapshot import catalogue_file, catalogue_path, journal_of
from tests.support.processes import ROOT, until

FILES = 400
WRITE = f"""
import sys
from pathlib import Path
from tests.clients.campaign.test_catalogue_kills import answers
from clients.campaign.records.catalogue import Catalogue

folder, epoch = Path(sys.argv[1]), int(sys.argv[2])
with Catalogue.create_or_open(folder, None, epoch) as catalogue:
    print("open", flush=True)
    for turn in range(1000000 * epoch, 1000000 * epoch + 999999):
        first = (7 * turn) % {FILES - 20} + 1
        numbers = range(first, first + 20)
        catalogue.publishing(answers(numbers, turn))
        catalogue.done(numbers)
        print(turn, *numbers, flush=True)
"""


def answers(numbers: range, turn: int) -> list[Scored]:
    """What a reader may answer; all that belongs together has the same turn in it."""
    return [
        Scored(
            number=number,
            token=f"{turn}",
            bytes=1,
            mtime_ns=1,
            sha256=f"{turn}" * 16,
            out_bytes=turn,
            out_sha256=f"{turn}" * 16,
            entries=turn,
            events=turn,
            ended_at=float(turn),
        )
        for number in numbers
    ]


def begun(folder: Path) -> None:
    with Catalogue.create_or_open(folder, CampaignSettings(), 1) as catalogue:
        catalogue.add([New(f"/{n}.root", 1, 1, f"{n}.root") for n in range(1, FILES + 1)])


@contextmanager
def writer(folder: Path, epoch: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WRITE, str(folder), str(epoch)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            yield process
        finally:
            process.kill()


def check_whole(folder: Path) -> int:
    """Check what one transaction wrote together; return the number of tries."""
    with reading(folder) as catalogue:
        catalogue.check_damage()
        (pair,) = catalogue.rows(
            "SELECT (SELECT count(*) FROM tries), (SELECT sum(tries) FROM files)"
        )
        assert pair[0] == pair[1]
        turns = catalogue.rows("SELECT count(*) FROM tries GROUP BY ended_at")
        assert {count for (count,) in turns} <= {20}  # each batch is there, or it is not
        for file in catalogue.files():
            assert (file.entries, file.token) in ((0, ""), (file.out_bytes, f"{file.out_bytes}"))
        return int(pair[0])


def test_kill_9_at_any_instant_loses_no_commit_and_damages_nothing(tmp_path: Path) -> None:
    begun(tmp_path)
    chance = random.Random(18)
    for epoch in range(2, 8):
        with writer(tmp_path, epoch) as process:
            time.sleep(0.15 * chance.random())
            process.send_signal(signal.SIGKILL)
            assert process.stdout is not None
            *_, last = ["0", *process.stdout.read().splitlines()]
        committed, *numbers = map(int, last.split())
        check_whole(tmp_path)
        with reading(tmp_path) as catalogue:
            for number in numbers:
                assert catalogue.file(number).out_bytes >= committed
                assert catalogue.file(number).state in ("done", "publishing")


def test_a_catalogue_that_is_written_all_the_time_is_read_whole(tmp_path: Path) -> None:
    begun(tmp_path)
    seen = set()
    with writer(tmp_path, 2) as process:
        give_up_at = time.monotonic() + 1.0
        while time.monotonic() < give_up_at:
            seen.add(check_whole(tmp_path))
        assert process.poll() is None
    assert len(seen) > 1  # it was written meanwhile


def half_committed(folder: Path) -> Path:
    """Leave a catalogue as a kill in the middle of a commit does: pages changed, and a journal."""
    path = catalogue_file(folder)
    if not os.fork():
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("PRAGMA cache_size = 3")  # pages are written before the commit
        database.execute("BEGIN")
        database.execute("UPDATE files SET entries = 99, reason = printf('%500d', number)")
        os._exit(0)
    os.wait()
    return path


def test_a_commit_that_a_kill_cut_short_is_undone(tmp_path: Path) -> None:
    begun(tmp_path)
    before = catalogue_file(tmp_path).read_bytes()
    path = half_committed(tmp_path)
    assert journal_of(path).stat().st_size
    assert path.read_bytes() != before
    with reading(tmp_path) as catalogue:
        assert {file.entries for file in catalogue.files()} == {0}
        catalogue.check_damage()
    assert journal_of(path).exists()  # a reader changes nothing
    with Catalogue.create_or_open(tmp_path, None, 2) as successor:
        assert {file.entries for file in successor.files()} == {0}
    assert sorted(name.name for name in path.parent.iterdir()) == ["catalogue-2.sqlite"]


def test_a_copy_is_rolled_back_whatever_its_file_system_says_of_locks(tmp_path: Path) -> None:
    begun(tmp_path)
    path = half_committed(tmp_path)
    lock = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, 2); input()"
    command = [sys.executable, "-c", lock, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            until(lambda: locked(path), "the file is locked")
            snapshot.roll_back(path)
        finally:
            process.kill()
    with reading(tmp_path) as catalogue:
        assert {file.entries for file in catalogue.files()} == {0}


def locked(path: Path) -> bool:
    try:
        with path.open("r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def test_a_change_during_the_copy_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever locks say: each copy is compared with the file, and made again."""
    begun(tmp_path)
    copyfile = shutil.copyfile
    turn = itertools.count(1)

    def copy_torn(source: Path, target: Path) -> None:
        content = source.read_bytes()
        half = len(content) // 2
        if next(turn) <= 3:
            with Catalogue.create_or_open(tmp_path, None, 1) as catalogue:
                catalogue.publishing(answers(range(1, FILES + 1), 7))
            target.write_bytes(content[:half] + source.read_bytes()[half:])
        else:
            copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy_torn)
    with reading(tmp_path) as catalogue:
        catalogue.check_damage()
        assert {file.entries for file in catalogue.files()} == {7}
    assert next(turn) == 5


def test_a_driver_that_takes_over_during_the_copy_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path)
    copyfile = shutil.copyfile

    def take_over(source: Path, target: Path) -> None:
        monkeypatch.setattr(shutil, "copyfile", copyfile)
        Catalogue.create_or_open(tmp_path, None, 2).close()
        copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", take_over)
    with reading(tmp_path) as catalogue:
        assert catalogue.path == catalogue_path(tmp_path, 2)


def test_a_catalogue_that_never_rests_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path)
    monkeypatch.setattr(snapshot, "_PATIENCE_S", 0.05)
    stamps = itertools.count()
    monkeypatch.setattr(snapshot, "_stamp", lambda path: next(stamps))
    with pytest.raises(CatalogueFailed, match="try again"), reading(tmp_path):
        pass


@pytest.mark.parametrize("query", ["mode=rw", "mode=rw&vfs=unix-none"])
def test_every_commit_counts_up_in_the_header(tmp_path: Path, query: str) -> None:
    """The copies rely on it, with locks and without."""
    begun(tmp_path)
    path = catalogue_file(tmp_path)
    counters = set()
    uri = f"{path.as_uri()}?{query}"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as database:
        for number in range(10):
            database.execute("UPDATE files SET entries = ? WHERE number = 5", (number,))
            counters.add(path.read_bytes()[24:28])
    assert len(counters) == 10


def test_the_temporary_copy_of_a_reader_has_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with reading(tmp_path) as catalogue:
        until(lambda: not list(scratch.iterdir()), "the copy is removed")
        assert catalogue.counts().files == FILES
