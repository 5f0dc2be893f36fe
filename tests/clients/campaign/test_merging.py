"""Outputs are joined into one file that `ssnet check` passes; others are refused, by name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from clients.campaign.finishing import merging, outputs
from clients.campaign.finishing.outputs import Known, ScoredFile
from clients.check.acceptance import Check, check_output
from clients.files.checksums import checksum
from clients.files.failed_report import FailedReport, report_path
from clients.files.provenance import Record
from clients.flow.progress import Progress
from lartpc import FileExists, LArTPCError, ReadError, WriteError, open_writer
from lartpc.crops import chain
from lartpc.files import provenance
from mdp import SettingsError
from tests.support import plane_pools
from tests.support.processes import QUICK, Processes, free_port
from tests.support.scored_files import write_input, write_output

BAD = 1  # the entry of c that cannot be scored


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Processes(tmp_path_factory.mktemp("pools")) as processes:
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        processes.broker(endpoint, *QUICK)
        plane_pools.start(processes, endpoint, target="tests.support.honest_planes:Plausible")
        yield endpoint


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, endpoint: str) -> Path:
    """Inputs a.root (3 events), b.h5 (2), c.root (2, one bad), e.root (none), f.root (1, bad).

    Each has an output `a_ssnet.root`, ...; those of b and c exist in both formats.
    """
    folder = tmp_path_factory.mktemp("made")
    write_input(folder / "a.root", 0, 3)
    write_input(folder / "b.h5", 10, 2)
    write_input(folder / "c.root", 20, 2, bad=BAD)
    write_input(folder / "e.root", 30, 0)
    write_input(folder / "f.root", 40, 1, bad=0)
    for source in sorted(folder.glob("*.*")):
        for suffix in {source.suffix, ".root"} | ({".h5"} if source.stem == "c" else set()):
            write_output(source, folder / f"{source.stem}_ssnet{suffix}", endpoint)
    return folder


def look(*paths: Path) -> list[ScoredFile]:
    files = outputs.look_at(paths, {}, Progress())
    outputs.check_fit(files)
    return files


def named(folder: Path, *names: str) -> list[Path]:
    return [folder / name for name in names]


def bad(output: Path, inputs: Sequence[Path], *, allow_failed: bool = True) -> dict[str, str]:
    asked = Check(inputs=tuple(inputs), output=output, allow_failed=allow_failed)
    return {item.name: item.first for item in check_output(asked) if item.bad}


def nothing_beside(target: Path) -> bool:
    return not [path for path in target.parent.iterdir() if path.name.startswith(f".{target.name}")]


# Good ones.


@pytest.mark.parametrize("suffix", [".root", ".h5"])
def test_outputs_of_both_formats_become_one_file_that_the_check_passes(
    made: Path, tmp_path: Path, suffix: str
) -> None:
    inputs = named(made, "a.root", "b.h5", "e.root", "c.root", "f.root")
    scored = named(made, *(f"{path.stem}_ssnet{path.suffix}" for path in inputs))
    target = tmp_path / f"merged{suffix}"
    steps: list[tuple[int, int]] = []

    class Steps(Progress):
        def __call__(self, done: int, total: int, failed: int = 0) -> None:
            steps.append((done, total))

    files = look(*scored)
    made_of = merging.merge(files, target, progress=Steps())
    assert made_of == checksum(target)
    assert bad(target, inputs) == {}
    assert set(bad(target, inputs, allow_failed=False)) == {"failed"}
    alone = [event for path in scored for event in plane_pools.read(path)]
    assert plane_pools.same(plane_pools.read(target), alone)
    records = [Record.unpack(text) for text in provenance.read(target)]
    assert [Path(record.inputs[0].path) for record in records] == inputs
    failed = FailedReport.read(report_path(target))
    assert [failure.entry for failure in failed.failed] == [5 + BAD, 7]
    assert failed.output == checksum(target).of(target)
    assert steps[-1] == (4, 4)  # e has no images to join
    assert nothing_beside(target)


def test_other_products_of_the_inputs_are_joined_too(
    made: Path, tmp_path: Path, endpoint: str
) -> None:
    inputs = named(made, "a.root", "c.root")
    scored = [
        write_output(path, tmp_path / f"{path.stem}.root", endpoint, copy_input=True)
        for path in inputs
    ]
    target = tmp_path / "merged.root"
    merging.merge(look(*scored), target)
    assert bad(target, inputs) == {}
    alone = [event for path in scored for event in plane_pools.read(path)]
    assert "wire" in alone[0].images
    assert plane_pools.same(plane_pools.read(target), alone)
    with pytest.raises(SettingsError, match="wire") as error:
        look(scored[0], made / "c_ssnet.root")
    assert str(scored[0]) in str(error.value)
    assert str(made / "c_ssnet.root") in str(error.value)


def test_outputs_without_entries_give_a_file_without_entries(made: Path, tmp_path: Path) -> None:
    target = tmp_path / "merged.root"
    merging.merge(look(made / "e_ssnet.root", made / "e_ssnet.root"), target)
    assert plane_pools.read(target) == []
    assert len(provenance.read(target)) == 2


def test_files_are_cut_in_order_and_none_is_larger_than_asked(made: Path) -> None:
    files = look(*named(made, "a_ssnet.root", "b_ssnet.root", "c_ssnet.root", "e_ssnet.root"))
    sizes = [file.bytes for file in files]
    groups = merging.cut(files, sizes[0] + sizes[1])
    assert [file for group in groups for file in group] == files
    assert groups[0] == files[:2]
    assert [len(group) for group in merging.cut(files, 1)] == [1, 1, 1, 1]
    assert merging.cut(files, 0) == [files]


# What is refused.


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"mode": chain.Tiles(32, 8, 1)}, "mode"),
        ({"low_adc": 20.0}, "threshold_adc"),
        ({"tick_order": "forward", "trust_tick_order": True}, "tick_order"),
        ({"planes": (0, 1)}, "image2d"),
    ],
)
def test_outputs_of_other_settings_are_refused_with_both_names(
    made: Path, tmp_path: Path, endpoint: str, changes: dict[str, object], word: str
) -> None:
    other = write_output(made / "c.root", tmp_path / "other.root", endpoint, **changes)
    with pytest.raises(SettingsError, match=word) as error:
        look(made / "e_ssnet.root", made / "a_ssnet.root", other)
    assert str(other) in str(error.value)
    assert "_ssnet.root" in str(error.value)


def test_outputs_of_other_networks_are_refused_with_both_names(made: Path, tmp_path: Path) -> None:
    other = with_other_record(made / "c_ssnet.root", tmp_path / "other.root", retrained)
    with pytest.raises(SettingsError, match="weights") as error:
        look(made / "e_ssnet.root", made / "a_ssnet.root", other)
    assert str(other) in str(error.value)
    assert "a_ssnet.root" in str(error.value)


def retrained(record: dict[str, object]) -> None:
    services = record["services"]
    assert isinstance(services, dict)
    for origins in services.values():
        origins[0]["weights"] = "0" * 64


def with_other_record(
    good: Path, target: Path, change: Callable[[dict[str, object]], object]
) -> Path:
    """A good output with another record."""
    record = json.loads(provenance.read(good)[0])
    change(record)
    with open_writer(target) as writer:
        for event in plane_pools.read(good):
            writer.write(event)
        writer.provenance = (json.dumps(record),)
    if report_path(good).exists():
        report = json.loads(report_path(good).read_text())
        report["output"] = checksum(target).of(target)
        report_path(target).write_text(json.dumps(report))
    return target


def test_damaged_outputs_are_named_together(made: Path, tmp_path: Path) -> None:
    good = made / "a_ssnet.root"
    whole = good.read_bytes()
    cut, foreign, gone = (tmp_path / name for name in ("cut.root", "foreign.root", "gone.root"))
    cut.write_bytes(whole[: len(whole) // 2])
    shutil.copy(made / "a.root", foreign)
    with pytest.raises(ReadError) as error:
        look(good, cut, foreign, gone)
    text = str(error.value)
    assert all(str(path) in text for path in (cut, foreign, gone))
    assert str(good) not in text


def test_an_output_that_was_replaced_is_named(made: Path, tmp_path: Path) -> None:
    output = tmp_path / "a_ssnet.root"
    shutil.copy(made / "a_ssnet.root", output)
    sum_of_it = checksum(output)
    known = {output: Known(sum_of_it.bytes, sum_of_it.sha256)}
    assert outputs.look_at([output], known, Progress())
    with output.open("r+b") as file:
        file.seek(sum_of_it.bytes // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(ReadError, match=r"a_ssnet\.root changed since it was scored"):
        outputs.look_at([output], known, Progress())
    shutil.copy(made / "c_ssnet.root", output)
    with pytest.raises(ReadError, match=r"a_ssnet\.root changed since it was scored"):
        outputs.look_at([output], known, Progress())


def test_an_output_whose_report_is_missing_or_of_another_file_is_named(
    made: Path, tmp_path: Path
) -> None:
    output = tmp_path / "c_ssnet.root"
    shutil.copy(made / "c_ssnet.root", output)
    with pytest.raises(ReadError, match="c_ssnet"):
        look(output)
    shutil.copy(report_path(made / "f_ssnet.root"), report_path(output))
    with pytest.raises(ReadError, match="another file"):
        look(output)


def test_an_event_of_two_outputs_is_named_with_both(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.root"
    shutil.copy(made / "a_ssnet.root", copy)
    files = look(made / "a_ssnet.root", made / "b_ssnet.root", copy)
    lines = outputs.repeated_events(files)
    assert len(lines) == 3
    assert all(str(made / "a_ssnet.root") in line and str(copy) in line for line in lines)
    assert outputs.repeated_events(files[:2]) == []


# Interrupted, and begun again.


class _Stop(Exception):
    pass


def test_a_merge_that_is_stopped_leaves_nothing_and_goes_on(made: Path, tmp_path: Path) -> None:
    target = tmp_path / "merged.root"
    files = look(made / "a_ssnet.root", made / "c_ssnet.root")

    def stop() -> None:
        raise _Stop

    with pytest.raises(_Stop):
        merging.merge(files, target, allowed=stop)
    assert list(tmp_path.iterdir()) == []
    folder = tmp_path / ".merged.root.parts"  # a merge that was killed leaves its folder
    folder.mkdir()
    (folder / ".joined.root.0123abcd.part").write_bytes(b"half")
    merging.merge(files, target)
    assert nothing_beside(target)
    written = target.stat()
    report_path(target).unlink()  # the merge was killed before the report had its name
    merging.merge(files, target)
    assert target.stat() == written
    assert report_path(target).exists()
    with pytest.raises(FileExists):
        merging.merge(files[:1], target)
    merging.merge(files[:1], target, force=True)
    assert not report_path(target).exists()
    assert np.array_equal(look(target)[0].events, files[0].events)


def test_a_merged_file_replaces_no_output(made: Path) -> None:
    target = made / "a_ssnet.root"
    before = target.read_bytes()
    with pytest.raises(FileExists):
        merging.merge(look(made / "c_ssnet.root", target), target, force=True)
    assert target.read_bytes() == before


def test_a_full_disk_leaves_no_file(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource
    import signal

    target = tmp_path / "merged.h5"
    files = look(made / "a_ssnet.root", made / "b_ssnet.h5")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises((WriteError, LArTPCError)):
            merging.merge(files, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
    merging.merge(files, target)
    assert target.exists()
