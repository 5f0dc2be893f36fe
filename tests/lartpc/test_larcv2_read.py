"""LArCV2 files read exactly: the real LArCV2's, and files of its classes, old and new."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lartpc import RSE, Image, ProductMissing, ReadError, open_reader, open_writer, products
from lartpc.files import provenance
from lartpc.files.open import format_of
from lartpc.files.ticks import turned_to
from lartpc.image import ImageMeta, Pixels, TickOrder
from tests.support import larcv2_files
from tests.support.images import same_image
from tests.support.optional import optional
from tests.support.shared import data

pytestmark = pytest.mark.slow

REAL = "larcv2_wire_5ev.root"
IMAGES = ("wire", "sparse2d:wire", "cluster2d:wire")
SIX = (5, 0, 3, 1, 4, 2)


def numbers(meta: ImageMeta) -> tuple[float, ...]:
    """What LArCV2 stores of a meta: projection, unit, rows, columns and both corners."""
    edges = (meta.min_x, meta.min_y, meta.max_x, meta.max_y)
    return (meta.plane, meta.unit, meta.rows, meta.cols, *edges)


def check(images: tuple[Image, ...], order: TickOrder) -> Iterator[tuple[Image, Pixels]]:
    """Yield each image with its pixels in LArCV2's order; its origin is the corner at row 0."""
    for image in images:
        meta = image.meta
        assert meta.tick_order == order
        assert meta.origin_x == meta.min_x
        assert meta.origin_y == (meta.max_y if order == "backward" else meta.min_y)
        assert (meta.width, meta.height) == (meta.max_x - meta.min_x, meta.max_y - meta.min_y)
        yield image, image.pixels[::-1] if order == "backward" else image.pixels


# The real LArCV2's file.


@pytest.mark.parametrize("order", ["backward", "forward"])
@pytest.mark.parametrize("name", IMAGES)
def test_images_and_metas_equal_the_truth(name: str, order: TickOrder) -> None:
    truth = np.load(data("larcv2_wire_5ev_truth.npz"))
    with open_reader(data(REAL), tick_order=turned_to(order), images=[name]) as reader:
        assert len(reader) == len(truth["rse"])
        for entry, event in enumerate(reader):
            assert event.rse == RSE(*truth["rse"][entry].tolist()) == reader.rse(entry)
            metas = [meta for meta in truth["meta"].tolist() if meta[0] == entry]
            assert [numbers(image.meta) for image in event.images[name]] == [
                tuple(meta[2:]) for meta in metas
            ]
            assert reader.metas_at(entry)[name] == tuple(i.meta for i in event.images[name])
            for index, (_, pixels) in enumerate(check(event.images[name], order)):
                assert np.array_equal(pixels, truth[f"wire_{entry}_{index}"])


def test_particles_and_boxes_are_regions_with_their_projections() -> None:
    truth = np.load(data("larcv2_wire_5ev_truth.npz"))
    rois = ["particle:mcst", "bbox2d:croi", "croi"]
    with open_reader(data(REAL), tick_order="auto", images=(), rois=rois) as reader:
        for entry, event in enumerate(reader):
            got = [
                (entry, roi.index, box.plane, box.min_x, box.min_y, box.max_x, box.max_y)
                for roi in event.rois["particle:mcst"]
                for box in roi.boxes
            ]
            assert got == [tuple(b) for b in truth["particle_bb2d"].tolist() if b[0] == entry]
            assert len(event.rois["particle:mcst"]) == sum(truth["particle"][:, 0] == entry)
            boxes = [box for roi in event.rois["croi"] for box in roi.boxes]
            assert [(*(box.corners or ()), box.plane) for box in boxes] == [
                tuple(box[1:]) for box in truth["croi"].tolist() if box[0] == entry
            ]
            assert event.rois["croi"] == event.rois["bbox2d:croi"]


def test_an_order_that_the_user_asks_for_overrules_the_definition_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = data(REAL)
    with (
        open_reader(path, tick_order="backward", images=["wire_back"]) as overruled,
        open_reader(path, tick_order="auto", images=["wire"]) as defined,
    ):
        (record,) = (one for one in caplog.records if one.levelname == "WARNING")
        assert str(path) in record.getMessage()
        assert overruled.overrules
        assert not defined.overrules
        for back, wire in zip(overruled, defined, strict=True):
            assert back.images["wire_back"] or not wire.images["wire"]
            for one, other in zip(back.images["wire_back"], wire.images["wire"], strict=True):
                assert one.meta == other.meta
                assert np.array_equal(one.pixels, other.pixels)
        # what was chosen before is not taken for a wish of the user
        with open_reader(path, tick_order=defined.tick_choice, images=["wire"]) as again:
            assert same_image(again[0].images["wire"][0], defined[0].images["wire"][0])
        with open_reader(path, tick_order=overruled.tick_choice, images=["wire_back"]) as again:
            assert again.overrules
    assert sum(record.levelname == "WARNING" for record in caplog.records) == 1


# Files of LArCV2's classes that the tests write.


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    optional("ROOT")
    folder = tmp_path_factory.mktemp("larcv2")
    return {
        layout: larcv2_files.write(folder / f"{layout}.root", layout, SIX)
        for layout in ("new", "old")
    }


