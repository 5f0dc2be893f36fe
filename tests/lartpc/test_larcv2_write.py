"""LArCV2 files that ROOT writes: every number survives, and the classes are LArCV2's."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from lartpc import (
    ROI,
    Event,
    ImageError,
    WriteError,
    format_of,
    format_to_write,
    open_reader,
    open_writer,
    products,
    provenance,
)
from lartpc.files.parts import PartFiles
from lartpc.files.root_writing.declared import CHECKSUMS
from lartpc.files.ticks import turned_to
from tests.support import larcv2_files
from tests.support.images import event, meta, same
from tests.support.optional import optional
from tests.support.shared import data

pytestmark = pytest.mark.slow

REAL = "larcv2_wire_5ev.root"
IMAGES = ("wire", "wire_back")
FACTS = {
    "BBox2D": "2c6c054d",
    "ImageMeta": "332d000d",
    "EventImage2D": "65de9de4",
    "EventSparseTensor2D": "429e7d8c",
    "SparseTensor2D": "6d61ea73",
    "Voxel": "7a384fda",
    "EventParticle": "0dbe7b10",
    "Particle": "29102d11",
    "EventBBox2D": "f0cd29a9",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LArCV2 file of today's classes, with more and fewer images and regions in each event."""
    optional("ROOT")
    path = tmp_path_factory.mktemp("larcv2") / "in.root"
    with open_writer(path, format="larcv2") as writer:
        for number, regions in enumerate((1, 0, 5)):
            one = event(number, images=3 - number, rois=regions)
            more = {"other": one.images["wire"][:regions]}
            writer.write(Event(one.rse, {**one.images, **more}, {"croi": one.rois.get("croi", ())}))
    return path


def leaves(path: Path, product: str) -> dict[str, list[Any]]:
    """The raw bytes of each entry of each branch of a product."""
    with uproot.open(path) as file:
        top = file[f"{product}_tree"].branches[0]
        return {
            branch.name: [
                np.asarray(basket.data).view("u1")[start:stop].tobytes()
                for basket in map(branch.basket, range(branch.num_baskets))
                for start, stop in edges(basket)
            ]
            for branch in top.itervalues(recursive=True)
            if branch.num_baskets
        }


def edges(basket: Any) -> list[tuple[int, int]]:
    offsets = basket.byte_offsets
    if offsets is None:
        size = len(np.asarray(basket.data).view("u1")) // basket.num_entries
        offsets = [size * number for number in range(basket.num_entries + 1)]
    return list(itertools.pairwise(offsets))


def test_the_checksums_are_those_of_larcv2() -> None:
    assert {name: f"{CHECKSUMS['larcv2'][name]:08x}" for name in FACTS} == FACTS


def test_the_file_says_of_its_classes_what_a_real_one_says(tmp_path: Path) -> None:
    def described(path: Path) -> dict[str, list[tuple[str, str, int]]]:
        with uproot.open(path) as file:
            return {
                name: [
                    (part.name, part.typename, part.member("fType"))
                    for part in next(iter(versions.values())).elements
                ]
                for name, versions in file.file.streamers.items()
                if name.startswith("larcv::")
            }

    optional("ROOT")
    path = tmp_path / "out.root"
    with open_writer(path, format="larcv2") as writer:
        writer.write(event(rois=1))
    ours, real = described(path), described(data(REAL))
    assert {"larcv::ImageMeta", "larcv::Image2D", "larcv::Particle"} <= set(ours)
    assert ours == {name: real[name] for name in ours}


