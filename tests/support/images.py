"""Events that the tests make themselves, and how two are compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lartpc import ROI, RSE, Event, Image, ImageMeta, TickOrder
from lartpc.crops import chain


def meta(
    plane: int = 0, rows: int = 12, cols: int = 7, tick_order: TickOrder = "backward"
) -> ImageMeta:
    """Fractional, negative, exact in binary, and different on each plane."""
    return ImageMeta(
        width=cols * 0.5 * (plane + 1),
        height=rows * 6.0,
        rows=rows,
        cols=cols,
        origin_x=-36.5 + plane,
        origin_y=8448.25,
        plane=plane,
        tick_order=tick_order,
    )


def image(seed: int = 0, **of_meta: int) -> Image:
    where = meta(**of_meta)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, 50, (where.rows, where.cols)) * (rng.random() < 0.7)
    return Image(where, pixels.astype(np.float32))


def event(number: int = 0, *, images: int = 3, rois: int = 0) -> Event:
    """An event of producer `wire`, with ROIs of producer `croi` if asked."""
    planes = tuple(image(100 * number + plane, plane=plane) for plane in range(images))
    boxes = tuple(meta(plane, rows=4, cols=3) for plane in range(3))
    regions = tuple(ROI(boxes, index, 65535 - index) for index in range(rois))
    return Event(RSE(7, number // 10, number), {"wire": planes}, {"croi": regions} if rois else {})


def numbers(where: ImageMeta) -> tuple[float, ...]:
    """A meta as the truth files have it."""
    return (
        *(where.width, where.height, where.rows, where.cols),
        *(where.origin_x, where.origin_y, where.plane),
    )


def same_image(one: Image, other: Image) -> bool:
    return one.meta == other.meta and np.array_equal(one.pixels, other.pixels)


def same(one: Event, other: Event) -> bool:
    """Whether two events are equal to the last bit."""
    return (
        one.rse == other.rse
        and dict(one.rois) == dict(other.rois)
        and list(one.images) == list(other.images)
        and all(
            len(one.images[name]) == len(other.images[name])
            and all(map(same_image, one.images[name], other.images[name]))
            for name in one.images
        )
    )


def cut_all(images: Sequence[Image], asked: chain.CropPlan) -> list[list[Image]]:
    """The crops of each plane of an event whose images these are."""
    return [
        [chain.cut(image, crop) for crop in plane.crops]
        for image, plane in zip(images, asked.planes, strict=True)
    ]
