"""Inputs of which one is unlike the others: what is scored, what is refused, and which option."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from lartpc import ROI, RSE, Event, Image, ImageMeta, open_reader, open_writer
from tests.support.commands_of_mdp import mdp
from tests.support.optional import optional

SIDE = 64


@pytest.fixture(autouse=True)
def writes_root() -> None:
    optional("ROOT")


def meta(plane: int, side: int = SIDE, *, tick: float = 5000) -> ImageMeta:
    return ImageMeta(side, side, side, side, 0, tick, plane)


def event(
    number: int,
    *,
    sides: Sequence[int] = (SIDE, SIDE, SIDE),
    roi: Sequence[int] | None = (0, 1, 2),
    images: str = "wire",
    rois: str = "croi",
) -> Event:
    """`sides`: of each plane's image; `roi`: planes of the region's boxes, which may be none."""
    pictures = []
    for plane, side in enumerate(sides):
        pixels = np.zeros((side, side), np.float32)
        pixels[5:20, 8:12] = 40
        pictures.append(Image(meta(plane, side), pixels))
    regions = (
        ()
        if roi is None
        else (ROI(tuple(meta(plane, 40, tick=4990) for plane in roi)),) * bool(roi)
    )
    return Event(RSE(1, 0, number), {images: tuple(pictures)}, {rois: regions} if rois else {})


def write(path: Path, *events: Event) -> Path:
    with open_writer(path) as writer:
        for one in events:
            writer.write(one)
    return path


def run(*arguments: object, output: Path, code: int = 0) -> CompletedProcess[str]:
    return mdp(
        "run", *arguments, "-o", output, "--local", "--size", SIDE, module="clients", code=code
    )


def test_one_small_image_is_a_bad_entry_also_in_the_first_file(tmp_path: Path) -> None:
    small = (SIDE // 2,) * 3
    path = write(tmp_path / "in.root", event(0), event(1, sides=small), event(2))
    output = tmp_path / "out.root"
    run(path, "--bad-input", "fail", "--max-failed", 1, output=output, code=3)
    (failure,) = json.loads(output.with_name("out.root.failed.json").read_text())["failed"]
    assert (failure["entry"], failure["code"]) == (1, 422)
    assert "--size" in failure["reason"]
    run(path, "--end", 1, output=tmp_path / "first.root")  # not one of those that are asked for
    without = write(tmp_path / "without.root", event(0), event(1, sides=small, roi=()))
    run(without, output=tmp_path / "without_out.root")  # there is nothing to crop
    none_fits = write(tmp_path / "none.root", event(0, sides=small))
    done = run(none_fits, "--bad-input", "fail", output=tmp_path / "none_out.root", code=2)
    assert "--size 32" in done.stderr


@pytest.mark.parametrize(
    "odd",
    [event(0, roi=(2,)), event(0, sides=(SIDE // 2, SIDE // 2, SIDE))],
    ids=["a box of plane 2 only", "small images of planes 0 and 1"],
)
def test_what_is_wrong_on_planes_that_are_not_scored_fails_no_event(
    tmp_path: Path, odd: Event
) -> None:
    path, output = write(tmp_path / "in.root", odd), tmp_path / "out.root"
    run(path, "--planes", 2, output=output)
    with open_reader(output, tick_order="auto") as reader:
        assert len(reader[0].images["uburn_plane2"]) == 2
    assert "FAILED" not in mdp("check", path, output, module="clients").stdout


def test_files_with_and_without_regions_are_not_scored_in_two_ways(tmp_path: Path) -> None:
    with_rois = write(tmp_path / "with.root", event(0))
    without = write(tmp_path / "without.root", event(1, rois=""))
    output = tmp_path / "out.root"
    done = run(without, with_rois, "--overlap", 8, output=output, code=2)
    assert "with.root with croi: --mode tiles" in done.stderr
    done = run(with_rois, without, output=output, code=1)
    assert "--mode tiles needs no regions" in done.stderr
    run(without, with_rois, "--mode", "tiles", "--overlap", 8, output=output)


def test_a_later_file_of_another_producer_names_the_option(tmp_path: Path) -> None:
    first = write(tmp_path / "first.root", event(0))
    other = write(tmp_path / "other.root", event(1, images="modimg"))
    regions = write(tmp_path / "regions.root", event(2, rois="roi2"))
    output = tmp_path / "out.root"
    assert "-p names" in run(first, other, output=output, code=1).stderr
    assert "--rois that of regions" in run(first, regions, output=output, code=1).stderr


def test_check_takes_the_planes_of_an_output_without_provenance(tmp_path: Path) -> None:
    path, output = write(tmp_path / "in.root", event(0)), tmp_path / "out.root"
    run(path, "--planes", 1, output=output)
    with open_reader(output, tick_order="auto") as reader:
        events = list(reader)
    bare = write(tmp_path / "bare.root", *events)
    options = ("--planes", 1, "--size", SIDE, "--json")
    checks = json.loads(mdp("check", path, bare, *options, module="clients", code=1).stdout)
    assert [row["name"] for row in checks["checks"] if row["bad"]] == ["provenance"]


def test_a_display_of_files_that_contradict_each_other_is_refused(tmp_path: Path) -> None:
    path, output = write(tmp_path / "in.root", event(0)), tmp_path / "out.root"
    wrong = ("--tick-order", "forward", "--trust-tick-order")
    run(path, *wrong, "--mode", "tiles", "--overlap", 8, output=output)
    picture = tmp_path / "event.png"
    done = mdp("display", path, output, "-o", picture, module="clients", code=2)
    assert "want files of one tick order" in done.stderr
    assert not picture.exists()
    mdp("display", path, output, *wrong, "-o", picture, module="clients")


def test_a_display_is_told_the_order_by_any_producer_of_the_file(tmp_path: Path) -> None:
    pixels = np.full((SIDE, SIDE), 40, np.float32)
    low = ImageMeta(SIDE, SIDE, SIDE, SIDE, 0, 10, 0, "forward")
    images = {"aaa": (), "wire": (Image(low, pixels),)}
    path = write(tmp_path / "in.root", Event(RSE(1, 0, 0), images))
    done = mdp("display", path, "-p", "wire", "-o", tmp_path / "event.png", module="clients")
    assert "tick order forward" in done.stderr
