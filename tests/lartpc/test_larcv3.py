"""LArCV3 files: read as their truth says, written as larcv3 writes them, damaged ones refused."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lartpc import (
    RSE,
    Event,
    ImageError,
    LArTPCError,
    ProductMissing,
    ReadError,
    WriteError,
    open_reader,
    open_writer,
    producers,
    products,
)
from tests.support.images import event, image, numbers, same
from tests.support.shared import data

GROUP = "Data/image2d_wire_group"


def write(path: Path, events: list[Event], **settings: Any) -> Path:
    with open_writer(path, **settings) as writer:
        for one in events:
            writer.write(one)
    return path


def read(path: Path, **settings: Any) -> list[Event]:
    with open_reader(path, tick_order="backward", **settings) as reader:
        return list(reader)


def test_images_and_metas_equal_the_truth() -> None:
    truth = np.load(data("larcv3_wire_5ev_truth.npz"))
    path = data("larcv3_wire_5ev.h5")
    assert producers(path) == ("wire",)
    with open_reader(path, tick_order="backward") as reader:
        assert len(reader) == len(truth["rse"])
        for entry, one in enumerate(reader):
            assert one.rse == RSE(*truth["rse"][entry].tolist())
            images = one.images["wire"]
            assert np.array_equal([item.pixels for item in images], truth["images"][entry])
            assert [numbers(item.meta) for item in images] == list(map(tuple, truth["meta"]))


def test_rows_come_in_the_order_that_was_asked_for() -> None:
    path = data("larcv3_wire_5ev.h5")
    with (
        open_reader(path, tick_order="backward") as backward,
        open_reader(path, tick_order="forward") as forward,
        h5py.File(path) as file,
    ):
        one, other = backward[3].images["wire"][1], forward[3].images["wire"][1]
        assert np.array_equal(one.pixels[::-1], other.pixels)
        first, count, _ = file[f"{GROUP}/image_extents"][10]
        assert np.array_equal(file[f"{GROUP}/images"][first : first + count], other.pixels.ravel())
        assert file[f"{GROUP}/image_meta"][10]["origin"].tolist() == [other.meta.min_y, -36.5]


def test_a_larcv3_file_is_written_as_larcv3_wrote_it(tmp_path: Path) -> None:
    source = data("larcv3_wire_5ev.h5")
    path = write(tmp_path / "out.h5", read(source))
    assert all(
        same(one, other) and same(one, again)
        for one, other, again in zip(read(source), read(path), read(path), strict=True)
    )
    with h5py.File(source) as theirs, h5py.File(path) as ours:
        for name in ("Events/event_id", *(f"{GROUP}/{part}" for part in theirs[GROUP])):
            assert ours[name].dtype == theirs[name].dtype
            assert np.array_equal(ours[name][:], theirs[name][:])
            assert (ours[name].compression, ours[name].compression_opts) == ("gzip", 1)


def test_images_of_any_size_and_number_are_kept(tmp_path: Path) -> None:
    events = [event(0, images=0), event(1), event(2, images=1), event(3, images=0)]
    odd = Event(RSE(1, 2, 3), {"wire": (image(rows=700, cols=900), image(rows=1, cols=1))})
    assert all(map(same, [*events, odd], read(write(tmp_path / "out.h5", [*events, odd]))))


def test_larcv1_becomes_larcv3_without_loss(tmp_path: Path) -> None:
    events = read(data("larcv1_wire_croi_5ev.root"))
    assert all(map(same, events, read(write(tmp_path / "out.hdf5", events))))


def test_copy_input_takes_the_other_images_along(tmp_path: Path) -> None:
    source = write(tmp_path / "in.h5", [event(number, images=number % 3) for number in range(5)])
    path = tmp_path / "out.h5"
    with (
        open_reader([source, source], tick_order="backward") as reader,
        open_writer(path, copy_input=reader) as writer,
    ):
        for entry in (7, 0, 4):
            writer.write(Event(reader.rse(entry), {"score": (image(entry),)}), entry=entry)
        expected = [reader[entry] for entry in (7, 0, 4)]
    assert producers(path) == ("score", "wire")
    assert all(map(same, expected, read(path, images=["wire"])))


def test_what_larcv3_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"out.h5 entry 0: want a LArCV1 file .* for ROIs"):
        write(tmp_path / "out.h5", [event(rois=1)])
    with pytest.raises(WriteError, match="LArCV3 holds none"):
        open_writer(tmp_path / "out.h5", rois=["croi"])
    with (
        open_reader(data("larcv1_wire_croi_5ev.root"), tick_order="backward") as reader,
        pytest.raises(WriteError, match=r"want only images to copy .*partroi_croi"),
    ):
        open_writer(tmp_path / "out.h5", copy_input=reader)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rse", "plane", "says"),
    [
        (RSE(-1, 0, 0), 0, "from 0 to 9223372036854775807"),
        (RSE(0, 2**63, 0), 0, "from 0 to 9223372036854775807"),
        (RSE(0, 0, 0), 65536, "from 0 to 65535, got 65536 in wire"),
        (RSE(0, 0, 0), 2**70, "from 0 to 65535"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    rse: RSE, plane: int, says: str, tmp_path: Path
) -> None:
    one = Event(rse, {"wire": (image(plane=plane),)})
    with pytest.raises(ImageError, match=f"out.h5 entry 0: .*{says}"):
        write(tmp_path / "out.h5", [one])
    assert list(tmp_path.iterdir()) == []


def test_the_largest_numbers_come_back(tmp_path: Path) -> None:
    one = Event(RSE(2**63 - 1, 0, 2**63 - 1), {"wire": (image(plane=65535),)})
    assert same(one, read(write(tmp_path / "out.h5", [one]))[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"images": 1, "rows": 1 << 15}, "got 1 of 1073741824"),
        ({"images": 1 << 10, "rows": 1 << 10}, "got 1024 of 34359738368"),
        ({"images": 1 << 31, "rows": 1}, "got 2147483648 of 0"),
    ],
    ids=str,
)
def test_a_small_file_that_claims_much_is_refused_before_it_is_held(
    claims: dict[str, int], says: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "in.h5", [event()])
    count, rows = claims["images"], claims["rows"]
    with h5py.File(path, "r+") as file:
        group = file[GROUP]
        for name, length in (("image_extents", count), ("image_meta", count), ("images", 1 << 40)):
            group[name].resize(length, axis=0)
        group["extents"][0] = (0, count)
        for at in range(min(count, 1 << 10)):
            group["image_extents"][at] = (0, rows << 15, at)
            meta = group["image_meta"][at]
            meta["number_of_voxels"] = (rows, 1 << 15)
            group["image_meta"][at] = meta
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(ReadError, match=f"entry 0 image2d_wire: want at most .* {says}"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_missing_product_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    path = write(tmp_path / "in.h5", [event()])
    with pytest.raises(ProductMissing, match=r"in.h5: want image2d_ware, got .*\['wire'\]"):
        open_reader(path, tick_order="backward", images=["ware"])
    with pytest.raises(ProductMissing, match=r"want partroi_croi"):
        open_reader(path, tick_order="backward", rois=["croi"])


def spoil(name: str, **change: Any) -> Any:
    def change_it(file: Any) -> None:
        rows = file[name][:]
        for field, value in change.items():
            rows[field][1] = value
        file[name][:] = rows

    return change_it


def drop(name: str) -> Any:
    return lambda file: file.__delitem__(name)


SPOILT: dict[str, Any] = {
    "entry 1 image2d_wire: want .* rows": spoil(f"{GROUP}/extents", first=10**15),
    "entry 0 image2d_wire: want .* pixels, as": spoil(f"{GROUP}/image_extents", N=83),
    "entry 0 image2d_wire: want .* rows in": spoil(f"{GROUP}/image_extents", first=10**9),
    "entry 0 image2d_wire: want 13 x 7": spoil(f"{GROUP}/image_meta", number_of_voxels=(13, 7)),
    "entry 0 image2d_wire: want finite": spoil(f"{GROUP}/image_meta", origin=(np.nan, 0)),
    "image2d_wire: want LArCV3's datasets": drop(f"{GROUP}/images"),
    "want LArCV3's .* got no .'Events/event_id'.": drop("Events"),
    "want LArCV3's .* got no .'Data'.": drop("Data"),
}


@pytest.mark.parametrize("says", SPOILT)
def test_a_file_that_contradicts_itself_is_refused(says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "in.h5", [event(0), event(1)])
    with h5py.File(path, "r+") as file:
        SPOILT[says](file)
    with pytest.raises(ReadError, match=f"in.h5.*{says}"):
        read(path)


def test_nan_in_a_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "in.h5", [event(0), event(1)])
    with h5py.File(path, "r+") as file:
        file[f"{GROUP}/images"][3 * 84 + 5] = np.nan
    with pytest.raises(ReadError, match=r"in.h5 entry 1 image2d_wire: want finite .* got 1 that"):
        read(path)


def test_products_of_different_lengths_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "in.h5", [event(0), event(1)])
    with h5py.File(path, "r+") as file:
        file[f"{GROUP}/extents"].resize(1, axis=0)
    with pytest.raises(ReadError, match=r"in.h5 image2d_wire: want 2 entries, .* got 1"):
        read(path)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_damaged_file_is_refused_or_read(tmp_path: Path, draws: st.DataObject) -> None:
    path = tmp_path / "in.h5"
    if not path.exists():
        write(path, [event(0), event(1)])
    whole = bytearray(path.read_bytes())
    for _ in range(draws.draw(st.integers(1, 8))):
        whole[draws.draw(st.integers(0, len(whole) - 1))] = draws.draw(st.integers(0, 255))
    cut = draws.draw(st.integers(4, len(whole)))
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(whole[:cut])
    report = str(damaged)
    try:
        read(damaged)
    except LArTPCError as error:
        report = str(error)
    assert str(damaged) in report


def test_products_say_their_size(tmp_path: Path) -> None:
    (wire,) = products(write(tmp_path / "in.h5", [event(0), event(1)]))
    assert wire[:3] == ("image2d", "wire", 2)
    assert wire.bytes > 500
