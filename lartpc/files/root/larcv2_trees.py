"""Reads an entry of a tree of LArCV2: images, sparse images and clusters, and boxes as regions.

LArCV2 defines the order of rows: row 0 is the smallest y, and the origin is the bottom left corner.
So images are read tick-forward and turned to the reader's order, unless the user overrules this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ReadError
from ...image import INVALID_INDEX, ROI, Corners, Image, ImageMeta, TickOrder
from . import vectors
from .columns import Tree

CLASSES = {
    "image2d": "larcv::EventImage2D",
    "sparse2d": "larcv::EventSparseTensor2D",
    "cluster2d": "larcv::EventClusterPixel2D",
    "particle": "larcv::EventParticle",
    "bbox2d": "larcv::EventBBox2D",
}
"""The classes of the products that are read here, by kind."""
MAX_PIXELS = 1 << 28
"""The most pixels of sparse images of one entry: 1 GiB. A few bytes can claim any number."""

_VECTORS = {"image2d": "_image_v.", "sparse2d": "_tensor_v.", "cluster2d": "_cluster_v."}
_BOXES = "vector<larcv::BBox2D>."


def metas(tree: Tree, kind: str, entry: int, order: TickOrder) -> list[ImageMeta]:
    """Return the metas of the images of a kind, in this tick order."""
    columns: list[list[Any]] = [
        tree[f"{_VECTORS[kind]}_meta.{name}"].numbers(entry)
        for name in ("_row_count", "_col_count", "_id", "_unit", *_CORNERS)
    ]
    return [
        _box(Corners(*corners), plane, order, rows=rows, cols=cols, unit=unit)
        for rows, cols, plane, unit, *corners in zip(*columns, strict=True)
    ]


_CORNERS = ("_p1.x", "_p1.y", "_p2.x", "_p2.y")


def _box(
    corners: Corners, plane: int, order: TickOrder, *, rows: int = 0, cols: int = 0, unit: int = 0
) -> ImageMeta:
    return ImageMeta(
        width=corners.max_x - corners.min_x,
        height=corners.max_y - corners.min_y,
        rows=rows,
        cols=cols,
        origin_x=corners.min_x,
        origin_y=corners.max_y if order == "backward" else corners.min_y,
        plane=plane,
        tick_order=order,
        corners=corners,
        unit=unit,
    )


def images(
    tree: Tree, kind: str, entry: int, order: TickOrder, *, overruled: bool
) -> tuple[Image, ...]:
    """Return the images of a kind in this tick order.

    `overruled`: the rows have this order in the file, against the definition; they are not turned.
    """
    its_metas = metas(tree, kind, entry, order)
    turned = order == "backward" and not overruled
    return tuple(
        # column-major in the file and in memory, as in LArCV1
        Image(meta, flat.reshape(meta.cols, meta.rows).T[:: -1 if turned else 1])
        for meta, flat in zip(its_metas, _pixels(tree, kind, entry, its_metas), strict=True)
    )


def _pixels(
    tree: Tree, kind: str, entry: int, its_metas: Sequence[ImageMeta]
) -> list[npt.NDArray[np.float32]]:
    sizes = [meta.rows * meta.cols for meta in its_metas]
    if kind == "image2d":
        return vectors.float_vectors(tree["_image_v._img"].entry(entry), sizes)
    if sum(sizes) > MAX_PIXELS:
        raise ReadError(f"want at most {MAX_PIXELS} pixels in an entry, got {sum(sizes)}")
    voxel = tree.layout("larcv::Voxel")
    if kind == "sparse2d":
        raw = tree["_tensor_v._voxel_v"].entry(entry)
        several = [[voxels] for voxels in vectors.objects(raw, len(sizes), voxel)]
    else:
        raw = tree["_cluster_v._voxel_vv"].entry(entry)
        voxel_set = tree.layout("larcv::VoxelSet")
        several = vectors.nested_objects(raw, len(sizes), voxel_set, voxel)
    return [_dense(size, sets) for size, sets in zip(sizes, several, strict=True)]


def _dense(size: int, sets: Sequence[vectors.Columns]) -> npt.NDArray[np.float32]:
    """Return an image with these sets of voxels; what several sets have in one pixel is added."""
    for voxels in sets:
        largest = int(voxels["_id"].max(initial=0))
        if len(voxels["_id"]) and largest >= size:
            raise ReadError(f"want voxels below {size}, rows x cols of the meta, got {largest}")
    pixels = np.zeros(size, np.float32)
    for voxels in sets:
        np.add.at(pixels, voxels["_id"].astype(np.int64), voxels["_value"].astype(np.float32))
    return pixels


def rois(tree: Tree, kind: str, entry: int, order: TickOrder) -> tuple[ROI, ...]:
    """Return the particles or the boxes of an entry as regions of interest.

    A particle has its boxes by projection; an entry of bbox2d is one region for each box. The boxes
    have no rows and columns. Boxes without a projection (65535) are left out.
    """
    # a valid mcst_index would exclude the region from crops, and it was asked for
    return tuple(
        ROI(
            tuple(
                _box(Corners(*low, *high), plane, order)
                for plane, low, high in zip(planes, lows, highs, strict=True)
                if plane != INVALID_INDEX
            ),
            index,
            by_plane=True,
        )
        for index, (planes, lows, highs) in enumerate(_boxes(tree, kind, entry))
    )


def _boxes(tree: Tree, kind: str, entry: int) -> list[tuple[list[int], list[Any], list[Any]]]:
    """Return the projections, lower corners and upper corners of each region's boxes."""
    if kind == "bbox2d":
        names = ("_id", *_CORNERS)
        columns = [tree[_BOXES + name].numbers(entry) for name in names]
        rows = zip(*columns, strict=True)
        return [([plane], [low], [high]) for plane, *edges in rows for low, high in [_pair(edges)]]
    particles = len(tree["_part_v._id"].numbers(entry))
    raw = tree["_part_v._bb2d_v"].entry(entry)
    return [
        (boxes["_id"].tolist(), boxes["_p1"].tolist(), boxes["_p2"].tolist())
        for boxes in vectors.objects(raw, particles, tree.layout("larcv::BBox2D"))
    ]


def _pair(edges: Sequence[float]) -> tuple[tuple[float, float], tuple[float, float]]:
    min_x, min_y, max_x, max_y = edges
    return (min_x, min_y), (max_x, max_y)
