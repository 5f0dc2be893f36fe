"""LArCV1 files that we write, read back by uproot, by ROOT in another process, and by hadd."""

from __future__ import annotations

import hashlib
import os
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
    RSE,
    Event,
    Image,
    ImageError,
    ImageMeta,
    ReadError,
    WriteError,
    open_reader,
    open_writer,
    products,
)
from lartpc.files.root_writing.declared import CHECKSUMS
from tests.support.images import event, image, meta, numbers, same, same_image
from tests.support.root_tools import root_says
from tests.support.shared import ROOT, case, data

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.slow]

HEAD = {f"larcv::{name}": checksum for name, checksum in CHECKSUMS["larcv1"].items()}


def write(path: Path, events: Sequence[Event], **settings: Any) -> Path:
    with open_writer(path, **settings) as writer:
        for one in events:
            writer.write(one)
    return path


def read(path: Path, **settings: Any) -> list[Event]:
    with open_reader(path, tick_order="backward", **settings) as reader:
        return list(reader)


def as_root_says(one: Event, producer: str) -> dict[str, Any]:
    images = [
        {
            "meta": list(numbers(item.meta)),
            "sha256": hashlib.sha256(item.pixels.tobytes(order="F")).hexdigest(),
        }
        for item in one.images[producer]
    ]
    return {"producer": producer, "rse": list(one.rse), "images": images}


def test_the_checksums_are_those_of_larcv1(root: Any) -> None:
    facts = {
        "EventBase": "cb50957f",
        "EventImage2D": "65de9de4",
        "Image2D": "de7356f7",
        "ImageMeta": "b9c3c44b",
        "Point2D": "286e66e3",
        "EventROI": "65080be4",
        "ROI": "cf7f3fee",
        "Vertex": "77daf357",
    }
    assert {name: f"{checksum:08x}" for name, checksum in CHECKSUMS["larcv1"].items()} == facts
    for name, checksum in facts.items():
        assert root.TClass.GetClass(f"larcv::{name}").GetCheckSum() & 0xFFFFFFFF == int(
            checksum, 16
        )


@pytest.mark.parametrize("name", ["larcv1_wire_croi_5ev.root", "larcv1_pipeline_in.root"])
def test_a_larcv1_file_survives_reading_and_writing(name: str, tmp_path: Path) -> None:
    with open_reader(data(name), tick_order="backward", rois=["croi"]) as reader:
        path = write(tmp_path / "out.root", list(reader))
        assert all(map(same, reader, read(path, rois=["croi"])))


def test_root_reads_the_file_by_its_class_names(tmp_path: Path) -> None:
    events = [event(number, images=number % 4, rois=number % 3 + 1) for number in range(5)]
    events = [
        Event(one.rse, {**one.images, "score": one.images["wire"][:1]}, one.rois) for one in events
    ]
    report = root_says(write(tmp_path / "out.root", events))
    assert {name: report["checksums"].get(name) for name in HEAD} == HEAD
    assert report["trees"] == {
        **{
            f"image2d_{producer}_tree": {
                "branch": f"image2d_{producer}_branch",
                "class": "larcv::EventImage2D",
                "cycle": 1,
                "entries": [as_root_says(one, producer) for one in events],
            }
            for producer in ("wire", "score")
        },
        "partroi_croi_tree": {
            "branch": "partroi_croi_branch",
            "class": "larcv::EventROI",
            "cycle": 1,
            "entries": 5,
        },
    }


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

    ours = write(tmp_path / "out.root", [event(rois=1)])
    real = data("larcv1_wire_croi_5ev.root")
    assert described(ours) == described(real)
    with uproot.open(ours) as one, uproot.open(real) as other:
        for tree in ("image2d_wire_tree", "partroi_croi_tree"):
            assert one[tree].keys(recursive=True) == other[tree].keys(recursive=True)


def test_what_we_do_not_know_of_a_roi_is_what_larcv1_leaves(tmp_path: Path) -> None:
    names = ["_shape", "_mct_index", "_energy_deposit", "_pdg", "_trackid", "_parent_trackid"]
    names += ["_current_type", "_interaction_type", "_dist_travel", "_px"]
    paths = [data("larcv1_wire_croi_5ev.root"), write(tmp_path / "out.root", [event(rois=2)])]
    unset = []
    for path in paths:
        with uproot.open(path) as file:
            branch = file["partroi_croi_tree/partroi_croi_branch/_part_v"]
            unset.append({n: branch[f"_part_v.{n}"].array(library="np")[0].tolist() for n in names})
    assert unset[0] == unset[1]


