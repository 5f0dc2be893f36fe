"""The catalogue: what it holds, what it refuses, and how fast it is with 100,000 files."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from clients.campaign.plan import CampaignSettings, ScoringOptions
from clients.campaign.records.catalogue import Catalogue
from clients.campaign.records.reading import reading
from clients.campaign.records.rows import (
    CatalogueDamaged,
    CatalogueFailed,
    Merged,
    New,
    NoCampaign,
    Scored,
    Unscored,
)
from clients.campaign.records.snapshot import catalogue_file, catalogue_path, journal_of
from mdp import SettingsError

T = TypeVar("T")
SETTINGS = CampaignSettings()
FAILURE = {
    "entry": 4,
    "run": 1,
    "subrun": 2,
    "event": 3,
    "plane": None,
    "code": 422,
    "reason": "two\nlines",
    "worker": "g1:5",
    "host": "g1",
}


def new(number: int, **values: Any) -> New:
    return replace(New(f"/data/{number}.root", 10, 20, f"{number}_ssnet.root"), **values)


def scored(number: int, **values: Any) -> Scored:
    answer = Scored(
        number=number,
        token=f"token{number}",
        bytes=10,
        mtime_ns=20,
        sha256=f"in{number}",
        out_bytes=100,
        out_sha256=f"out{number}",
        entries=5,
        events=5,
        crops=15,
        seconds=2.0,
        computed_s=6.0,
        began_at=1000.0,
        ended_at=1002.0,
        host="n7",
        reader="n7:812",
        job="77",
        tick_order="backward",
        mode="croi",
    )
    return replace(answer, **values)


def created(
    folder: Path, settings: CampaignSettings | None = SETTINGS, epoch: int = 1
) -> Catalogue:
    return Catalogue.create_or_open(folder, settings, epoch)


def test_files_go_through_their_states(tmp_path: Path) -> None:
    with created(tmp_path) as catalogue:
        assert catalogue.add([new(n) for n in range(1, 6)]) == [1, 2, 3, 4, 5]
        assert [file.state for file in catalogue.files()] == ["waiting"] * 5
        catalogue.publishing([scored(1, failed_events=1, failures=(FAILURE,)), scored(2)])
        catalogue.done([1, 4])  # 4 has not been scored
        catalogue.failed([Unscored(number=3, kind="input", reason="no\n good", seconds=1.0)])
        catalogue.failed([Unscored(number=4, kind="service", reason="x", again=True)])
        catalogue.repeated([(scored(5, sha256="in1"), 1)])
        states = {file.number: file.state for file in catalogue.files()}
        assert states == {1: "done", 2: "publishing", 3: "failed", 4: "waiting", 5: "repeated"}
        first = catalogue.file(1)
        assert (first.token, first.out_sha256, first.tries, first.host) == (
            "token1",
            "out1",
            1,
            "n7",
        )
        assert (first.events, first.failed_events, first.crops, first.seconds) == (5, 1, 15, 2.0)
        third = catalogue.file(3)
        assert (third.kind, third.reason, third.tries) == ("input", "no good", 1)
        assert catalogue.file(4).tries == 1
        fifth = catalogue.file(5)
        assert "/data/1.root" in fifth.reason
        assert not fifth.token
        assert [file.number for file in catalogue.files("failed")] == [3]
        assert catalogue.rows("SELECT * FROM events") == [
            (1, 4, 1, 2, 3, None, 422, "two lines", "g1", "g1:5")
        ]
        tries = catalogue.rows("SELECT file, outcome, reason, ended_at, computed_s FROM tries")
        assert tries == [
            (1, "done", "", 1002.0, 6.0),
            (2, "done", "", 1002.0, 6.0),
            (3, "input", "no good", 0.0, 0.0),
            (4, "service", "x", 0.0, 0.0),
            (5, "done", "", 1002.0, 6.0),
        ]


def test_counts_and_sums(tmp_path: Path) -> None:
    with created(tmp_path) as catalogue:
        assert catalogue.counts().files == 0
        catalogue.add([new(n) for n in range(1, 6)])
        catalogue.publishing([scored(1, failed_events=2), scored(2), scored(3)])
        catalogue.done([1, 2])
        catalogue.checked({1: "ok", 2: "the output is gone"})
        counts = catalogue.counts()
    assert counts.states == {
        "waiting": 2,
        "publishing": 1,
        "done": 2,
        "failed": 0,
        "repeated": 0,
        "changed": 0,
    }
    assert (counts.files, counts.left) == (5, 3)
    assert (counts.events, counts.failed_events) == (10, 2)


def test_an_input_is_added_once_and_keeps_its_number(tmp_path: Path) -> None:
    with created(tmp_path) as catalogue:
        assert catalogue.add([new(1), new(2), new(1)]) == [1, 2, 1]
        catalogue.publishing([scored(1)])
        catalogue.done([1])
        changed = [new(3), new(2, bytes=11), new(1, bytes=11, output="else.root")]
        assert catalogue.add(changed) == [3, 2, 1]
        assert [file.bytes for file in catalogue.files()] == [10, 11, 10]
        assert catalogue.file(1).output == "1_ssnet.root"
        assert catalogue.numbers(["/data/2.root", "/else"]) == {"/data/2.root": 2}
        assert catalogue.next_number() == 4


@pytest.mark.parametrize("together", [True, False])
def test_two_inputs_with_one_output_are_refused_and_both_are_named(
    tmp_path: Path, together: bool
) -> None:
    pair = [new(1, output="x.root"), new(2, output="x.root")]
    with created(tmp_path) as catalogue:
        if not together:
            catalogue.add([pair.pop(0)])
        with pytest.raises(SettingsError) as error:
            catalogue.add(pair)
        for word in ("/data/1.root", "/data/2.root", "x.root", "--name"):
            assert word in str(error.value)
        assert catalogue.counts().files == (0 if together else 1)


def test_a_retry_clears_results_but_not_the_history(tmp_path: Path) -> None:
    with created(tmp_path) as catalogue:
        catalogue.add([new(1), new(2)])
        catalogue.publishing([scored(1, failures=(FAILURE,)), scored(2, failures=(FAILURE,))])
        catalogue.done([1, 2])
        catalogue.checked({1: "wrong"})
        catalogue.changed([(1, 12, 22, "the input changed")])
        file = catalogue.file(1)
        assert (file.state, file.bytes, file.mtime_ns) == ("changed", 12, 22)
        assert (file.reason, file.check) == ("the input changed", "wrong")
        catalogue.set_state([1], "waiting", "retried")
        cleared = new(1, bytes=12, mtime_ns=22)
        file = catalogue.file(1)
        assert (file.path, file.bytes, file.mtime_ns, file.output) == (
            *(cleared.path, cleared.bytes, cleared.mtime_ns, cleared.output),
        )
        assert (file.state, file.reason, file.token, file.tries) == ("waiting", "retried", "", 0)
        assert (file.events, file.out_bytes, file.check, file.sha256) == (0, 0, "", "")
        assert catalogue.rows("SELECT file FROM events") == [(2,)]
        assert catalogue.rows("SELECT count(*) FROM tries") == [(2,)]


def test_the_same_content_is_found_where_it_is_scored(tmp_path: Path) -> None:
    with created(tmp_path) as catalogue:
        catalogue.add([new(1), new(2)])
        assert catalogue.same_content("in1", 10) is None
        assert catalogue.same_content("", 0) is None
        catalogue.publishing([scored(1)])
        found = catalogue.same_content("in1", 10)
        assert found is not None
        assert found.number == 1
        assert catalogue.same_content("in1", 11) is None
        catalogue.set_state([1], "failed")
        assert catalogue.same_content("in1", 10) is None


def test_a_repeated_file_is_an_orphan_when_its_content_has_no_output(tmp_path: Path) -> None:
    with created(tmp_path) as catalogue:
        catalogue.add([new(n) for n in range(1, 5)])
        catalogue.publishing([scored(1), scored(4)])
        catalogue.repeated([(scored(2, sha256="in1"), 1), (scored(3, sha256="in4"), 4)])
        catalogue.done([1, 4])
        assert catalogue.orphans() == []
        catalogue.changed([(1, 11, 21, "it changed")])
        assert catalogue.orphans() == [2]
        catalogue.set_state([4], "waiting")
        assert catalogue.orphans() == [2, 3]


def test_networks_and_merged_files(tmp_path: Path) -> None:
    with created(tmp_path) as catalogue:
        assert catalogue.networks == {}
        catalogue.set_networks({"0": {"weights": "abc"}})
        merged = [Merged("merged/1.root", 5, "x", (1, 2), 3.0), Merged("merged/2.root", 6, "y", ())]
        catalogue.add_merged(merged)
        catalogue.add_merged([replace(merged[0], bytes=7)])
        catalogue.drop_merged(["merged/2.root"])
    with created(tmp_path, epoch=2) as catalogue:
        assert catalogue.networks == {"0": {"weights": "abc"}}
        assert catalogue.merged() == [replace(merged[0], bytes=7)]


ODD = os.fsdecode("/data/ä ö/\U0001f600 \udcff '\".root".encode("utf-8", "surrogateescape"))


def test_names_that_are_not_utf_8_and_odd_ones_come_back_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"a folder %20 \xff?#")
    folder.mkdir()
    with created(folder) as catalogue:
        catalogue.add([new(1, path=ODD, output=f"x{ODD}"), new(2)])
        catalogue.failed([Unscored(number=1, kind="input", reason=f"cannot read {ODD}")])
        assert catalogue.numbers([ODD]) == {ODD: 1}
        assert catalogue.add([new(1, path=ODD)]) == [1]
    with reading(folder) as found:
        file = found.file(1)
        assert (file.path, file.output) == (ODD, f"x{ODD}")
        assert file.reason == " ".join(f"cannot read {ODD}".split())
        assert found.rows("SELECT path FROM files WHERE number = 1") == [(ODD,)]


def test_a_campaign_goes_on_with_options_that_change_no_score(tmp_path: Path) -> None:
    other = replace(SETTINGS, options=ScoringOptions(low_adc=5.0))
    with created(tmp_path, other) as catalogue:
        began_at = catalogue.created_at
    with created(tmp_path, SETTINGS) as catalogue:  # without files, any option may change
        catalogue.add([new(1)])
    changed = replace(SETTINGS, scratch="/tmp", options=ScoringOptions(tries=9))
    with created(tmp_path, changed, 2) as catalogue:
        assert catalogue.settings == changed
    with created(tmp_path, None, 3) as catalogue:
        assert catalogue.settings == changed
        assert catalogue.created_at == began_at
    with pytest.raises(SettingsError, match=r"--threshold: 10.0 before, 5.0 now"):
        created(tmp_path, other, 4)
    with reading(tmp_path) as found:
        assert found.settings == changed


def test_a_folder_without_a_campaign_is_named_with_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(NoCampaign, match="ssnet campaign start") as error, reading(folder):
            pass
        assert str(folder) in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(NoCampaign):
        created(tmp_path, None)
    assert not (tmp_path / ".campaign").exists()


@pytest.mark.parametrize(
    "damage", [b"", b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000, "header", "middle", "end"]
)
def test_a_damaged_catalogue_is_one_line_that_names_the_file(
    tmp_path: Path, damage: bytes | str
) -> None:
    with created(tmp_path) as catalogue:
        catalogue.add([new(n) for n in range(1, 2000)])
    path = catalogue_file(tmp_path)
    content = path.read_bytes()
    half = len(content) // 2
    broken = {
        "header": b"\0" * 4096 + content[4096:],
        "middle": content[:4096] + b"\xff" * half + content[4096 + half :],
        "end": content[:half],
    }
    path.write_bytes(broken[damage] if isinstance(damage, str) else damage)

    def use() -> None:
        with reading(tmp_path) as found:
            list(found.files())
            found.check_damage()

    for action in (use, lambda: created(tmp_path, SETTINGS, 2).close()):
        with pytest.raises(CatalogueDamaged) as error:
            action()
        assert ".campaign/catalogue-" in str(error.value)
        assert "\n" not in str(error.value)


def test_a_catalogue_of_another_version_is_refused(tmp_path: Path) -> None:
    with created(tmp_path) as catalogue:
        path = catalogue.path
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 9")
    with pytest.raises(CatalogueDamaged, match="another program or version"):
        created(tmp_path, None, 2)
    assert path.exists()


def test_a_disk_that_is_full_and_a_file_in_the_way_are_one_line(tmp_path: Path) -> None:
    with created(tmp_path) as catalogue:
        catalogue.rows("PRAGMA max_page_count = 1")
        with pytest.raises(CatalogueFailed, match="full") as error:
            catalogue.add([new(n) for n in range(1, 5000)])
        assert str(catalogue.path) in str(error.value)
        assert catalogue.counts().files == 0  # rolled back
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".campaign").touch()
    with pytest.raises(CatalogueFailed, match="Not a directory"):
        created(tmp_path / "other")


def test_each_driver_has_a_file_of_its_own(tmp_path: Path) -> None:
    with created(tmp_path) as late:
        late.add([new(1)])
        with created(tmp_path, epoch=2) as successor:
            # the late driver wakes up; its file has no name any more, and SQLite sees that
            with pytest.raises(CatalogueFailed, match="another driver"):
                late.add([new(2)])
            assert late.counts().files == 1
            successor.add([new(3, output="3.root")])
            assert [file.path for file in successor.files()] == ["/data/1.root", "/data/3.root"]
        assert not catalogue_path(tmp_path, 1).exists()
    with reading(tmp_path) as found:
        assert [file.path for file in found.files()] == ["/data/1.root", "/data/3.root"]
        found.check_damage()


def test_a_file_system_that_refuses_locks_is_used_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with created(tmp_path) as catalogue:
        catalogue.add([new(1)])
        hold = sqlite3.connect(catalogue.path, isolation_level=None)
        hold.execute("BEGIN EXCLUSIVE")  # a lock that would stop a writer that asked for one
        catalogue.add([new(2)])
        with reading(tmp_path) as found:
            assert found.counts().files == 2
        hold.close()
    assert sorted(path.name for path in (tmp_path / ".campaign").iterdir()) == [
        "catalogue-1.sqlite"
    ]


def test_an_unfinished_copy_of_a_killed_driver_does_not_count(tmp_path: Path) -> None:
    with created(tmp_path) as catalogue:
        catalogue.add([new(1)])
    for name in (".catalogue-1.sqlite.part", "..catalogue-1.sqlite.part.lock"):
        (tmp_path / ".campaign" / name).touch()
    part = catalogue_path(tmp_path, 2).with_name(".catalogue-2.sqlite.part")
    part.write_bytes(b"x" * 100)
    journal_of(part).write_bytes(b"y" * 100)
    with created(tmp_path, None, 2) as catalogue:
        assert catalogue.counts().files == 1
    left = [path.name for path in (tmp_path / ".campaign").iterdir()]
    assert left == ["catalogue-2.sqlite"]


def cpu_s(action: Callable[[], T]) -> tuple[float, T]:
    began_at = time.process_time()
    result = action()
    return time.process_time() - began_at, result


def test_a_catalogue_of_100_000_files_is_fast(tmp_path: Path) -> None:
    inputs = [
        new(n, path=f"/pnfs/uboone/reco/run3/{n % 997}/larcv_{n:012d}.root") for n in range(100_000)
    ]

    def open_and_count() -> int:
        with reading(tmp_path) as found:
            return found.counts().files

    with created(tmp_path) as catalogue:
        assert cpu_s(lambda: catalogue.add(inputs))[0] < 3
        assert cpu_s(lambda: catalogue.add(inputs))[0] < 3
        assert cpu_s(catalogue.counts)[0] < 0.2
        assert cpu_s(lambda: catalogue.publishing([scored(n) for n in range(1, 201)]))[0] < 0.1
    assert cpu_s(open_and_count) < (1.0, 100_001)
    assert cpu_s(open_and_count)[1] == 100_000
    assert cpu_s(lambda: created(tmp_path, None, 2).close())[0] < 1


def test_settings_are_kept_as_plain_json(tmp_path: Path) -> None:
    with created(tmp_path) as catalogue:
        ((value,),) = catalogue.rows("SELECT value FROM meta WHERE key = 'settings'")
    assert json.loads(value) == SETTINGS.as_dict()
