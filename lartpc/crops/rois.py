"""Merges overlapping regions of interest, and cuts them into crops of one size. Pure.

Refuses ROIs with too few boxes, boxes that are not on the image, and images smaller than a crop.
Both steps give the same result as LArCV1's (ROIMerger, MultiROICropper), to the bit and in every
corner case. Regions of LArCV2 (`ROI.by_plane`) may lack boxes, and are compared by plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
import numpy.typing as npt

from ..errors import ImageError
from ..image import INVALID_INDEX, ROI, ImageMeta
from .tiles import Region, all_of

Floats = npt.NDArray[np.float32]


def merge_rois(rois: Sequence[ROI], *, min_overlap: float = 0.5) -> tuple[ROI, ...]:
    """Merge ROIs that overlap into fewer, larger ones; the largest comes first.

    The overlap of two ROIs is the mean over their planes of the intersection's area / the smaller
    area. The ROIs are visited from the largest total area down. An ROI that is not taken yet takes
    every other ROI that overlaps *it* by at least `min_overlap`, and grows around them plane by
    plane. This does not chain: an ROI that overlaps only a taken ROI is not merged. An ROI may be
    taken twice. The merged ROI has the index and `mcst_index` of the largest one. Raises
    `ImageError` for ROIs with different numbers of planes.
    ROIs `by_plane` are compared over the planes that both have; without any they do not overlap.
    """
    by_plane = any(roi.by_plane for roi in rois)
    if by_plane:
        rois = [_one_box_a_plane(roi) for roi in rois]
    elif len({len(roi.boxes) for roi in rois}) > 1:
        counts = [len(roi.boxes) for roi in rois]
        raise ImageError(f"want the same number of boxes in every ROI, got {counts}")
    if not rois or not (by_plane or rois[0].boxes):
        return tuple(rois)
    areas, overlaps = _by_plane(rois) if by_plane else _areas_and_overlaps(rois)
    taken: set[int] = set()
    merged = []
    for largest in np.argsort(-areas, kind="stable").tolist():
        if largest in taken:
            continue
        # "not less", as in LArCV1: a box without area overlaps everything by NaN, so it joins
        joins = np.flatnonzero(~(overlaps[largest] < np.float32(max(min_overlap, 0.0)))).tolist()
        taken.update(joins)
        merged.append(_around(rois[largest], [rois[i] for i in joins if i != largest]))
    return tuple(merged)


def _areas_and_overlaps(rois: Sequence[ROI]) -> tuple[Floats, Floats]:
    """Return total areas (n,) and overlaps (n, n), all in float32 as in LArCV1's rectangles."""
    boxes = [[(box.min_x, box.max_x, box.min_y, box.max_y) for box in roi.boxes] for roi in rois]
    edges = np.array(boxes)  # (n, planes, 4)
    low = edges[..., 0::2].astype(np.float32)
    size = (edges[..., 1::2] - edges[..., 0::2]).astype(np.float32)
    area = size.prod(axis=-1)
    shared = np.minimum((low + size)[:, None], low + size) - np.maximum(low[:, None], low)
    with np.errstate(invalid="ignore"):
        ratio = shared.clip(0).prod(axis=-1) / np.minimum(area[:, None], area)
    planes = np.float32(area.shape[1])
    return area.sum(axis=-1), ratio.sum(axis=-1) / planes


def _one_box_a_plane(roi: ROI) -> ROI:
    """Return the ROI with one box for each of its planes, around all of that plane."""
    planes: dict[int, ImageMeta] = {}
    for box in roi.boxes:
        planes[box.plane] = planes[box.plane].inclusive(box) if box.plane in planes else box
    return replace(roi, boxes=tuple(planes.values()))


