"""Runs that were stopped go on; runs of other settings do not. Real brokers, workers and files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.files.provenance import Record
from clients.ledger.file import LedgerReader
from clients.ledger.records import RunEnd, RunStart
from clients.scoring.job import ScoringJob
from clients.scoring.output import publishing
from clients.scoring.output.parts_folder import PartsFolder
from clients.scoring.output.state import FileId
from clients.scoring.score import score
from lartpc import FileExists, WriteError, open_reader
from lartpc.crops import chain
from lartpc.files import provenance
from mdp import RequestTimeout, SettingsError
from tests.support import plane_pools
from tests.support.processes import QUICK, ROOT, Processes, free_port
from tests.support.production_runs import STOP_AT, Stopped, names, stop

EVENTS = 12


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with a stand-in for each plane."""
    with Processes(tmp_path_factory.mktemp("pools")) as processes:
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        processes.broker(endpoint, *QUICK)
        plane_pools.start(processes, endpoint)
        yield endpoint


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "in.root"
    plane_pools.toys(path, EVENTS)
    return path


@pytest.fixture
def job(pools: str, source: Path, tmp_path: Path) -> ScoringJob:
    return ScoringJob(
        inputs=(source,),
        output=tmp_path / "out.root",
        broker=pools,
        mode=chain.Croi(size=64),
        timeout_s=30,
        part_s=0,
    )


def undisturbed(job: ScoringJob) -> list[Any]:
    calm = replace(job, output=job.output.with_name(f"calm{job.output.suffix}"), part_s=60)
    score(calm)
    return plane_pools.read(calm.output)


@pytest.mark.parametrize("part_s", [0, 60])
@pytest.mark.parametrize("copy_input", [False, True])
@pytest.mark.parametrize("suffix", [".root", ".h5"])
def test_a_stopped_run_goes_on_where_it_was(
    job: ScoringJob, tmp_path: Path, suffix: str, copy_input: bool, part_s: float, caplog: Any
) -> None:
    job = replace(job, output=job.output.with_suffix(suffix), copy_input=copy_input, part_s=part_s)
    if suffix == ".h5" and copy_input:  # LArCV3 holds no ROIs to copy
        inputs = tmp_path / "in.h5"
        plane_pools.toys(inputs, EVENTS, rois=False)
        job = replace(job, inputs=(inputs,), mode=chain.Tiles(64, 16, 32))
    stop(job)
    assert names(job) == [f".out{suffix}.parts"]
    assert f"{STOP_AT} of {EVENTS} events are saved; run the same command" in caplog.text
    report = score(job)
    assert f"resumes after event {STOP_AT} of {EVENTS}" in caplog.text
    assert (report.events, report.earlier) == (EVENTS - STOP_AT, STOP_AT)
    assert names(job) == [f"out{suffix}"]
    assert plane_pools.same(plane_pools.read(job.output), undisturbed(job))
    if suffix == ".root" and copy_input:
        with open_reader(job.output, tick_order="backward", rois=["croi"]) as reader:
            assert sum(len(event.rois["croi"]) for event in reader) > 0


def test_progress_counts_what_is_safe_already(job: ScoringJob) -> None:
    stop(job, at=4)
    progress: list[tuple[int, int]] = []
    score(job, on_progress=lambda *done: progress.append(done))
    assert progress == [(done, EVENTS) for done in range(5, EVENTS + 1)]


def test_a_run_of_which_all_is_safe_needs_no_workers_to_be_joined(job: ScoringJob) -> None:
    stop(job, at=EVENTS)
    nobody = f"tcp://127.0.0.1:{free_port()}"
    assert score(replace(job, broker=nobody)).earlier == EVENTS
    assert plane_pools.same(plane_pools.read(job.output), undisturbed(job))