def test_hadd_joins_two_files(tmp_path: Path, root: Any) -> None:
    hadd = shutil.which("hadd") or shutil.which(str(Path(root.__file__).parent / "bin" / "hadd"))
    assert hadd, "want hadd on the path or in ROOT's wheel"
    events = [event(number, rois=2) for number in range(6)]
    parts = [write(tmp_path / f"{k}.root", events[k : k + 3]) for k in (0, 3)]
    joined = tmp_path / "joined.root"
    subprocess.run([hadd, str(joined), *map(str, parts)], check=True, capture_output=True)
    assert all(map(same, events, read(joined, rois=["croi"])))
    assert len(root_says(joined)["trees"]["image2d_wire_tree"]["entries"]) == 6


def test_images_of_any_size_and_number_are_kept(tmp_path: Path) -> None:
    sizes = [(12, 7), (1, 1), (700, 900), (3, 5)]
    rows = [[], [sizes[2]], sizes, [], sizes[:1]]
    events = [
        Event(
            RSE(2**64 - 1, 0, number),
            {"a_b": tuple(image(k, rows=r, cols=c) for k, (r, c) in enumerate(row)), "none": ()},
        )
        for number, row in enumerate(rows)
    ]
    got = read(write(tmp_path / "out.root", events))
    assert len(got) == 5
    assert all(map(same, events, got))


def test_an_image_without_pixels_is_kept(tmp_path: Path) -> None:
    hollow = Image(ImageMeta(0, 0, 0, 0, 1.5, 2.5, 1), np.zeros((0, 0), np.float32))
    one = Event(RSE(1, 2, 3), {"wire": (hollow, image())})
    assert same(one, read(write(tmp_path / "out.root", [one]))[0])


def test_forward_rows_stay_forward(tmp_path: Path) -> None:
    one = Event(RSE(1, 2, 3), {"wire": (image().in_order("forward"),)})
    path = write(tmp_path / "out.root", [one])
    with open_reader(path, tick_order="forward") as reader:
        assert same(one, reader[0])


def test_a_file_of_no_events_has_its_products(tmp_path: Path) -> None:
    path = write(tmp_path / "out.root", [], images=["wire"], rois=["croi"])
    assert [product[:3] for product in products(path)] == [
        ("image2d", "wire", 0),
        ("partroi", "croi", 0),
    ]
    assert read(path) == []


def baskets(path: Path, tree: str) -> dict[str, list[bytes]]:
    with uproot.open(path) as file:
        return {
            branch.name: [branch.basket(i).data.tobytes() for i in range(branch.num_baskets)]
            for branch in file[tree].itervalues(recursive=True)
        }


def test_copy_input_takes_every_other_product_along(tmp_path: Path) -> None:
    source = data("microboone_run6324_larcv.root")
    path = tmp_path / "out.root"
    with (
        open_reader(source, tick_order="forward", images=["wire"]) as reader,
        open_writer(path, copy_input=reader) as writer,
    ):
        score = Event(reader.rse(0), {"score": (), "infill": reader[0].images["wire"][:1]})
        writer.write(score, entry=0)
    earlier, after = products(source), products(path)
    assert {p.name for p in after} == {p.name for p in earlier} | {"image2d_score"}
    assert all(product.entries == 1 for product in after)
    with open_reader(path, tick_order="forward") as reader:
        assert len(reader[0].images["infill"]) == 1
    for product in earlier:
        if product.name != "image2d_infill":
            name = f"{product.name}_tree"
            assert baskets(path, name) == baskets(source, name)


def test_copy_input_follows_the_entries_that_were_written(tmp_path: Path) -> None:
    files = [data("larcv1_wire_croi_5ev.root")] * 2
    chosen = [7, 0, 3, 3]
    path = tmp_path / "out.root"
    with (
        open_reader(files, tick_order="backward", rois=["croi"]) as reader,
        open_writer(path, copy_input=reader) as writer,
    ):
        for entry in chosen:
            writer.write(Event(reader.rse(entry), {"score": ()}), entry=entry)
        expected = [reader[entry] for entry in chosen]
    got = read(path, rois=["croi"])
    for one, other in zip(expected, got, strict=True):
        assert other.rse == one.rse
        assert other.rois == one.rois
        assert all(map(same_image, one.images["wire"], other.images["wire"]))