def _by_plane(rois: Sequence[ROI]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return total areas (n,) and overlaps (n, n) over the planes that two ROIs share.

    The overlap of ROIs without a common plane is -1, less than any that is asked for.
    """
    at = {plane: i for i, plane in enumerate(sorted({b.plane for r in rois for b in r.boxes}))}
    edges = np.full((len(rois), len(at), 4), np.nan)
    for number, roi in enumerate(rois):
        for box in roi.boxes:
            edges[number, at[box.plane]] = box.min_x, box.min_y, box.max_x, box.max_y
    low, high = edges[..., :2], edges[..., 2:]
    area = (high - low).prod(axis=-1)
    shared = (np.minimum(high[:, None], high) - np.maximum(low[:, None], low)).clip(0)
    smaller = np.minimum(area[:, None], area)
    # a box without area overlaps nothing
    ratio = np.divide(shared.prod(-1), smaller, out=np.zeros_like(smaller), where=smaller > 0)
    both = ~np.isnan(smaller)
    count = both.sum(axis=-1)
    return np.nansum(area, axis=-1), np.where(count, ratio.sum(-1) / np.maximum(count, 1), -1.0)


def _around(roi: ROI, others: Sequence[ROI]) -> ROI:
    if roi.by_plane:
        every = (box for one in (roi, *others) for box in one.boxes)
        return _one_box_a_plane(replace(roi, boxes=tuple(every)))
    boxes = zip(roi.boxes, *(other.boxes for other in others), strict=True)
    return replace(roi, boxes=tuple(reduce(ImageMeta.inclusive, plane) for plane in boxes))


def cut_rois(rois: Sequence[ROI], meta: ImageMeta, *, index: int, size: int) -> list[Region]:
    """Return the crops of a plane, in LArCV1's order; `meta` is that of its tick-backward image.

    Each ROI's box of that plane (or its box number `index`, if its boxes do not state different
    planes) is clipped to the image and cut into columns of `size` pixels from the left, and these
    into rows from the largest tick. A crop that would reach beyond the image is moved inward. ROIs
    with a valid `mcst_index` are truth from simulation, and are skipped, and so are ROIs `by_plane`
    without a box on this plane. Raises `ImageError`.
    """
    regions: list[Region] = []
    for number, roi in enumerate(rois):
        if roi.mcst_index != INVALID_INDEX:
            continue
        box = _box(roi, meta.plane, index)
        if box is None and roi.by_plane:
            continue
        if box is None:
            planes = [other.plane for other in roi.boxes]
            raise ImageError(f"want a box for plane {meta.plane} in ROI {number}, got {planes}")
        if min(meta.rows, meta.cols) < size:
            got = f"{meta.rows} x {meta.cols}"
            raise ImageError(
                f"want at least {size} x {size} pixels to crop from (--size), got {got}"
            )
        across = (meta.min_x, meta.max_x)
        down = (-meta.max_y, -meta.min_y)  # ticks count down, and changing signs is exact
        cols = _starts((box.min_x, box.max_x), across, size=size, pixel=meta.pixel_width)
        rows = _starts((-box.max_y, -box.min_y), down, size=size, pixel=meta.pixel_height)
        if not cols or not rows:
            where = [f"{rectangle.dump().strip()!r}" for rectangle in (box, meta)]
            raise ImageError(f"want ROI {number} on the image, got {where[0]} on {where[1]}")
        regions += [(all_of(row, size), all_of(col, size)) for col in cols for row in rows]
    return regions


def _box(roi: ROI, plane: int, index: int) -> ImageMeta | None:
    """Return the box of a plane, or None.

    LArCV1 selects boxes by number. In its files the number of a box is the number of its plane.
    """
    if roi.by_plane or len({box.plane for box in roi.boxes}) == len(roi.boxes):
        return next((box for box in roi.boxes if box.plane == plane), None)
    return roi.boxes[index] if index < len(roi.boxes) else None


def _starts(
    box: tuple[float, float], image: tuple[float, float], *, size: int, pixel: float
) -> list[int]:
    """Return the first pixel of each crop along one axis; empty if box and image do not meet."""
    near, far = max(box[0], image[0]), min(box[1], image[1])
    if near >= far:
        return []
    crop = size * pixel
    count = int((far - near) / pixel) // size
    count += far - near > pixel * count * size
    starts = [near + i * size * pixel for i in range(count)]
    inside = [image[1] - crop if start + crop > image[1] else start for start in starts]
    return [int((start + pixel / 2 - image[0]) / pixel) for start in inside]
