"""The real LArCV2: what it reads of its own files and of ours, and its images in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lartpc import Event, ImageMeta, open_reader, open_writer
from tests.lartpc.real.dumps import Dump, Stored, check_equal
from tests.lartpc.real.events import dump_of, random_events
from tests.support.real_larcv import RealLArCV
from tests.support.shared import data, shared

pytestmark = pytest.mark.slow

GOLDEN = "larcv2_wire_5ev"
PRODUCERS = ("wire", "uburn_plane2")
OTHERS = ["particle_mcst", "bbox2d_croi", "sparse2d_wire", "cluster2d_wire"]
THEIRS = range(30, 33)
"""The seeds of files that the real LArCV2 writes."""
LARCV1 = random_events(4, 6, order="backward", producers=["wire"])

EVENTS = random_events(5, 20, order="forward", producers=PRODUCERS)
"""Events that we write. Their sums are rounded, so a corner is not exactly origin + size."""
WRITE = """
from lartpc import open_writer
from tests.lartpc.test_real_larcv2 import EVENTS
with open_writer({target!r}, format="larcv2") as writer:
    for event in EVENTS:
        writer.write(event)
"""

COPY = """
from lartpc import Event, open_reader, open_writer
with (
    open_reader({source!r}, tick_order="auto", images=["wire"]) as reader,
    open_writer({target!r}, copy_input=reader) as writer,
):
    for entry in {chosen!r}:
        event = reader[entry]
        writer.write(Event(event.rse, {{"score": event.images["wire"][:1]}}), entry=entry)
"""
CHOSEN = {"whole": list(range(12)), "chosen": [7, 0, 3, 3, 11, 4]}


def their_dump(seed: int) -> Dump:
    """Images with any corners and units, particles with any boxes, and boxes."""
    dice = np.random.default_rng(seed)
    dump = dump_of(random_events(seed, 12, order="forward", producers=PRODUCERS), "larcv2")
    for entries in dump.images.values():
        entries[:] = [[_any_corners(dice, one) for one in several] for several in entries]
    dump.tables["bbox2d_croi"] = [_boxes(dice) for _ in dump.rse]
    dump.tables["particle_mcst"] = [
        [[k, 13 * k, 65535 - k, k % 3, k / 7, "primary"[:k], _boxes(dice)] for k in range(3)]
        for _ in dump.rse
    ]
    return dump


def _any_corners(dice: np.random.Generator, one: Stored) -> Stored:
    (*_, rows, cols, plane, _), pixels = one
    low = dice.normal(0, 1e4, 2)
    high = low + dice.uniform(1, 500, 2)
    return (*low.tolist(), *high.tolist(), rows, cols, plane, int(dice.integers(3))), pixels


def _boxes(dice: np.random.Generator) -> list[Any]:
    """Some are gaps: corners of 0 and no plane, as LArCV2 leaves them."""
    boxes: list[Any] = []
    for plane in range(dice.integers(4)):
        low = dice.normal(0, 100, 2)
        corners = [*low.tolist(), *(low + dice.uniform(1, 9, 2)).tolist()]
        boxes.append([*corners, plane] if dice.random() < 0.7 else [0.0, 0.0, 0.0, 0.0, 65535])
    return boxes


def write(path: Path, events: list[Event], **settings: Any) -> None:
    with open_writer(path, **settings) as writer:
        for one in events:
            writer.write(one)


def read_job(path: Path, dump: Path, images: list[str], others: list[str]) -> dict[str, Any]:
    return {"read": str(path), "dump": str(dump), "images": images, "others": others}


@pytest.fixture(scope="module")
def done(larcv2: RealLArCV, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which one process of LArCV2 has done all its jobs."""
    folder = tmp_path_factory.mktemp("larcv2")
    jobs: list[dict[str, Any]] = []
    for seed in THEIRS:
        path, dump = folder / f"{seed}.root", folder / f"{seed}.npz"
        their_dump(seed).save(dump)
        for order in ("forward", "backward"):
            errors = str(folder / f"{seed}.{order}")
            turned = order == "backward"  # against the definition
            its = {"dump": str(dump), "errors": errors, "turned": turned}
            jobs.append({"objects": order, **its})
        jobs.append({"write": str(path), "dump": str(dump)})
        back = folder / f"{seed}.back.npz"
        jobs.append(read_job(path, back, list(PRODUCERS), OTHERS[:2]))
    write(folder / "larcv1.root", LARCV1)
    write(folder / "ours.root", EVENTS, format="larcv2")
    here = WRITE.format(target=str(folder / "here.root"))
    before = WRITE.format(target=str(folder / "before.root"))
    jobs.append({"run": here, "errors": str(folder / "here")})
    for kind, chosen in CHOSEN.items():
        source, target = str(folder / f"{THEIRS[0]}.root"), folder / f"{kind}.root"
        copied = COPY.format(source=source, target=str(target), chosen=chosen)
        jobs.append({"run": copied, "errors": str(folder / kind)})
        images = ["score", *PRODUCERS]
        jobs.append(read_job(target, folder / f"{kind}.npz", images, OTHERS[:2]))
    for name in ("ours", "here", "before"):
        jobs.append(read_job(folder / f"{name}.root", folder / f"{name}.npz", list(PRODUCERS), []))
    jobs.append(read_job(folder / "larcv1.root", folder / "larcv1.npz", ["wire"], []))
    golden = shared() / "data" / f"{GOLDEN}.root"
    if golden.exists():
        jobs.append(read_job(golden, folder / "golden.npz", ["wire"], OTHERS))
    larcv2.run(*jobs, before=before)
    return folder