@pytest.mark.parametrize("order", ["backward", "forward"])
def test_the_file_of_the_real_larcv2_survives_reading_and_writing(
    order: Any, tmp_path: Path
) -> None:
    optional("ROOT")
    path = tmp_path / "out.root"
    with open_reader(data(REAL), tick_order=turned_to(order), images=IMAGES) as reader:
        with open_writer(path, format="larcv2") as writer:
            for one in reader:
                writer.write(one)
        with open_reader(path, tick_order=turned_to(order), images=IMAGES) as again:
            assert all(map(same, reader, again))
    for name in IMAGES:
        ours, real = leaves(path, f"image2d_{name}"), leaves(data(REAL), f"image2d_{name}")
        stored = ["_img", *(f"_meta.{m}" for m in ("_p1.x", "_p1.y", "_p2.x", "_p2.y"))]
        stored += [f"_meta.{m}" for m in ("_id", "_unit", "_row_count", "_col_count")]
        for member in stored:
            # the bytes of `_img` begin with the version of ROOT's vectors, which has grown
            skip = 6 if member == "_img" else 0
            pairs = zip(ours[f"_image_v.{member}"], real[f"_image_v.{member}"], strict=True)
            assert all(one[skip:] == other[skip:] for one, other in pairs), member


@pytest.mark.parametrize("entries", [[0, 1, 2], [2, 0], [1]])
def test_copies_of_all_other_products_are_exact(
    source: Path, entries: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "out.root"
    with (
        open_reader(source, tick_order="auto", images=["wire"]) as reader,
        open_writer(path, copy_input=reader) as writer,
    ):
        for entry in entries:
            one = reader[entry]
            writer.write(Event(one.rse, {"scores": one.images["wire"]}), entry=entry)
    assert format_of(path) == "larcv2"
    names = {product.name for product in products(source)}
    assert {product.name for product in products(path)} == {*names, "image2d_scores"}
    for name in names:
        want, got = leaves(source, name), leaves(path, name)
        assert set(got) == set(want)
        for branch, raw in want.items():
            assert got[branch] == [raw[entry] for entry in entries], (name, branch)


@pytest.mark.parametrize("entries", [range(5), [4, 2, 0, 3, 1, 0, 4]])
def test_copies_of_the_real_larcv2s_products_are_exact(entries: Any, tmp_path: Path) -> None:
    """Three-dimensional ones, too; the vectors grow and shrink from entry to entry."""
    optional("ROOT")
    path = tmp_path / "out.root"
    with (
        open_reader(data(REAL), tick_order="auto", images=["wire"]) as reader,
        open_writer(path, copy_input=reader) as writer,
    ):
        for entry in entries:
            one = reader[entry]
            writer.write(Event(one.rse, {"scores": one.images["wire"]}), entry=entry)
    for product in products(data(REAL)):
        want, got = leaves(data(REAL), product.name), leaves(path, product.name)
        for branch, raw in want.items():
            assert got[branch] == [raw[entry] for entry in entries], (product.name, branch)


def test_regions_are_written_as_particles_with_one_box_for_each_plane(tmp_path: Path) -> None:
    optional("ROOT")
    path = tmp_path / "out.root"
    boxes = (meta(4, rows=4, cols=3), meta(1, rows=2, cols=2))
    regions = {"croi": (ROI(boxes, 3), ROI((), 4), ROI(boxes[:1], 5, 7))}
    with open_writer(path, format="larcv2") as writer:
        writer.write(Event(event().rse, event().images, regions))
    with open_reader(path, tick_order="auto", images=(), rois=["croi"]) as reader:
        got = reader[0].rois["croi"]
    assert [[box.plane for box in roi.boxes] for roi in got] == [[1, 4], [], [4]]
    box = got[0].boxes[1]
    want = boxes[0]
    assert (box.min_x, box.min_y, box.max_x, box.max_y) == (
        *(want.min_x, want.min_y, want.max_x, want.max_y),
    )


def test_two_boxes_of_one_plane_are_refused(tmp_path: Path) -> None:
    optional("ROOT")
    twice = {"croi": (ROI((meta(1), meta(1))),)}
    with (
        pytest.raises(ImageError, match=r"one box for each plane in region 0, .* got planes"),
        open_writer(tmp_path / "out.root", format="larcv2") as writer,
    ):
        writer.write(Event(event().rse, event().images, twice))
    assert list(tmp_path.iterdir()) == []


def test_copies_across_families_are_refused_before_root_sees_them(
    source: Path, tmp_path: Path
) -> None:
    other = tmp_path / "larcv1.root"
    with open_writer(other) as writer:
        writer.write(event(rois=1))
    for path, format, got in ((source, "larcv1", "LArCV2"), (other, "larcv2", "LArCV1")):
        with (
            open_reader(path, tick_order="auto", images=["wire"]) as reader,
            pytest.raises(WriteError, match=rf"which is {got}: leave --copy-input out"),
        ):
            open_writer(tmp_path / "out.root", format=format, copy_input=reader)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["larcv1.root"]


def test_parts_of_larcv2_are_joined(source: Path, tmp_path: Path) -> None:
    with open_reader(source, tick_order="auto", images=["wire"]) as reader:
        files = PartFiles(
            tmp_path / "out.root",
            format="larcv2",
            force=False,
            inputs=[source],
            images=["wire"],
            copy_input=reader,
        )
        parts = [tmp_path / "part0.root", tmp_path / "part1.root"]
        for part, entries in zip(parts, ((2, 0), (1,)), strict=True):
            with files.open(part) as writer:
                for entry in entries:
                    writer.write(reader[entry], entry=entry)
        with files.join(files.path, parts, [2, 0, 1]):
            pass
        with open_reader(files.path, tick_order="auto", images=["wire"]) as joined:
            assert all(same(joined[k], reader[entry]) for k, entry in enumerate((2, 0, 1)))


def test_the_format_follows_the_inputs_and_the_suffix() -> None:
    assert format_to_write("a.root") == "larcv1"
    assert format_to_write("a.root", inputs=["larcv2", "larcv3"]) == "larcv2"
    assert format_to_write("a.h5", inputs=["larcv2"]) == "larcv3"
    assert format_to_write("a.root", "larcv1", ["larcv2"]) == "larcv1"
    with pytest.raises(WriteError, match=r"want --format larcv1 or larcv2 for a\.root"):
        format_to_write("a.root", inputs=["larcv2", "larcv1"])
    with pytest.raises(WriteError, match=r"ends with \.root for --format larcv2, got a.h5"):
        format_to_write("a.h5", "larcv2")


def test_inputs_of_different_classes_of_one_name_are_refused_together(
    source: Path, tmp_path: Path
) -> None:
    """ROOT mixed them up: boxes were lost without an error."""
    old = larcv2_files.write(tmp_path / "old.root", "old", (5, 0, 3, 1, 4, 2))
    with (
        open_reader([source, old], tick_order="auto", images=["wire"]) as reader,
        pytest.raises(WriteError, match="one version of LArCV to copy, but larcv::Particle 1 have"),
    ):
        open_writer(tmp_path / "out.root", copy_input=reader)


def test_products_of_an_older_larcv2_are_copied_whole_and_chosen_entries_refused(
    source: Path, tmp_path: Path
) -> None:
    old = larcv2_files.write(tmp_path / "old.root", "old", (5, 0, 3, 1, 4, 2))

    def copy(entries: Sequence[int], target: Path) -> Path:
        with (
            open_reader(old, tick_order="auto", images=["wire"]) as reader,
            open_writer(target, copy_input=reader) as writer,
        ):
            for entry in entries:
                one = reader[entry]
                writer.write(Event(one.rse, {"scores": one.images["wire"]}), entry=entry)
        return target

    whole = copy([0, 1, 2], tmp_path / "whole.root")
    for product in products(old):
        assert leaves(whole, product.name) == leaves(old, product.name)
    with pytest.raises(WriteError, match=r"another version of LArCV.*larcv::Particle 1.*--end"):
        copy([2, 0], tmp_path / "chosen.root")
    with (
        open_reader(old, tick_order="auto", images=["wire"]) as reader,
        pytest.raises(WriteError, match="another version of LArCV"),
    ):
        PartFiles(
            tmp_path / "parts.root",
            format="larcv2",
            force=False,
            inputs=[old],
            images=["wire"],
            copy_input=reader,
        )
    assert not (tmp_path / "chosen.root").exists()


def test_provenance_leaves_what_the_file_says_of_its_classes(source: Path, tmp_path: Path) -> None:
    before = uproot.open(source).file.streamers["larcv::ImageMeta"][1].member("fCheckSum")
    path = tmp_path / "copy.root"
    shutil.copy(source, path)
    provenance.append(path, ["one record"])
    with uproot.open(path) as file:
        assert file.file.streamers["larcv::ImageMeta"][1].member("fCheckSum") == before
    assert provenance.read(path) == ("one record",)


def test_no_copies_are_made_of_images_whose_rows_the_user_overrules(
    source: Path, tmp_path: Path
) -> None:
    with (
        open_reader(source, tick_order="backward", images=["wire"]) as reader,
        pytest.raises(WriteError, match=r"--tick-order backward overrules .* --copy-input out"),
    ):
        open_writer(tmp_path / "out.root", copy_input=reader)


def test_numbers_of_numpy_are_taken(source: Path, tmp_path: Path) -> None:
    with (
        open_reader(source, tick_order="auto", images=["wire"]) as reader,
        open_writer(tmp_path / "out.root", copy_input=reader) as writer,
    ):
        one = reader[2]
        writer.write(Event(one.rse, {"s": one.images["wire"]}), entry=np.int64(2))  # type: ignore[arg-type]
    assert [product.entries for product in products(tmp_path / "out.root")] == [1] * 4


CLASSES = """
#include <map>
#include <vector>
namespace larcv {
class ChStatus { public: unsigned short _plane = 0; std::vector<short> _status_v; };
class EventChStatus {
 public:
  virtual ~EventChStatus() {}
  void add(unsigned short plane) { _status_m[plane]._status_v.assign(17, plane); }
 private:
  size_t _run = 1, _subrun = 1, _event = 1;
  std::map<unsigned short, larcv::ChStatus> _status_m;
};
}
#ifdef __CLING__
#pragma link C++ class larcv::ChStatus+;
#pragma link C++ class std::map<unsigned short, larcv::ChStatus>+;
#pragma link C++ class larcv::EventChStatus+;
#endif
"""
MAPS = """
import sys, warnings
warnings.simplefilter("ignore")
import ROOT
ROOT.gROOT.ProcessLine(f".L {sys.argv[2]}+")
file = ROOT.TFile.Open(sys.argv[1], "UPDATE")
event = ROOT.larcv.EventChStatus()
tree = ROOT.TTree("chstatus_wire_tree", "wire tree")
tree.Branch("chstatus_wire_branch", event, 32000, 99)
for plane in range(3):
    event.add(plane)
    tree.Fill()
file.Write()
file.Close()
"""


def test_chosen_entries_of_split_maps_are_refused_at_the_start(
    source: Path, tmp_path: Path
) -> None:
    """ROOT kept the first element of each map, without an error."""
    path = tmp_path / "maps.root"
    shutil.copy(source, path)
    classes = tmp_path / "classes.h"
    classes.write_text(CLASSES)
    command = [sys.executable, "-c", MAPS, str(path), str(classes)]
    subprocess.run(command, check=True, capture_output=True)
    with open_reader(path, tick_order="auto", images=["wire"]) as reader:
        settings = {"format": "larcv2", "force": False, "inputs": [path], "images": ["wire"]}
        target = tmp_path / "out.root"
        with pytest.raises(WriteError, match=r"chosen entries of chstatus_wire of .*--end, or"):
            PartFiles(target, copy_input=reader, **settings)  # type: ignore[arg-type]
        PartFiles(target, copy_input=reader, whole=True, **settings)  # type: ignore[arg-type]
        with (
            pytest.raises(WriteError, match="chosen entries of chstatus_wire"),
            open_writer(target, copy_input=reader) as writer,
        ):
            writer.write(reader[1], entry=1)
