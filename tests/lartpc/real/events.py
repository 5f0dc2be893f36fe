"""Random events, and what each library reads of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lartpc import ROI, RSE, Event, Image, ImageMeta, TickOrder
from tests.lartpc.real.dumps import Dump, Numbers, Stored
from tests.support.images import numbers

PLANES = [0, 1, 2, 3, 17, 65535]
SPECIAL = np.array([0, -0.0, 1e-42, -3.4e38, 0.1, 500], np.float32)


def random_meta(
    dice: np.random.Generator, order: TickOrder, rows: int, cols: int, *, plane: int
) -> ImageMeta:
    """Numbers whose sums are rounded, of any sign."""
    width, height = (cols, rows) * dice.uniform(0.01, 9, 2)
    x, y = dice.normal(0, 1e4, 2)
    return ImageMeta(float(width), float(height), rows, cols, float(x), float(y), plane, order)


def random_image(dice: np.random.Generator, order: TickOrder) -> Image:
    rows, cols = (int(side) for side in dice.integers(1, 30, 2))
    pixels = dice.normal(50, 90, (rows, cols)).astype(np.float32)
    pixels[dice.random((rows, cols)) < 0.7] = 0
    pixels.flat[: SPECIAL.size] = SPECIAL[: pixels.size]
    return Image(random_meta(dice, order, rows, cols, plane=int(dice.choice(PLANES))), pixels)


def random_events(
    seed: int, count: int, *, order: TickOrder, producers: Iterable[str], rois: bool = False
) -> list[Event]:
    """Events of which some have no images, and some no regions."""
    dice = np.random.default_rng(seed)

    def some(order: TickOrder) -> tuple[Image, ...]:
        return tuple(random_image(dice, order) for _ in range(dice.integers(5)))

    def region(index: int) -> ROI:
        # LArCV1 refuses a region with two boxes on one plane
        planes = dice.permutation(PLANES)[: dice.integers(5)]
        boxes = tuple(random_meta(dice, order, 4, 3, plane=int(plane)) for plane in planes)
        return ROI(boxes, index, int(dice.choice([0, 7, 65535])))

    return [
        Event(
            RSE(*(int(number) for number in dice.integers(0, 1 << 40, 3))),
            {name: some(order) for name in producers},
            {"croi": tuple(map(region, range(dice.integers(5))))} if rois else {},
        )
        for _ in range(count)
    ]


def dump_of(events: Iterable[Event], library: str) -> Dump:
    """What a library reads of these events, and what it has to be given to write them."""
    several = list(events)
    stored = {"larcv1": _stored1, "larcv2": _stored2, "larcv3": _stored3}[library]
    images = {
        name: [[stored(image) for image in one.images[name]] for one in several]
        for name in several[0].images
    }
    tables: dict[str, list[list[Any]]] = {
        f"partroi_{name}": [[_region(roi) for roi in one.rois[name]] for one in several]
        for name in several[0].rois
    }
    return Dump([list(one.rse) for one in several], images, tables)


def _stored1(image: Image) -> Stored:
    return numbers(image.meta), image.pixels


def _stored2(image: Image) -> Stored:
    forward = image.in_order("forward")
    meta = forward.meta
    corners: Numbers = (meta.min_x, meta.min_y, meta.max_x, meta.max_y)
    numbers2 = (*corners, meta.rows, meta.cols, meta.plane, meta.unit)
    return numbers2, np.ascontiguousarray(forward.pixels)


def _stored3(image: Image) -> Stored:
    forward = image.in_order("forward")
    meta = forward.meta
    axes: Numbers = (meta.rows, meta.cols, meta.height, meta.width, meta.origin_y, meta.origin_x)
    return (*axes, meta.plane), np.ascontiguousarray(forward.pixels)


def _region(roi: ROI) -> list[Any]:
    return [roi.index, roi.mcst_index, [list(numbers(box)) for box in roi.boxes]]
