"""Reads an entry of a tree of LArCV1: images (`EventImage2D`) and regions (`EventROI`)."""

from __future__ import annotations

from typing import Any

from ...image import ROI, Image, ImageMeta, TickOrder
from . import vectors
from .columns import Tree

CLASSES = {"image2d": "larcv::EventImage2D", "partroi": "larcv::EventROI"}
"""The classes of the products that are read here, by kind."""

_META = "_image_v._meta."


def metas(tree: Tree, entry: int, order: TickOrder) -> list[ImageMeta]:
    """Return the metas of the images; `order`: the tick order of the rows."""
    columns: list[list[Any]] = [
        tree[_META + name].numbers(entry, dtype)
        for name, dtype in (
            ("_width", ">f8"),
            ("_height", ">f8"),
            ("_row_count", ">u8"),
            ("_col_count", ">u8"),
            ("_origin.x", ">f8"),
            ("_origin.y", ">f8"),
            ("_plane", ">u2"),
        )
    ]
    return [ImageMeta(*vectors.Box(*numbers), order) for numbers in zip(*columns, strict=True)]


def images(tree: Tree, entry: int, order: TickOrder) -> tuple[Image, ...]:
    """Return the images; `order`: the tick order of the rows."""
    its_metas = metas(tree, entry, order)
    sizes = [meta.rows * meta.cols for meta in its_metas]
    pixels = vectors.float_vectors(tree["_image_v._img"].entry(entry), sizes)
    # the pixels are column-major in the file and stay so in memory: to convert them takes longer
    # than to read them, and half of the callers do not need it
    return tuple(
        Image(meta, flat.reshape(meta.cols, meta.rows).T)
        for meta, flat in zip(its_metas, pixels, strict=True)
    )


def rois(tree: Tree, entry: int, order: TickOrder) -> tuple[ROI, ...]:
    """Return the regions of interest; `order`: the tick order of the images."""
    indices = tree["_part_v._index"].numbers(entry, ">u2")
    mcsts = tree["_part_v._mcst_index"].numbers(entry, ">u2")
    boxes = vectors.boxes(tree["_part_v._bb_v"].entry(entry), len(indices))
    return tuple(
        ROI(tuple(ImageMeta(*box, tick_order=order) for box in its), index, mcst)
        for its, index, mcst in zip(boxes, indices, mcsts, strict=True)
    )
