"""LArCV1 files read exactly as their truth says, and damaged ones refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lartpc import (
    RSE,
    ImageError,
    LArTPCError,
    ProductMissing,
    Reader,
    ReadError,
    open_reader,
    producers,
    products,
)
from tests.support.images import numbers
from tests.support.shared import data

pytestmark = pytest.mark.slow


@pytest.fixture
def wire() -> Iterator[Reader]:
    path = data("larcv1_wire_croi_5ev.root")
    with open_reader(path, tick_order="backward", rois=["croi"]) as reader:
        yield reader


def test_images_metas_and_rois_equal_the_truth(wire: Reader) -> None:
    truth = np.load(data("larcv1_wire_croi_5ev_truth.npz"))
    assert len(wire) == len(truth["rse"])
    for entry, event in enumerate(wire):
        assert event.rse == RSE(*truth["rse"][entry].tolist()) == wire.rse(entry)
        images = event.images["wire"]
        assert np.array_equal([image.pixels for image in images], truth["images"][entry])
        assert [numbers(image.meta) for image in images] == list(map(tuple, truth["meta"]))
        boxes = [[numbers(box) for box in roi.boxes] for roi in event.rois["croi"]]
        assert np.array_equal(boxes, truth["croi"][entry])
        assert [(roi.index, roi.mcst_index) for roi in event.rois["croi"]] == [
            (0, 65535),
            (1, 65535),
        ]


def test_the_pipeline_input_equals_the_golden() -> None:
    golden = np.load(data("larcv1_pipeline_golden.npz"))
    path = data("larcv1_pipeline_in.root")
    with open_reader(path, tick_order="backward", rois=["croi"]) as reader:
        assert reader.images == ("modimg",)
        for entry, event in enumerate(reader):
            assert event.rse == RSE(*golden["rse"][entry].tolist())
            images = event.images["modimg"]
            assert np.array_equal([image.pixels for image in images], golden["images"][entry])
            assert [numbers(image.meta) for image in images] == list(map(tuple, golden["meta"]))
        assert [len(event.rois["croi"]) for event in reader] == [1, 3, 0]


def test_the_real_event_is_what_uproot_reads() -> None:
    path = data("microboone_run6324_larcv.root")
    with open_reader(path, tick_order="forward") as reader:
        event = reader[0]
        assert event.rse == RSE(6324, 94, 4707)
        counts = {name: len(images) for name, images in event.images.items()}
        assert counts == {
            "wire": 3,
            "infill": 3,
            "inlabel": 3,
            "sparseuresnet_prediction": 3,
            "ssnetshower": 0,
            "ssnettrack": 0,
            **{f"ubspurn_plane{plane}": 2 for plane in range(3)},
        }
    with uproot.open(path) as file:
        for name, images in event.images.items():
            if not images:
                continue  # uproot cannot interpret these
            branch = file[f"image2d_{name}_tree/image2d_{name}_branch/_image_v"]
            truth = branch["_image_v._img"].array(library="np")[0]
            for image, flat in zip(images, truth, strict=True):
                assert np.array_equal(image.pixels, np.asarray(flat).reshape(3456, 1008).T)
                assert image.meta.min_y == 2400
                assert image.meta.max_y == 8448
    assert (event.images["wire"][2].pixels != 0).mean() < 0.02


def test_products_are_listed() -> None:
    path = data("microboone_run6324_larcv.root")
    present = products(path)
    assert len(present) == 13
    assert [product.producer for product in present if product.kind == "sparseimg"] == [
        "larflow",
        "sparseuresnetout",
    ]
    assert present[0][:3] == ("image2d", "wire", 1)
    assert present[0].bytes > 500_000
    assert producers(path)[:3] == ("wire", "ssnetshower", "ssnettrack")


def test_several_files_are_one_and_any_entry_can_be_read(wire: Reader) -> None:
    path = data("larcv1_wire_croi_5ev.root")
    names = [event.rse for event in wire]
    with open_reader([path] * 3, tick_order="backward") as reader:
        assert len(reader) == 15
        assert reader.sizes == (5, 5, 5)
        assert [event.rse for event in reader.events(4, 11)] == [names[i % 5] for i in range(4, 11)]
        for entry in (14, 0, 7, 7, 3):
            assert reader[entry].rse == names[entry % 5]
            assert reader.locate(entry) == (path, entry % 5)
        assert [event.rse for event in reader.events(-2)] == names[3:]
        with pytest.raises(IndexError, match="below 15, got 15"):
            reader[15]


def test_a_missing_producer_is_named_with_those_that_there_are() -> None:
    path = data("larcv1_wire_croi_5ev.root")
    with pytest.raises(ProductMissing, match=r"5ev.root: want image2d_ware, got .*\['wire'\]"):
        open_reader(path, tick_order="backward", images=["ware"])
    with pytest.raises(ProductMissing, match=r"want partroi_roi, got only partroi of \['croi'\]"):
        open_reader(path, tick_order="backward", rois=["roi"])


def test_a_tick_order_has_to_be_said() -> None:
    with pytest.raises(TypeError, match="tick_order"):
        open_reader("x.root")  # type: ignore[call-arg]
    with pytest.raises(ImageError, match="got 'guess'"):
        open_reader("x.root", tick_order="guess")  # type: ignore[arg-type]


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"cannot read .*absent.root: No such file"):
        open_reader(tmp_path / "absent.root", tick_order="backward")
    with pytest.raises(ReadError, match=r"want a regular file, got the directory"):
        open_reader(tmp_path, tick_order="backward")
    for content in (b"", b"PK\3\4", b"ro"):
        (tmp_path / "odd.root").write_bytes(content)
        with pytest.raises(ReadError, match=r"want a ROOT or HDF5 file, got .*odd.root"):
            open_reader(tmp_path / "odd.root", tick_order="backward")
    with pytest.raises(ReadError, match="at least one file"):
        open_reader([], tick_order="backward")


def read_all(path: Path) -> int:
    """How many events can be read before the reader's own error; any other error gets out."""
    read = 0
    report = str(path)
    try:
        with open_reader(path, tick_order="backward", images=["wire"], rois=["croi"]) as reader:
            for _ in reader:
                read += 1
    except LArTPCError as error:
        report = str(error)
    assert str(path) in report
    return read


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = data("larcv1_wire_croi_5ev.root").read_bytes()
    cut = tmp_path / "cut.root"
    for size in (4, 5, 64, 100, 300, 5000, len(whole) // 2, len(whole) - 3000, len(whole) - 1):
        cut.write_bytes(whole[:size])
        assert read_all(cut) < 5


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_damaged_file_is_refused_or_read(tmp_path: Path, draws: st.DataObject) -> None:
    whole = bytearray(data("larcv1_wire_croi_5ev.root").read_bytes())
    for _ in range(draws.draw(st.integers(1, 8))):
        # the header, the small baskets and the trees' own records lie at the two ends
        near = draws.draw(st.sampled_from([0, len(whole) - 20_000]))
        whole[near + draws.draw(st.integers(0, 19_999))] = draws.draw(st.integers(0, 255))
    path = tmp_path / "damaged.root"
    path.write_bytes(whole)
    assert read_all(path) <= 5


def test_a_file_of_other_trees_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.root"
    with uproot.recreate(path) as file:
        for name in ("image2d_wire_tree", "notes"):
            file.mktree(name, {"x": "i4"}).extend({"x": np.arange(3, dtype="i4")})
    with pytest.raises(
        ReadError, match=r"plain.root image2d_wire: want LArCV1's class larcv::Event"
    ):
        open_reader(path, tick_order="backward")
    assert [product.name for product in products(path)] == ["image2d_wire"]