CHANGES: dict[str, Callable[[ScoringJob], ScoringJob]] = {
    r"threshold_adc \(was 10.0, is 12.0\)": lambda job: replace(job, low_adc=12.0),
    r"ceiling_adc \(was 500.0, is 400.0\)": lambda job: replace(job, high_adc=400.0),
    r"mode size \(was 64, is 32\)": lambda job: replace(job, mode=chain.Croi(size=32)),
    r"mode name \(was croi, is whole\)": lambda job: replace(job, mode=chain.Whole(1)),
    r"entries 1 \(was 12, is 11\)": lambda job: replace(job, end=11),
    r"tick_order \(was backward, is forward\)": lambda job: replace(
        job, tick_order="forward", trust_tick_order=True
    ),
    r"copy_input \(was False, is True\)": lambda job: replace(job, copy_input=True),
    r"producer \(was wire, is segment\)": lambda job: replace(job, producer="segment"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_that_is_told_something_else_is_refused_and_named(
    job: ScoringJob, change: str
) -> None:
    stop(job)
    with pytest.raises(SettingsError, match=rf"got another .*{change}.*--fresh starts over.* 7 ev"):
        score(CHANGES[change](job))
    assert names(job) == [".out.root.parts"]
    score(job)
    assert plane_pools.same(plane_pools.read(job.output), undisturbed(job))


def test_an_input_that_changed_is_refused(job: ScoringJob, tmp_path: Path) -> None:
    source = tmp_path / "in.root"
    source.write_bytes(job.inputs[0].read_bytes())
    stop(replace(job, inputs=(source,)))
    source.unlink()
    plane_pools.toys(source, EVENTS, seed=4)
    with pytest.raises(SettingsError, match=r"inputs 0 bytes \(was \d+, is \d+\)"):
        score(replace(job, inputs=(source,)))


def test_a_copy_of_the_input_elsewhere_is_the_same_input(job: ScoringJob, tmp_path: Path) -> None:
    stop(job)
    copy = tmp_path / "scratch" / job.inputs[0].name
    copy.parent.mkdir()
    copy.write_bytes(job.inputs[0].read_bytes())
    assert score(replace(job, inputs=(copy,))).earlier == STOP_AT


def test_other_networks_are_refused(job: ScoringJob, processes: Processes, endpoint: str) -> None:
    stop(job)
    processes.broker(endpoint, *QUICK)
    plane_pools.start(processes, endpoint, planes=[0, 2])
    plane_pools.start(
        processes, endpoint, planes=[1], target="tests.support.odd_planes:OtherWeights"
    )
    with pytest.raises(SettingsError, match=r"same networks.* 1 weights \(was , is others\)"):
        score(replace(job, broker=endpoint))
    assert score(job).earlier == STOP_AT


def test_fresh_starts_over(job: ScoringJob) -> None:
    stop(job)
    report = score(replace(job, fresh=True, low_adc=12.0))
    assert (report.events, report.earlier) == (EVENTS, 0)
    assert names(job) == ["out.root"]


def test_without_a_safe_event_nothing_is_left_and_nothing_is_refused(job: ScoringJob) -> None:
    with pytest.raises(RequestTimeout):
        score(replace(job, broker=f"tcp://127.0.0.1:{free_port()}", wait_s=0))
    assert names(job) == []
    assert score(replace(job, low_adc=12.0)).events == EVENTS


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("damage", [Path.unlink, shorten])
def test_a_part_that_was_removed_or_shortened_is_made_again(
    job: ScoringJob, damage: Callable[[Path], None], caplog: Any
) -> None:
    stop(job)
    damage(job.output.parent / ".out.root.parts" / "part-000003.root")
    assert score(job).earlier == 3
    assert "part-000003.root was removed or changed" in caplog.text
    assert plane_pools.same(plane_pools.read(job.output), undisturbed(job))


def test_two_clients_at_one_output_are_one_too_many(job: ScoringJob, tmp_path: Path) -> None:
    with (
        PartsFolder(job.output),
        pytest.raises(FileExists, match=f"one client at a time for .*process {os.getpid()} on "),
    ):
        score(job)
    assert score(job).events == EVENTS


def test_who_was_killed_when_the_file_had_its_name_has_only_to_tidy_up(
    job: ScoringJob, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def killed(_: PartsFolder) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(PartsFolder, "remove", killed)
        with pytest.raises(Stopped):
            score(job)
    assert names(job) == [".out.root.parts", "out.root"]
    report = score(job)
    assert (report.events, report.earlier) == (0, EVENTS)
    assert "was whole already" in caplog.text
    assert names(job) == ["out.root"]


def test_a_run_that_is_over_has_nothing_to_do_when_it_is_started_again(
    job: ScoringJob, tmp_path: Path, caplog: Any
) -> None:
    score(job)
    was = job.output.stat()
    report = score(job)
    assert (report.events, report.earlier) == (0, EVENTS)
    assert "out.root: is whole already" in caplog.text
    assert (job.output.stat().st_ino, job.output.stat().st_mtime_ns) == (
        was.st_ino,
        was.st_mtime_ns,
    )
    assert names(job) == ["out.root"]
    assert score(replace(job, force=True)).events == EVENTS


@pytest.mark.parametrize(
    "change", [change for change in CHANGES if not change.startswith("producer")]
)
def test_an_output_of_another_run_is_not_taken_for_this_ones(job: ScoringJob, change: str) -> None:
    score(job)
    content = job.output.read_bytes()
    with pytest.raises(FileExists, match="is there already; force"):
        score(CHANGES[change](job))
    assert job.output.read_bytes() == content


def test_an_output_of_changed_inputs_or_of_other_networks_is_not_this_runs(
    job: ScoringJob, tmp_path: Path, processes: Processes, endpoint: str
) -> None:
    source = tmp_path / "in.root"
    source.write_bytes(job.inputs[0].read_bytes())
    job = replace(job, inputs=(source,))
    score(job)
    processes.broker(endpoint, *QUICK)
    plane_pools.start(processes, endpoint, planes=[0, 2])
    plane_pools.start(
        processes, endpoint, planes=[1], target="tests.support.odd_planes:OtherWeights"
    )
    with pytest.raises(FileExists, match="already, from other networks; --force"):
        score(replace(job, broker=endpoint))
    source.unlink()
    plane_pools.toys(source, EVENTS, seed=4)
    with pytest.raises(FileExists, match="is there already; force"):
        score(job)


@pytest.mark.parametrize("part_s", [0, 60])
def test_a_run_that_was_stopped_has_one_record_of_all_its_events(
    job: ScoringJob, part_s: float
) -> None:
    job = replace(job, part_s=part_s)
    stop(job)
    score(job)
    (text,) = provenance.read(job.output)
    record = Record.unpack(text)
    assert (record.start, record.end, record.events) == (0, EVENTS, EVENTS)
    assert {name: len(result) for name, result in record.services.items()} == {
        f"ssnet-plane{plane}": 1 for plane in range(3)
    }


def test_an_only_part_has_its_record_before_it_is_safe_and_is_only_renamed(
    job: ScoringJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(job, part_s=60)

    def killed(*_: object, **__: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "check_free", killed)  # its part is noted, and has no name yet
        with pytest.raises(Stopped):
            score(job)
    (part,) = (job.output.parent / ".out.root.parts").glob("part-*")
    inode, records = part.stat().st_ino, provenance.read(part)
    assert score(job).earlier == EVENTS
    assert job.output.stat().st_ino == inode  # no second copy
    assert len(records) == 1
    assert provenance.read(job.output) == records
    assert plane_pools.same(plane_pools.read(job.output), undisturbed(job))


def test_an_only_part_that_a_signal_finished_gets_its_record_in_a_copy(job: ScoringJob) -> None:
    job = replace(job, part_s=60)
    stop(job, at=EVENTS)
    (part,) = (job.output.parent / ".out.root.parts").glob("part-*")
    assert provenance.read(part) == ()
    score(job)
    assert len(provenance.read(job.output)) == 1
    assert plane_pools.same(plane_pools.read(job.output), undisturbed(job))


def test_an_output_that_is_there_is_refused_and_no_folder_is_left(job: ScoringJob) -> None:
    job.output.write_bytes(b"precious")
    with pytest.raises(FileExists, match="is there already"):
        score(job)
    assert names(job) == ["out.root"]
    assert job.output.read_bytes() == b"precious"


def test_a_state_that_nobody_wrote_is_refused(job: ScoringJob) -> None:
    stop(job)
    (job.output.parent / ".out.root.parts" / "state.json").write_text('{"format": 0}')
    with pytest.raises(SettingsError, match=r"want format 1, got 0: --fresh starts over"):
        score(job)
    assert score(replace(job, fresh=True)).events == EVENTS


def test_requests_that_time_out_end_the_run_which_goes_on_later(
    job: ScoringJob, processes: Processes, endpoint: str, caplog: Any
) -> None:
    processes.broker(endpoint, *QUICK)
    plane_pools.start(processes, endpoint)

    def silence(done: int, _: int) -> None:
        if done == 3:
            for process in processes.started[1:]:
                process.kill()

    impatient = replace(job, broker=endpoint, timeout_s=0.5, tries=1, window=1)
    with pytest.raises(RequestTimeout, match=r"in\.root entry 3"):
        score(impatient, on_progress=silence)
    assert "3 of 12 events are saved" in caplog.text
    assert score(job).earlier == 3
    assert plane_pools.same(plane_pools.read(job.output), undisturbed(job))


FULL_DISK = """
import resource, sys
from clients.__main__ import main
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
main()
"""


def test_a_disk_that_is_full_when_parts_are_joined_keeps_them(job: ScoringJob) -> None:
    stop(job, at=EVENTS)
    parts = job.output.parent / ".out.root.parts"
    sizes = [part.stat().st_size for part in parts.glob("part-*")]
    limit = max(*sizes, sum(sizes) // 3)
    files = ("run", *map(str, job.inputs), "-o", str(job.output), "--broker", job.broker)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(limit), *files, "--size", "64"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "is the disk full?" in done.stderr
    assert "12 of 12 events are saved" in done.stderr
    assert names(job) == [".out.root.parts"]
    assert score(job).earlier == EVENTS
    assert plane_pools.same(plane_pools.read(job.output), undisturbed(job))


@pytest.mark.parametrize("letter", ["n", "\N{CJK UNIFIED IDEOGRAPH-65E5}"])
def test_a_name_is_refused_at_once_if_a_report_beside_it_would_have_none(
    job: ScoringJob, letter: str
) -> None:
    longest = (255 - len(".root.failed.json")) // len(letter.encode())
    with pytest.raises(
        WriteError, match=r"want an output's name of at most 243 bytes, got 24[4-9]"
    ):
        score(replace(job, output=job.output.with_name(f"{letter * (longest + 1)}.root")))
    assert list(job.output.parent.iterdir()) == []
    job = replace(job, output=job.output.with_name(f"{letter * longest}.root"))
    stop(job)
    assert score(job).earlier == STOP_AT


@pytest.mark.parametrize("suffix", [".root", ".h5"])
def test_names_that_are_no_utf8_go_through(job: ScoringJob, tmp_path: Path, suffix: str) -> None:
    odd = os.fsdecode(b"\xff\xfe")
    source = tmp_path / f"{odd}.root"
    source.write_bytes(job.inputs[0].read_bytes())
    output, ledger = tmp_path / f"out{odd}{suffix}", tmp_path / f"{odd}.ledger"
    job = replace(job, inputs=(source,), output=output, ledger=ledger)
    stop(job)
    assert score(job).earlier == STOP_AT
    (text,) = provenance.read(output)
    assert Record.unpack(text).inputs[0].path == str(source)
    records = list(LedgerReader(ledger))
    assert {record.inputs for record in records if isinstance(record, RunStart)} == {(str(source),)}
    assert [record.how for record in records if isinstance(record, RunEnd)] == ["Stopped", "done"]


@pytest.mark.parametrize("wrong", [{"part_s": -1.0}, {"max_failed": 1.5}, {"max_failed": -0.1}])
def test_settings_out_of_range_are_refused(job: ScoringJob, wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="want"):
        replace(job, **wrong)


def test_bytes_are_synced_before_the_names_that_speak_of_them(
    job: ScoringJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut would find; a kill cannot show it."""
    done: list[tuple[str, Path]] = []
    on_disk: set[FileId | None] = set()
    sync, name, remove = os.fsync, os.replace, os.unlink

    def synced(descriptor: int) -> None:
        sync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        done.append(("sync", path))
        on_disk.add(FileId.of(path))

    def named(source: Path, target: Path) -> None:
        assert FileId.of(source) in on_disk, f"{source} got a name before it was on disk"
        name(source, target)
        done.append(("name", Path(target)))

    def removed(path: Path, **how: Any) -> None:
        remove(path, **how)
        done.append(("remove", Path(path)))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", named)
    monkeypatch.setattr(os, "unlink", removed)
    score(replace(job, end=2))

    folder = job.output.with_name(".out.root.parts")
    parts, state = (
        [folder / f"part-00000{number}.root" for number in range(2)],
        folder / "state.json",
    )
    names = [path for what, path in done if what == "name"]
    assert names == [parts[0], state, parts[1], state, folder / "joined.root", state, job.output]
    for number, (what, path) in enumerate(done):
        if what == "name":  # and the name itself is on disk before anything else is done
            assert done[number + 1] == ("sync", path.parent)
    over = done.index(("sync", job.output.parent), done.index(("name", job.output)))
    gone = [path for what, path in done[over:] if what == "remove"]
    assert set(gone) >= {*parts, state}
    assert not [path for what, path in done[:over] if what == "remove" and path in (*parts, state)]
