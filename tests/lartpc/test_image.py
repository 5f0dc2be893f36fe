"""Images and their geometry, against what the real LArCV1 printed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lartpc import Image, ImageError, ImageMeta, TickOrder
from tests.support.images import image, meta
from tests.support.shared import data

exact = st.integers(-(2**40), 2**40).map(lambda number: number / 8)
metas = st.builds(
    ImageMeta,
    width=exact.map(abs),
    height=exact.map(abs),
    rows=st.integers(0, 5000),
    cols=st.integers(0, 5000),
    origin_x=exact,
    origin_y=exact,
    plane=st.integers(0, 65535),
    tick_order=st.sampled_from(("backward", "forward")),
)


def test_dump_equals_every_text_that_larcv1_printed() -> None:
    golden = np.load(data("larcv1_pipeline_golden.npz"))
    compared = 0
    for name in golden.files:
        if name.startswith("cropdump_"):
            rows = golden[name.replace("cropdump", "cropmeta")]
            for text, row in zip(golden[name], rows, strict=True):
                width, height, n_rows, n_cols, x, y, plane = row.tolist()
                got = ImageMeta(width, height, int(n_rows), int(n_cols), x, y, int(plane))
                assert got.dump() == str(text)
                compared += 1
    assert compared == 13


@pytest.mark.parametrize(
    ("x", "text"), [(-1200.125, "(-1200.12,"), (1234567.8, "(1.23457e+06,"), (0.0, "(0,")]
)
def test_dump_prints_numbers_as_c_plus_plus_does(x: float, text: str) -> None:
    assert f"Left Top {text}" in ImageMeta(1, 1, 1, 1, x, 0, 0).dump()


def test_dump_is_the_text_of_the_message() -> None:
    full = ImageMeta(3456, 6048, 1008, 3456, 0, 8448, 2)
    assert full.dump() == (
        "Plane 2 (rows,cols) = (1008,3456) ... Left Top (0,8448) ... Right Bottom (3456,2400)\n"
    )


def test_a_forward_image_has_the_same_corners_as_the_backward_one() -> None:
    backward = ImageMeta(3456, 6048, 1008, 3456, 0, 8448, 2)
    forward = ImageMeta(3456, 6048, 1008, 3456, 0, 2400, 2, "forward")
    assert backward.in_order("forward") == forward
    assert forward.in_order("backward") == backward
    assert (forward.min_y, forward.max_y) == (backward.min_y, backward.max_y) == (2400, 8448)
    assert (backward.pixel_width, backward.pixel_height) == (1, 6)


@given(metas)
def test_turning_a_meta_twice_gives_it_back(one: ImageMeta) -> None:
    for order in ("forward", "backward"):
        turned = one.in_order(order)
        assert turned.in_order(one.tick_order) == one
        assert turned.dump() == one.dump()


@pytest.mark.parametrize("order", ["backward", "forward"])
def test_the_box_around_two_parts_is_the_part_that_holds_both(order: TickOrder) -> None:
    whole = meta(2, 12, 7, order)
    one, other = whole.part(2, 1, rows=3, cols=2), whole.part(6, 0, rows=5, cols=4)
    assert one.inclusive(other) == other.inclusive(one) == whole.part(2, 0, rows=9, cols=4)
    assert whole.part(0, 0, rows=12, cols=7) == whole
    assert one.origin_y == whole.origin_y + (-12 if order == "backward" else 12)


def test_a_box_around_parts_loses_no_pixel_to_rounding() -> None:
    whole = ImageMeta(345.6, 100.8, 1008, 3456, 0.3, 844.8, 1)  # tenths are not exact in binary
    for end in range(2, 1008):
        around = whole.part(0, 0, rows=1, cols=1).inclusive(whole.part(end - 1, 7, rows=1, cols=1))
        assert (around.rows, around.cols) == (end, 8)


def test_turning_an_image_flips_its_rows() -> None:
    one = image()
    turned = one.in_order("forward")
    assert np.array_equal(turned.pixels, one.pixels[::-1])
    assert np.array_equal(turned.in_order("backward").pixels, one.pixels)


def test_pixels_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        image().pixels[0, 0] = 1


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.zeros((12, 7)), "float32"),
        (np.zeros((12, 7), ">f4"), "float32"),
        (np.zeros((7, 12), np.float32), r"shape \(12, 7\)"),
        (np.full((12, 7), np.nan, np.float32), "got 84 .* NaN"),
        (np.where(np.arange(84).reshape(12, 7) < 2, np.inf, 0).astype(np.float32), "got 2 .* NaN"),
    ],
)
def test_pixels_that_are_not_an_image_are_refused(pixels: np.ndarray, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        Image(meta(), pixels)


def test_large_finite_pixels_whose_sum_is_not_finite_are_taken() -> None:
    Image(meta(), np.full((12, 7), 3e38, np.float32))


@pytest.mark.parametrize("field", ["width", "height", "origin_x", "origin_y"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_meta_is_finite(field: str, value: float) -> None:
    good = ImageMeta(1.0, 1.0, 1, 1, 0.0, 0.0, 0)
    with pytest.raises(ImageError, match="finite"):
        replace(good, **{field: value})  # type: ignore[arg-type]


def test_an_unknown_tick_order_is_refused() -> None:
    with pytest.raises(ImageError, match="'backward' or 'forward', got 'up'"):
        ImageMeta(1, 1, 1, 1, 0, 0, 0, "up")  # type: ignore[arg-type]


def test_a_meta_without_pixels_has_pixels_of_size_0() -> None:
    empty = ImageMeta(0, 0, 0, 0, 0, 0, 65535)
    assert (empty.pixel_width, empty.pixel_height) == (0, 0)
