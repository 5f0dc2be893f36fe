"""Plans and what is stitched of their answers: tiles, whole images, errors that say where."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lartpc import ROI, Event, Image, ImageError, ParameterError, ProductMissing, TickOrder
from lartpc.crops.chain import (
    Croi,
    CropPlan,
    Mode,
    Scores,
    Tiles,
    Whole,
    cut,
    mask,
    plan,
    stitch,
    threshold,
)
from lartpc.crops.tiles import spans
from tests.support.images import cut_all, event, meta, same_image


def sparse(rows: int, cols: int, order: TickOrder = "backward", seed: int = 1) -> Image:
    """A few pixels above and below the threshold and the ceiling."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(-50, 700, (rows, cols)) * (rng.random((rows, cols)) < 0.02)
    return Image(meta(2, rows, cols, order), pixels.astype(np.float32))


def of(*images: Image, rois: tuple[ROI, ...] = ()) -> Event:
    return Event(event().rse, {"wire": images}, {"croi": rois})


def echoed(image: Image, asked: CropPlan) -> list[list[Scores]]:
    """A network that answers what it is asked about this image, and twice that."""
    (crops,) = cut_all([image], asked)
    return [[np.stack([crop.pixels, 2 * crop.pixels]) for crop in crops]]


@st.composite
def tilings(draw: st.DrawFn) -> Tiles:
    divisor = draw(st.integers(1, 5))
    size = divisor * draw(st.integers(1, 6))
    return Tiles(size, draw(st.integers(0, size - 1)), divisor)


pixels = st.integers(1, 90)


@given(pixels, tilings())
def test_tiles_keep_every_pixel_once_and_lie_on_the_image(length: int, tiles: Tiles) -> None:
    size, overlap, divisor = tiles.size, tiles.overlap, tiles.divisor
    along = spans(length, size=size, overlap=overlap, divisor=divisor)
    assert [n for span in along for n in range(length)[span.kept()]] == list(range(length))
    for span in along:
        assert span.size % divisor == 0
        assert span.start <= span.first < span.end <= span.start + span.size
        # what is kept is the middle: half of the overlap lies around it, but at the borders
        assert span.first == 0 or span.first - span.start >= overlap // 2
        assert span.end == length or span.start + span.size - span.end >= overlap // 2
    if length > size:
        assert {span.size for span in along} == {size}
        assert (along[0].start, along[-1].start) == (0, length - size)
        assert len(along) == 1 + -((size - length) // (size - overlap))  # no more than it takes
    else:
        assert along[0].size - length < divisor


@given(pixels, pixels, tilings(), st.sampled_from(["backward", "forward"]), st.integers(0, 99))
def test_echoed_tiles_are_the_thresholded_image_to_the_bit(
    rows: int, cols: int, tiles: Tiles, order: TickOrder, seed: int
) -> None:
    image = sparse(rows, cols, order, seed)
    asked = plan(of(image), tiles, images="wire")
    for crop in cut_all([image], asked)[0]:
        assert crop.meta.tick_order == "backward"
        assert crop.pixels.any()
    ((shower, track),) = stitch(asked, echoed(image, asked))
    adc = threshold(image.pixels)
    assert same_image(shower, Image(image.meta, adc))
    assert same_image(track, Image(image.meta, 2 * adc))


def test_a_tile_whose_middle_holds_no_charge_is_skipped_and_its_scores_are_0() -> None:
    pixels = np.zeros((16, 40), np.float32)
    pixels[3, 2] = 10
    pixels[3, 20] = 9.99
    pixels[3, 13] = 11  # in the second tile too, but not in its middle
    image = Image(meta(0, 16, 40), pixels)
    (plane,) = plan(of(image), Tiles(16, 4, 4), images="wire").planes
    assert [crop.onto for crop in plane.crops] == [(slice(0, 16), slice(0, 14))]
    ((shower, _),) = stitch(
        plan(of(image), Tiles(16, 4, 4), images="wire"), [[np.ones((2, 16, 16))]]
    )
    assert shower.pixels.sum() == 16 * 14
    blank = of(Image(image.meta, np.zeros_like(pixels)))
    ((none, _),) = stitch(plan(blank, Tiles(16, 4, 4), images="wire"), [[]])
    assert not none.pixels.any()


def test_a_crops_meta_says_where_its_pixels_lie_padding_included() -> None:
    image = sparse(30, 50)
    (plane,) = plan(of(image), Tiles(32, 8, 32), images="wire").planes
    first, last = (crop.meta for crop in plane.crops)
    assert (first.rows, first.cols, last.cols) == (32, 32, 32)
    assert (first.min_x, first.max_y) == (image.meta.min_x, image.meta.max_y)
    assert (last.max_x, last.max_y) == (image.meta.max_x, image.meta.max_y)
    assert first.min_y == image.meta.min_y - 2 * image.meta.pixel_height
    assert not cut(image, plane.crops[0]).pixels[30:].any()


@pytest.mark.parametrize("order", ["backward", "forward"])
def test_a_whole_image_is_one_crop_and_keeps_its_meta(order: TickOrder) -> None:
    image = sparse(64, 96, order)
    asked = plan(of(image), Whole(32), images="wire")
    (crop,) = asked.planes[0].crops
    assert crop.meta == image.meta.in_order("backward")
    ((shower, _),) = stitch(asked, echoed(image, asked))
    assert same_image(shower, Image(image.meta, threshold(image.pixels)))


def test_where_crops_overlap_the_later_one_wins() -> None:
    image = sparse(40, 60)
    part = image.meta.part
    boxes = [part(0, 0, rows=20, cols=24), part(10, 12, rows=20, cols=20)]
    rois = tuple(ROI((item,), number) for number, item in enumerate(boxes))
    asked = plan(of(image, rois=rois), Croi(size=24, min_overlap=0.9), images="wire")
    answers = [np.full((2, 24, 24), number + 1, np.float16) for number in range(2)]
    ((shower, track),) = stitch(asked, [answers])
    want = np.zeros((34, 36), np.float32)
    want[:24, :24] = 1
    want[10:, 12:] = 2
    assert np.array_equal(shower.pixels, want)
    assert same_image(track, shower)
    assert shower.meta == part(0, 0, rows=34, cols=36)


def test_rois_of_simulated_particles_are_skipped() -> None:
    image = sparse(40, 60)
    truth = ROI((image.meta,), 0, mcst_index=0)
    (plane,) = plan(of(image, rois=(truth,)), Croi(size=24), images="wire").planes
    assert (plane.crops, plane.canvas) == ((), None)


@given(st.floats(-1e3, 1e3, width=32))
def test_the_threshold_takes_faint_pixels_and_caps_bright_ones(adc: float) -> None:
    got = threshold(np.full((1, 2), adc, np.float32)).tolist()
    want = 0.0 if adc < 10 else 500.0 if adc > 500 else adc
    assert got == [[want, want]]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_scores_are_0_where_there_is_no_charge(dtype: str) -> None:
    adc = np.array([[9.99, 10], [0, 500]], np.float32)
    scores = np.array([[[0.1, 0.2], [0.3, 0.4]], [[0.9, 0.8], [0.7, 0.6]]], dtype)
    got = mask(scores, adc)
    assert got.dtype == dtype
    want = [[[0, 0.2], [0, 0.4]], [[0, 0.8], [0, 0.6]]]
    assert np.array_equal(got, np.array(want, dtype))


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        (Whole(32), r"event \(7, 0, 0\) plane 2: want rows and cols that 32 .* got 40 x 60"),
        (Croi(size=64), r"event \(7, 0, 0\) plane 2: want at least 64 x 64 .* got 40 x 60"),
    ],
)
def test_what_does_not_fit_is_named_by_event_and_plane(mode: Mode, says: str) -> None:
    image = sparse(40, 60)
    with pytest.raises(ImageError, match=says):
        plan(of(image, rois=(ROI((image.meta,)),)), mode, images="wire")