def test_larcv2_reads_its_own_file_as_the_truth_says(done: Path) -> None:
    truth = np.load(data(f"{GOLDEN}_truth.npz"))
    got = Dump.load(done / "golden.npz")
    assert got.rse == truth["rse"].tolist()
    metas = {(int(row[0]), int(row[1])): row for row in truth["meta"]}
    assert sum(map(len, got.images["wire"])) == len(metas)
    for (entry, index), (*_, plane, unit, rows, cols, x, y, max_x, max_y) in metas.items():
        numbers, pixels = got.images["wire"][entry][index]
        assert numbers == (x, y, max_x, max_y, rows, cols, plane, unit)
        assert np.array_equal(pixels, truth[f"wire_{entry}_{index}"])
        for kind in ("sparse2d_wire", "cluster2d_wire"):
            its_numbers, instances = got.tables[kind][entry][index]
            assert tuple(its_numbers) == numbers
            flat = np.zeros(pixels.size, np.float32)
            for voxel, value in (pair for instance in instances for pair in instance):
                flat[voxel] = value
            assert np.array_equal(flat, pixels.T.ravel())
    boxes = [
        [entry, number, box[4], *box[:4]]
        for entry, particles in enumerate(got.tables["particle_mcst"])
        for number, particle in enumerate(particles)
        for box in particle[-1]
        if box[4] != 65535
    ]
    assert sorted(boxes) == sorted(truth["particle_bb2d"].tolist())
    croi = [[entry, *box] for entry, rows in enumerate(got.tables["bbox2d_croi"]) for box in rows]
    assert croi == truth["croi"].tolist()


def test_larcv2_reads_our_files(done: Path) -> None:
    check_equal(Dump.load(done / "ours.npz"), dump_of(EVENTS, "larcv2"))


def test_we_write_in_a_process_that_has_loaded_larcv2_or_loads_it_later(done: Path) -> None:
    assert (done / "here").read_text() == ""
    for name in ("here", "before"):
        check_equal(Dump.load(done / f"{name}.npz"), dump_of(EVENTS, "larcv2"))


@pytest.mark.parametrize("seed", THEIRS)
def test_larcv2_reads_what_it_was_asked_to_write(seed: int, done: Path) -> None:
    check_equal(Dump.load(done / f"{seed}.back.npz"), their_dump(seed))


@pytest.mark.parametrize("seed", THEIRS)
def test_we_read_the_files_of_larcv2(seed: int, done: Path) -> None:
    want = their_dump(seed)
    rois = ["particle:mcst", "bbox2d:croi"]
    with open_reader(done / f"{seed}.root", tick_order="auto", rois=rois) as reader:
        events = list(reader)
    images = [Event(one.rse, {name: one.images[name] for name in PRODUCERS}) for one in events]
    check_equal(dump_of(images, "larcv2"), Dump(want.rse, want.images))
    for entry, one in enumerate(events):
        boxes = {
            name: [[_box(box) for box in roi.boxes] for roi in one.rois[name]] for name in rois
        }
        particles = want.tables["particle_mcst"][entry]
        assert boxes["particle:mcst"] == [_without_gaps(row[-1]) for row in particles]
        croi = [box for its in boxes["bbox2d:croi"] for box in its]
        assert croi == _without_gaps(want.tables["bbox2d_croi"][entry])


def _box(meta: ImageMeta) -> list[float]:
    return [meta.min_x, meta.min_y, meta.max_x, meta.max_y, meta.plane]


def _without_gaps(boxes: list[list[float]]) -> list[list[float]]:
    return [box for box in boxes if box[-1] != 65535]


@pytest.mark.parametrize("kind", CHOSEN)
def test_larcv2_reads_images_particles_and_boxes_that_we_copied(kind: str, done: Path) -> None:
    assert (done / kind).read_text() == ""
    source, chosen = their_dump(THEIRS[0]), CHOSEN[kind]
    images = {**source.images, "score": [several[:1] for several in source.images["wire"]]}
    want = Dump(
        [source.rse[entry] for entry in chosen],
        {name: [entries[entry] for entry in chosen] for name, entries in images.items()},
        {name: [rows[entry] for entry in chosen] for name, rows in source.tables.items()},
    )
    check_equal(Dump.load(done / f"{kind}.npz"), want)


@pytest.mark.parametrize("order", ["forward", "backward"])
@pytest.mark.parametrize("seed", THEIRS)
def test_images_of_larcv2_in_memory_become_ours_and_back(seed: int, order: str, done: Path) -> None:
    assert (done / f"{seed}.{order}").read_text() == ""


def test_larcv2_opens_a_larcv1_image_with_an_empty_box(done: Path) -> None:
    """docs/files.md says so: neither library can tell the other's images."""
    got = Dump.load(done / "larcv1.npz")
    assert got.rse == [list(one.rse) for one in LARCV1]
    for several, one in zip(got.images["wire"], LARCV1, strict=True):
        for (numbers, pixels), image in zip(several, one.images["wire"], strict=True):
            assert numbers == (0, 0, 0, 0, *pixels.shape, 65535, 0)
            assert np.array_equal(pixels, image.pixels)