@pytest.mark.parametrize("layout", ["new", "old"])
@pytest.mark.parametrize("name", [*IMAGES, "wire.back"])
def test_files_of_old_and_new_classes_are_read_exactly(
    files: dict[str, Path], layout: str, name: str
) -> None:
    with open_reader(files[layout], tick_order="forward", images=[name]) as reader:
        for entry, event in enumerate(reader):
            assert event.rse == larcv2_files.RSES[entry]
            made = larcv2_files.images(entry, SIX)
            assert len(made) == len(event.images[name]) == (6 if entry != 1 else 0)
            for one, (image, pixels) in zip(
                made, check(event.images[name], "forward"), strict=True
            ):
                want = (one.projection, one.unit, *one.pixels.shape, *one.corners)
                assert numbers(image.meta) == want
                assert np.array_equal(pixels, one.pixels[::-1] if "back" in name else one.pixels)


@pytest.mark.parametrize("layout", ["new", "old"])
def test_boxes_of_old_and_new_particles_are_read_and_gaps_left_out(
    files: dict[str, Path], layout: str
) -> None:
    rois = ("particle:mcst", "bbox2d:croi")
    with open_reader(files[layout], tick_order="auto", images=(), rois=rois) as reader:
        for entry, event in enumerate(reader):
            made = larcv2_files.particles(larcv2_files.images(entry, SIX))
            want = [[box for box in boxes if box[0] != 65535] for boxes in made]
            got = [[(b.plane, b.corners) for b in r.boxes] for r in event.rois["particle:mcst"]]
            assert got == want
            assert {roi.mcst_index for roi in event.rois["particle:mcst"]} <= {65535}
            flat = [(b.plane, b.corners) for r in event.rois["bbox2d:croi"] for b in r.boxes]
            assert flat == [box for boxes in want for box in boxes]


def test_each_product_says_that_it_is_of_larcv2(files: dict[str, Path]) -> None:
    assert {product.format for product in products(files["new"])} == {"larcv2"}
    assert format_of(files["old"]) == "larcv2"


def test_a_missing_product_is_named_with_those_that_are_there(files: dict[str, Path]) -> None:
    def opened(images: list[str], rois: Sequence[str] = ()) -> None:
        open_reader(files["new"], tick_order="auto", images=images, rois=rois).close()

    with pytest.raises(ProductMissing, match=r"partroi_mc, got .*particle:mcst, bbox2d:croi"):
        opened([], ["mc"])
    with pytest.raises(ProductMissing, match="sparse2d_wires, got only sparse2d of"):
        opened(["sparse2d:wires"])
    with pytest.raises(ProductMissing, match="KIND:PRODUCER"):
        opened(["sparse3d:wire"])


def test_voxels_that_do_not_fit_the_meta_are_refused_before_memory_is_allocated(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lartpc.files.root import larcv2_trees

    pixels = sum(one.pixels.size for one in larcv2_files.images(0, SIX))
    monkeypatch.setattr(larcv2_trees, "MAX_PIXELS", pixels - 1)
    with (
        open_reader(files["new"], tick_order="auto", images=["sparse2d:wire"]) as reader,
        pytest.raises(ReadError, match=rf"entry 0 sparse2d_wire: want at most .* got {pixels}"),
    ):
        reader[0]
    monkeypatch.undo()
    metas = larcv2_trees.metas

    def shrunk(*arguments: object) -> list[ImageMeta]:
        return [replace(meta, rows=2, cols=2) for meta in metas(*arguments)]  # type: ignore[arg-type]

    monkeypatch.setattr(larcv2_trees, "metas", shrunk)
    for name in ("sparse2d:wire", "cluster2d:wire"):
        with (
            open_reader(files["new"], tick_order="auto", images=[name]) as reader,
            pytest.raises(ReadError, match="want voxels below 4, rows x cols of the meta, got"),
        ):
            reader[0]


@pytest.mark.parametrize("order", ["backward", "forward"])
def test_files_of_three_families_are_read_as_one_sequence_in_one_order(
    files: dict[str, Path], tmp_path: Path, root: object, order: TickOrder
) -> None:
    with open_reader(files["new"], tick_order=turned_to(order), images=["wire"]) as reader:
        events = list(reader)
    paths = [tmp_path / "larcv1.root", files["new"], tmp_path / "larcv3.h5"]
    for path in (paths[0], paths[2]):
        with open_writer(path) as writer:
            for event in events:
                writer.write(event)
    provenance.append(paths[0], [json.dumps({"tick_order": order})])
    with open_reader(paths, tick_order="auto", images=["wire"]) as reader:
        assert reader.tick_order == order
        assert reader.formats == ("larcv1", "larcv2", "larcv3")
        for number, event in enumerate(reader):
            want = events[number % len(events)]
            assert event.rse == want.rse
            for one, other in zip(event.images["wire"], want.images["wire"], strict=True):
                assert np.array_equal(one.pixels, other.pixels)
                assert one.meta.plane == other.meta.plane
                edges = numbers(one.meta)[-4:]
                # LArCV1 and LArCV3 store one corner and the size
                assert edges == pytest.approx(numbers(other.meta)[-4:], rel=1e-15)