COPY = """
import sys
from lartpc import Event, open_reader, open_writer

source, target, *chosen = sys.argv[1:]
with (
    open_reader(source, tick_order="backward") as reader,
    open_writer(target, copy_input=reader) as writer,
):
    for entry in map(int, chosen):
        writer.write(Event(reader.rse(entry), {"score": ()}), entry=entry)
"""


def copied(source: Path, target: Path, chosen: Sequence[int]) -> None:
    """Copy entries in a process of its own: ROOT may abort it."""
    command = [sys.executable, "-c", COPY, str(source), str(target), *map(str, chosen)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def leaves(path: Path, tree: str) -> dict[str, list[Any]]:
    """What uproot can read of a product: all but the boxes of its regions."""
    values = {}
    with uproot.open(path) as file:
        for name, branch in file[tree].items(recursive=True):
            try:
                values[name] = branch.array().tolist()
            except NotImplementedError:
                assert name.endswith(("_branch", "_part_v", "_bb_v"))
    assert len(values) > 40
    return values


@pytest.mark.parametrize("name", ["rois_0120.root", "rois_1120_real_larcv1.root"])
def test_copy_input_of_chosen_entries_whose_regions_grow_in_number(
    name: str, tmp_path: Path
) -> None:
    source, target = case(name, "larcv1"), tmp_path / "out.root"
    chosen = [1, 2, 3, 0, 2]
    copied(source, target, chosen)
    before, after = (leaves(path, "partroi_croi_tree") for path in (source, target))
    assert after == {key: [column[k] for k in chosen] for key, column in before.items()}
    with open_reader(source, tick_order="backward", rois=["croi"]) as reader:
        expected = [reader[entry].rois for entry in chosen]
    assert [one.rois for one in read(target, rois=["croi"])] == expected


def test_copy_input_of_chosen_entries_with_any_numbers_of_images_and_regions(
    tmp_path: Path,
) -> None:
    dice = np.random.default_rng(4)

    def some(number: int) -> Event:
        images = tuple(
            image(int(dice.integers(99)), rows=3, cols=4) for _ in range(dice.integers(5))
        )
        box = meta(3, 4)
        rois = tuple(ROI((box,) * int(dice.integers(7)), k, 0) for k in range(dice.integers(9)))
        return Event(RSE(1, 0, number), {"wire": images}, {"croi": rois})

    events = [some(number) for number in range(60)]
    source = write(tmp_path / "in.root", events, images=["wire"], rois=["croi"])
    chosen = [int(entry) for entry in dice.integers(60, size=90)]
    copied(source, tmp_path / "out.root", chosen)
    got = read(tmp_path / "out.root", images=["wire"], rois=["croi"])
    for entry, one in zip(chosen, got, strict=True):
        assert one.rois == events[entry].rois
        assert all(map(same_image, events[entry].images["wire"], one.images["wire"]))
        assert len(events[entry].images["wire"]) == len(one.images["wire"])


def test_copy_input_of_several_whole_files(tmp_path: Path) -> None:
    files = [data("larcv1_wire_croi_5ev.root")] * 2
    path = tmp_path / "out.root"
    with (
        open_reader(files, tick_order="backward", images=["wire"]) as reader,
        open_writer(path, copy_input=reader) as writer,
    ):
        for entry in range(10):
            writer.write(Event(reader.rse(entry), {"score": ()}), entry=entry)
    got = read(path, images=["wire"])
    assert len(got) == 10
    with open_reader(files, tick_order="backward", images=["wire"]) as reader:
        assert all(map(same, reader, got))


def test_copy_input_of_no_events(tmp_path: Path) -> None:
    path = tmp_path / "out.root"
    with (
        open_reader(data("larcv1_wire_croi_5ev.root"), tick_order="backward") as reader,
        open_writer(path, copy_input=reader, images=["score"]),
    ):
        pass
    assert {(p.name, p.entries) for p in products(path)} == {
        ("image2d_score", 0),
        ("image2d_wire", 0),
        ("partroi_croi", 0),
    }


ODD = ["run#5", "a?x=1", "$HOME", "~", "ü b", "[1]*", "c;1", "%23"]


@pytest.mark.parametrize("odd", ODD)
def test_no_path_is_taken_for_a_url(odd: str, tmp_path: Path) -> None:
    folder = tmp_path / odd
    folder.mkdir()
    for earlier in {odd.partition(mark)[0] for mark in "#?*"} - {odd, ""}:
        (tmp_path / earlier).write_text("precious")
    events = [event(number) for number in range(3)]
    source = write(folder / f"{odd}.root", events)
    for chosen in ([0, 1, 2], [2, 0]):
        target = folder / f"out{odd}.root"
        with (
            open_reader(source, tick_order="backward") as reader,
            open_writer(target, copy_input=reader, force=True) as writer,
        ):
            for entry in chosen:
                writer.write(Event(reader.rse(entry), {"score": ()}), entry=entry)
        got = read(target, images=["wire"])
        assert all(map(same, [events[entry] for entry in chosen], got))
    assert sorted(path.name for path in folder.iterdir()) == sorted([source.name, target.name])
    others = [path for path in tmp_path.iterdir() if path.is_file()]
    assert all(path.read_text() == "precious" for path in others)


def test_copy_input_wants_larcv1_files_and_says_so_before_the_start(tmp_path: Path) -> None:
    with open_writer(tmp_path / "in.h5") as writer:
        writer.write(event())
    with (
        open_reader(tmp_path / "in.h5", tick_order="backward") as reader,
        pytest.raises(WriteError, match=r"want only LArCV1 files .* got .*in.h5"),
    ):
        open_writer(tmp_path / "out.root", copy_input=reader)
    assert not (tmp_path / "out.root").exists()


def test_a_producer_with_a_dot_comes_back(tmp_path: Path) -> None:
    """ROOT puts the branch's name before its members' if it has a dot."""
    one = event(rois=2)
    dotted = Event(one.rse, {"scores.v2": one.images["wire"]}, {"croi.v2": one.rois["croi"]})
    (got,) = read(write(tmp_path / "out.root", [dotted]), rois=["croi.v2"])
    assert same(got, dotted)


def test_another_events_entry_is_not_copied(tmp_path: Path) -> None:
    with open_reader(data("larcv1_wire_croi_5ev.root"), tick_order="backward") as reader:
        with open_writer(tmp_path / "a.root", copy_input=reader) as writer:
            one = Event(reader.rse(1), {"score": ()})
            with pytest.raises(ImageError, match=r"a.root entry 0: want the event .* of input en"):
                writer.write(one, entry=0)
            with pytest.raises(WriteError, match="want an input entry with copy_input"):
                writer.write(one)
            writer.write(one, entry=1)
        with open_writer(tmp_path / "b.root") as writer:
            with pytest.raises(WriteError, match="want an input entry with copy_input"):
                writer.write(one, entry=1)
            writer.write(one)


@pytest.mark.parametrize(
    ("rse", "plane", "says"),
    [
        (RSE(-1, 0, 0), 0, "of at least 0"),
        (RSE(0, 2**64, 0), 0, "of at least 0"),
        (RSE(0, 0, 0), 65536, "from 0 to 65535, got 65536"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    rse: RSE, plane: int, says: str, tmp_path: Path
) -> None:
    one = Event(rse, {"wire": (image(plane=plane),)})
    with pytest.raises(ImageError, match=f"out.root entry 0: .*{says}"):
        write(tmp_path / "out.root", [one])
    assert list(tmp_path.iterdir()) == []


def by_hand(root: Any, path: Path, lengths: dict[str, int], pixels: np.ndarray) -> None:
    """A LArCV1 file that our writer refuses to make."""
    file = root.TFile.Open(str(path), "RECREATE")
    where = root.larcv.ImageMeta(7.0, 12.0, 12, 7, 0.0, 12.0, 0)
    for producer, entries in lengths.items():
        tree = root.TTree(f"image2d_{producer}_tree", "", 99, file)
        one = root.larcv.EventImage2D()
        tree.Branch(f"image2d_{producer}_branch", one, 32000, 99)
        for number in range(entries):
            one.set(producer, 1, len(lengths) if producer == "wire" else 2, number)
            one.resize(1)
            one.image(0).set(0, where, pixels.ctypes.data, pixels.size)
            tree.Fill()
    file.Write()
    file.Close()


def test_nan_in_a_file_is_named(tmp_path: Path, root: Any) -> None:
    by_hand(root, tmp_path / "in.root", {"wire": 1}, np.full(84, np.inf, np.float32))
    with pytest.raises(ReadError, match=r"in.root entry 0 image2d_wire: want finite .* got 84"):
        read(tmp_path / "in.root")


def test_pixels_that_are_not_the_metas_are_named(tmp_path: Path, root: Any) -> None:
    by_hand(root, tmp_path / "in.root", {"wire": 1}, np.zeros(83, np.float32))
    with pytest.raises(ReadError, match=r"in.root entry 0 image2d_wire: want 84 pixels, .* got 83"):
        read(tmp_path / "in.root")


def test_trees_of_different_lengths_are_refused(tmp_path: Path, root: Any) -> None:
    path = tmp_path / "in.root"
    by_hand(root, path, {"wire": 2, "score": 1}, np.zeros(84, np.float32))
    with pytest.raises(ReadError, match=r"one length in .*in.root, got .*_wire': 2.*_score': 1"):
        read(path)
    assert len(read(path, images=["wire"])) == 2
    with (
        open_reader(path, tick_order="backward", images=["wire"]) as reader,
        pytest.raises(ReadError, match=r"want 2 entries of each product .*_score': 1"),
    ):
        open_writer(tmp_path / "out.root", copy_input=reader)


def test_trees_of_different_events_are_refused(tmp_path: Path, root: Any) -> None:
    path = tmp_path / "in.root"
    by_hand(root, path, {"wire": 1, "score": 1, "other": 1}, np.zeros(84, np.float32))
    with pytest.raises(ReadError, match=r"want one \(run, subrun, event\) in .*in.root entry 0"):
        read(path)


FULL_DISK = """
import resource, sys
from lartpc import WriteError, open_writer
from tests.support.images import image
from lartpc import Event, RSE
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with open_writer(sys.argv[1]) as writer:
        for number in range(20):
            writer.write(Event(RSE(1, 1, number), {"wire": (image(2, rows=300, cols=400),)}))
except WriteError as error:
    print(error)
"""


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "out.root")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "out.root" in done.stdout, done.stderr
    assert "disk full" in done.stdout
    assert list(tmp_path.iterdir()) == []


WITHOUT_ROOT = """
import sys
from lartpc import LibraryMissing, open_writer
try:
    open_writer(sys.argv[1])
except LibraryMissing as error:
    print(error)
"""


def test_without_root_the_error_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "ROOT.py").write_text("raise ImportError('no such thing here')")
    (tmp_path / "out").mkdir()
    path = os.pathsep.join([str(tmp_path / "without"), str(ROOT)])
    command = [sys.executable, "-c", WITHOUT_ROOT, str(tmp_path / "out" / "out.root")]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert "pip install 'root>=0.1a12'" in done.stdout
    assert "(no such thing here)" in done.stdout
    assert list((tmp_path / "out").iterdir()) == []


FLAT = """
import resource, sys
from lartpc import Event, RSE, open_reader, open_writer
from tests.support.images import image
def resident_mb():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize() / 1e6
seen = []
path = sys.argv[1]
planes = tuple(image(plane, rows=64, cols=64, plane=plane) for plane in range(3))
with open_writer(path) as writer:
    for number in range(3000):
        writer.write(Event(RSE(1, 1, number), {"wire": planes}))
        if number in (1500, 2999):
            seen.append(resident_mb())
with open_reader(path, tick_order="backward") as reader:
    for number, event in enumerate(reader):
        if number in (1500, 2999):
            seen.append(resident_mb())
assert number == 2999
print(*seen)
"""


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("suffix", [".root", ".h5"])
def test_memory_does_not_grow_with_the_number_of_events(suffix: str, tmp_path: Path) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc, to see the memory held")
    command = [sys.executable, "-c", FLAT, str(tmp_path / f"out{suffix}")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    early_write, late_write, early_read, late_read = map(float, done.stdout.split())
    assert late_write - early_write < 25
    assert late_read - early_read < 25


def test_the_meta_of_the_tests_is_exact_in_binary() -> None:
    assert meta().in_order("forward").in_order("backward") == meta()