def test_a_producer_that_the_event_lacks_is_named() -> None:
    with pytest.raises(ProductMissing, match=r"'modimg' in an event, got \['wire'\]"):
        plan(of(), Whole(), images="modimg")
    with pytest.raises(ProductMissing, match=r"'roi' in an event, got \['croi'\]"):
        plan(of(), Croi("roi"), images="wire")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"size": 500}, "want a tile size that 32 divides (--size), got 500"),
        ({"size": 0}, "want a tile size that 32 divides (--size), got 0"),
        ({"divisor": 0}, "want a tile size that 0 divides (--size), got 512"),
        (
            {"overlap": 512},
            "want an overlap from 0 to below the tile's 512 pixels (--overlap), got 512",
        ),
        ({"overlap": -1}, "got -1"),
    ],
)
def test_tiles_that_no_network_takes_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(says)):
        Tiles(**settings)


def test_answers_that_do_not_fit_are_refused() -> None:
    asked = plan(of(sparse(32, 32)), Whole(32), images="wire")
    with pytest.raises(ImageError, match=r"event \(7, 0, 0\): want 1 planes, got 0"):
        stitch(asked, [])
    with pytest.raises(ImageError, match=r"event \(7, 0, 0\) plane 2: want 1 answers, got 2"):
        stitch(asked, [[np.zeros((2, 32, 32))] * 2])
    with pytest.raises(ImageError, match=r"want \(2, 32, 32\) scores for crop 0, got \(3, 32, 32"):
        stitch(asked, [[np.zeros((3, 32, 32))]])
    with pytest.raises(ImageError, match="plane 2: want finite pixels, got 1024 that are NaN"):
        stitch(asked, [[np.full((2, 32, 32), np.nan)]])
