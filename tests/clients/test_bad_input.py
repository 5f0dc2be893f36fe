"""Entries that cannot be read, planned or cut: empty events, mended by a retry. Real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import uproot

from clients.check import acceptance
from clients.files.failed_report import FailedReport, report_path
from clients.files.provenance import Record
from clients.scoring.job import ScoringJob
from clients.scoring.output.failures import BAD_INPUT, EventFailed
from clients.scoring.score import score
from lartpc import ROI, Event, Image, ImageError, LArTPCError, ReadError, open_writer
from lartpc.crops import chain
from lartpc.files import provenance
from mdp import SettingsError
from tests.support import plane_pools
from tests.support.commands_of_ssnet import ssnet
from tests.support.processes import QUICK, Processes, free_port
from tests.support.production_runs import names, stop, without
from tests.support.shared import case

EVENTS = 4
BAD = 1


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Processes(tmp_path_factory.mktemp("pools")) as processes:
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        processes.broker(endpoint, *QUICK)
        plane_pools.start(processes, endpoint, target="tests.support.honest_planes:Plausible")
        yield endpoint


@pytest.fixture
def job(pools: str, tmp_path: Path) -> ScoringJob:
    """Of a good file, which the tests spoil."""
    (tmp_path / "good").mkdir()
    plane_pools.toys(tmp_path / "good" / "in.root", EVENTS)
    (tmp_path / "in.root").write_bytes((tmp_path / "good" / "in.root").read_bytes())
    return ScoringJob(
        inputs=(tmp_path / "in.root",),
        output=tmp_path / "out.root",
        broker=pools,
        mode=chain.Croi(size=64),
        timeout_s=60,
        part_s=0,
        bad_input="fail",
    )


def expected(job: ScoringJob) -> list[Event]:
    """What a run makes of the good file."""
    folder = job.output.parent / "good"
    calm = replace(job, inputs=(folder / "in.root",), output=folder / "scores.root")
    score(replace(calm, force=True))
    return plane_pools.read(calm.output)


# Ways to spoil entry 1 of a file.


def rewritten(path: Path, change: Callable[[Event], Event]) -> None:
    path.unlink()
    events = plane_pools.toys(path, EVENTS)
    events[BAD] = change(events[BAD])
    path.unlink()
    with open_writer(path) as writer:
        for event in events:
            writer.write(event)


def with_nan(path: Path) -> None:
    def change(event: Event) -> Event:
        first, *others = event.images["wire"]
        pixels = np.array(first.pixels)
        image = Image(first.meta, pixels)
        pixels[5, 6] = np.nan  # after it was looked at
        return replace(event, images={**event.images, "wire": (image, *others)})

    rewritten(path, change)


def with_six_images(path: Path) -> None:
    def change(event: Event) -> Event:
        return replace(event, images={**event.images, "wire": event.images["wire"] * 2})

    rewritten(path, change)


def with_a_roi_off_the_image(path: Path) -> None:
    def change(event: Event) -> Event:
        [roi, *others] = event.rois["croi"]
        boxes = tuple(replace(box, origin_x=1e6) for box in roi.boxes)
        return replace(event, rois={"croi": (ROI(boxes, roi.index, roi.mcst_index), *others)})

    rewritten(path, change)


def with_a_hole(path: Path, branch: str = "_image_v._img", basket: int = BAD) -> None:
    with uproot.open(path) as file:
        [column] = [
            item
            for item in file["image2d_wire_tree"].itervalues(recursive=True)
            if item.name.endswith(branch)
        ]
        assert column.num_baskets > basket
        seek = int(column.member("fBasketSeek")[basket])
        size = int(column.member("fBasketBytes")[basket])
    content = bytearray(path.read_bytes())
    at = seek + (size // 2 if basket else size - 8)
    content[at : at + 8] = bytes(byte ^ 0xFF for byte in content[at : at + 8])
    path.write_bytes(content)


WAYS: dict[str, Callable[[Path], None]] = {
    "nan": with_nan,
    "six images": with_six_images,
    "roi off the image": with_a_roi_off_the_image,
    "hole": with_a_hole,
}
each_way = pytest.mark.parametrize("way", WAYS)


def check(job: ScoringJob, *, allow_failed: bool = False) -> set[str]:
    """The names of what `ssnet check` finds wrong."""
    asked = acceptance.Check(inputs=job.inputs, output=job.output, allow_failed=allow_failed)
    return {item.name for item in acceptance.check_output(asked) if item.bad}


def mend(job: ScoringJob) -> None:
    job.inputs[0].write_bytes((job.output.parent / "good" / "in.root").read_bytes())


@each_way
def test_a_bad_entry_is_an_empty_event_and_a_retry_mends_it(job: ScoringJob, way: str) -> None:
    want = expected(job)
    WAYS[way](job.inputs[0])
    done = score(job)
    [failure] = done.failed
    assert (failure.entry, failure.code) == (BAD, BAD_INPUT)
    assert (failure.plane, failure.crop) == (None, None)
    assert failure.where == f"{job.inputs[0]} entry {BAD}"
    assert (failure.run, failure.subrun, failure.event) == want[BAD].rse
    assert not failure.reason.startswith(str(job.inputs[0]))
    assert plane_pools.same(plane_pools.read(job.output), without(want, BAD))
    assert check(job) == {"failed"}
    assert check(job, allow_failed=True) == set()

    again = score(replace(job, retry_failed=True))  # nothing was mended
    assert {item.entry for item in again.failed} == {BAD}

    bad = report_path(job.output).read_bytes()
    mend(job)
    done = score(replace(job, retry_failed=True))
    assert (done.events, done.earlier, done.failed) == (1, EVENTS - 1, ())
    assert plane_pools.same(plane_pools.read(job.output), want)
    assert names(job) == ["out.root"]
    assert check(job) == set()
    [text] = provenance.read(job.output)
    [was] = Record.unpack(text).settings["mended_inputs"]
    assert was["sha256"] in bad.decode()
    assert score(job).events == 0  # the same command finds its own output


@each_way
def test_a_run_that_was_killed_goes_on_past_a_bad_entry(job: ScoringJob, way: str) -> None:
    want = expected(job)
    WAYS[way](job.inputs[0])
    stop(job, at=BAD + 1)
    assert {item.entry for item in score(job).failed} == {BAD}
    assert plane_pools.same(plane_pools.read(job.output), without(want, BAD))


@each_way
def test_by_itself_a_run_stops_there_and_names_the_option(job: ScoringJob, way: str) -> None:
    want = expected(job)
    WAYS[way](job.inputs[0])
    with pytest.raises((ReadError, ImageError), match=r"in\.root entry 1 .*--bad-input fail"):
        score(replace(job, bad_input="stop"))
    assert score(job).earlier == BAD
    assert plane_pools.same(plane_pools.read(job.output), without(want, BAD))


def test_bad_entries_count_as_failed_events(job: ScoringJob) -> None:
    with_six_images(job.inputs[0])
    with pytest.raises(EventFailed, match=r"entry 1: .*one image of each plane"):
        score(replace(job, strict=True))


def test_an_event_whose_name_cannot_be_read_ends_the_run(job: ScoringJob) -> None:
    with_a_hole(job.inputs[0], branch="_event", basket=0)
    with pytest.raises(ReadError, match=r"in\.root entry 0 .*without its \(run, subrun, event\)"):
        score(job)


def test_a_ledger_takes_a_bad_event(job: ScoringJob) -> None:
    with_a_roi_off_the_image(job.inputs[0])
    assert len(score(replace(job, ledger=job.output.with_name("times"))).failed) == 1


# Files that were mended into others.


def other_pixels(path: Path) -> None:
    path.unlink()
    events = plane_pools.toys(path, EVENTS)
    events[0] = replace(events[0], images=events[2].images)
    path.unlink()
    with open_writer(path) as writer:
        for event in events:
            writer.write(event)


def other_name(path: Path) -> None:
    path.unlink()
    events = plane_pools.toys(path, EVENTS)
    path.unlink()
    with open_writer(path) as writer:
        for number, event in enumerate(events):
            writer.write(event if number else replace(event, rse=event.rse._replace(event=99)))


def one_more(path: Path) -> None:
    path.unlink()
    plane_pools.toys(path, EVENTS + 1)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (other_pixels, "want the charge that was scored in entry 0"),
        (other_name, r"want event .* in entry 0, got .*99"),
        (one_more, "entries"),
    ],
)
def test_a_file_whose_good_entries_changed_as_well_is_not_mixed_in(
    job: ScoringJob, other: Callable[[Path], None], words: str
) -> None:
    with_nan(job.inputs[0])
    score(job)
    content = job.output.read_bytes()
    other(job.inputs[0])
    with pytest.raises(SettingsError, match=rf"{words}.*--force instead of --retry-failed"):
        score(replace(job, retry_failed=True))
    assert job.output.read_bytes() == content


@pytest.fixture
def three(job: ScoringJob) -> ScoringJob:
    """The job with three files of four events, one after the other."""
    inputs = tuple(job.output.with_name(f"{number}.root") for number in range(3))
    for seed, path in enumerate(inputs):
        plane_pools.toys(path, EVENTS, seed=seed + 20)
    return replace(job, inputs=inputs, repeat_inputs=True)


def test_a_changed_file_in_which_nothing_failed_is_not_mixed_in(three: ScoringJob) -> None:
    six = three.inputs[1]
    with_six_images(six)
    score(three)
    plane_pools.toys(three.inputs[2].with_name("x.root"), EVENTS, seed=77)
    three.inputs[2].with_name("x.root").replace(three.inputs[2])
    with pytest.raises(SettingsError, match=r"2\.root was changed since: want no change"):
        score(replace(three, retry_failed=True))


@pytest.mark.parametrize(("changed", "safe"), [(0, 7), (1, 7), (2, 8)])
@pytest.mark.parametrize("copy_input", [False, True])
def test_a_changed_input_keeps_what_is_safe_of_the_others(
    three: ScoringJob, changed: int, safe: int, copy_input: bool, caplog: pytest.LogCaptureFixture
) -> None:
    three = replace(three, copy_input=copy_input)
    stop(three, at=11)
    plane_pools.toys(three.inputs[changed].with_name("x.root"), EVENTS, seed=77)
    three.inputs[changed].with_name("x.root").replace(three.inputs[changed])
    done = score(three)
    assert done.earlier == safe
    assert f"{safe} saved events of other inputs" in caplog.text
    fresh = replace(three, output=three.output.with_name("calm.root"))
    score(fresh)
    assert plane_pools.same(plane_pools.read(three.output), plane_pools.read(fresh.output))
    assert check(three) == set()


def test_after_a_file_with_another_number_of_entries_nothing_is_kept(three: ScoringJob) -> None:
    stop(three, at=11)
    plane_pools.toys(three.inputs[1].with_name("x.root"), EVENTS + 1, seed=77)
    three.inputs[1].with_name("x.root").replace(three.inputs[1])
    done = score(three)
    assert (done.earlier, done.events) == (4, 9)
    assert check(three) == set()


def test_a_killed_run_with_gaps_goes_on(three: ScoringJob) -> None:
    stop(three, at=11)
    plane_pools.toys(three.inputs[0].with_name("x.root"), EVENTS, seed=77)
    three.inputs[0].with_name("x.root").replace(three.inputs[0])
    stop(three, at=9)  # two of the four that are scored again
    assert score(three).earlier == 9
    assert check(three) == set()


# The command, and the files beside the project.


@pytest.mark.parametrize(
    ("name", "failed"),
    [
        ("px_nan.root", {1}),
        ("six_images.root", {0, 1, 2, 3}),
        ("roi_outside.root", {0, 1, 2, 3}),
        ("hole.root", {3}),
    ],
)
def test_the_files_with_a_bad_entry(
    pools: str, tmp_path: Path, name: str, failed: set[int]
) -> None:
    options = ("--broker", pools, "--size", "64")
    ssnet("run", case("std.root"), "-o", tmp_path / "whole.root", *options)
    out = tmp_path / "out.root"
    ssnet("run", case(name), "-o", out, *options, "--bad-input", "fail", code=3)
    got, want = plane_pools.read(out), plane_pools.read(tmp_path / "whole.root")
    assert plane_pools.same(got, without(want[: len(got)], *failed))
    report = FailedReport.read(report_path(out))
    assert {(item.entry, item.code) for item in report.failed} == {(n, BAD_INPUT) for n in failed}
    ssnet("check", case(name), out, code=1)
    ssnet("check", case(name), out, "--allow-failed")


def test_the_command_with_workers_of_its_own(job: ScoringJob) -> None:
    with_a_hole(job.inputs[0])
    files = (*job.inputs, "-o", job.output, "--local", "--size", "64", "--bad-input", "fail")
    done = ssnet("run", *files, code=3)
    assert "1 of 4 events failed" in done.stderr
    assert f"{job.inputs[0]} entry {BAD}" in done.stdout
    mend(job)
    done = ssnet("run", *files, "--retry-failed")
    assert "is assumed" in done.stderr
    ssnet("check", *job.inputs, job.output)


def test_a_copy_of_a_damaged_product_is_made_or_refused_but_never_silently_cut(
    job: ScoringJob,
) -> None:
    with_a_hole(job.inputs[0])
    copying = replace(job, copy_input=True, mode=chain.Croi(size=64))
    assert {item.entry for item in score(copying).failed} == {BAD}
    part = replace(copying, output=job.output.with_name("part_out.root"), start=1)
    with pytest.raises(LArTPCError, match=r"want image2d_wire copied, .* entry 1"):
        score(part)
