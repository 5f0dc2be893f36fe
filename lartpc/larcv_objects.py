"""Turns images of LArCV 1, 2 and 3 in memory into `Image`, and back. It imports no LArCV.

A library is told by the methods of its images' metas. LArCV1 and LArCV2 store pixels column by
column, LArCV3 stores them row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .errors import ImageError, ParameterError
from .image import Corners, Image, ImageMeta, Pixels, TickOrder, check_tick_order


class _Library(NamedTuple):
    """What differs between the libraries."""

    name: str
    methods: tuple[str, ...]
    """Methods of its metas that no other library's metas have together."""
    read: Callable[[Any, TickOrder | None], Image]
    write: Callable[[Image, Any], Any]


def from_larcv(image2d: Any, *, tick_order: TickOrder | None = None) -> Image:
    """Return an image of LArCV as an `Image`; the pixels are copied.

    `image2d`: an `Image2D` of LArCV1 or LArCV2, or a `Tensor2D` of LArCV3.
    `tick_order`: which tick row 0 of this image holds; no row is moved (`Image.in_order` does
    that). LArCV1 does not define it, so it must be given. LArCV2 and LArCV3 define "forward";
    "backward" is for an image that a program has filled the other way.
    Raises `ImageError` for other objects and for images that are invalid, and `ParameterError` if
    LArCV1's tick order is missing.
    """
    if tick_order is not None:
        check_tick_order(tick_order)
    return _library_of(image2d).read(image2d, tick_order)


def to_larcv(image: Image, *, like: Any) -> Any:
    """Return a new image of LArCV with the pixels and the meta of `image`.

    `like`: an image of the library that is wanted, or the library itself: `larcv` after
    `from larcv import larcv` (LArCV1, LArCV2) or `import larcv` (LArCV3). Rows are stored as
    the image has them for LArCV1, and tick-forward for LArCV2 and LArCV3, as in their files.
    Raises `ImageError` for other objects, and for a plane that the library cannot hold.
    """
    example = _example(like)
    return _library_of(example).write(image, example)


def _example(like: Any) -> Any:
    """Return an image of a library, if `like` is the library and not an image."""
    if hasattr(like, "Tensor2D"):
        return like.Tensor2D([1, 1])
    return like.Image2D() if hasattr(like, "Image2D") else like


def _library_of(image2d: Any) -> _Library:
    meta = None
    if hasattr(image2d, "meta") and hasattr(image2d, "as_vector"):
        try:
            meta = image2d.meta()
        except RuntimeError as error:  # LArCV3, where an image got no sizes
            raise ImageError(f"want an image with a valid meta, got {image2d!r:.80}") from error
    for library in _LIBRARIES:
        if meta is not None and all(hasattr(meta, name) for name in library.methods):
            return library
    names = ", ".join(library.name for library in _LIBRARIES)
    raise ImageError(f"want an image of {names}, got {type(image2d).__name__}: {image2d!r:.80}")


def _columns(image2d: Any, rows: int, cols: int) -> Pixels:
    """Return the pixels of LArCV1 and LArCV2, (rows, cols), as a copy."""
    # the array of an empty vector has another type
    flat = np.array(np.asarray(image2d.as_vector()), np.float32)
    if flat.size != rows * cols:
        raise ImageError(f"want {rows} x {cols} pixels, as in the meta, got {flat.size}")
    return flat.reshape(cols, rows).T


def _filled(image: Image, example: Any) -> Any:
    """Return a C++ vector of the pixels, column by column."""
    vector = type(example.as_vector())(image.pixels.size)
    if image.pixels.size:
        np.asarray(vector)[:] = image.pixels.T.reshape(-1)
    return vector


def _read1(image2d: Any, tick_order: TickOrder | None) -> Image:
    if tick_order is None:
        raise ParameterError(
            "want tick_order='backward' or 'forward' for an image of LArCV1, whose objects do not"
            " tell it, got None"
        )
    meta = image2d.meta()
    rows, cols, corner = int(meta.rows()), int(meta.cols()), meta.tl()
    sizes = (float(meta.width()), float(meta.height()), rows, cols)
    place = (float(corner.x), float(corner.y), int(meta.plane()))
    return Image(ImageMeta(*sizes, *place, tick_order), _columns(image2d, rows, cols))


def _write1(image: Image, example: Any) -> Any:
    meta = image.meta
    place = (float(meta.origin_x), float(meta.origin_y), _plane(meta.plane))
    sizes = (float(meta.width), float(meta.height), meta.rows, meta.cols)
    return type(example)(type(example.meta())(*sizes, *place), _filled(image, example))


def _read2(image2d: Any, tick_order: TickOrder | None) -> Image:
    meta = image2d.meta()
    corners = Corners(*map(float, (meta.min_x(), meta.min_y(), meta.max_x(), meta.max_y())))
    rows, cols = int(meta.rows()), int(meta.cols())
    where = ImageMeta(
        width=corners.max_x - corners.min_x,
        height=corners.max_y - corners.min_y,
        rows=rows,
        cols=cols,
        origin_x=corners.min_x,
        origin_y=corners.min_y,
        plane=int(meta.id()),
        tick_order="forward",
        corners=corners,
        unit=int(meta.unit()),
    )
    return Image(where.in_order(tick_order or "forward"), _columns(image2d, rows, cols))


def _write2(image: Image, example: Any) -> Any:
    forward = image.in_order("forward")
    meta = forward.meta
    corners = map(float, (meta.min_x, meta.min_y, meta.max_x, meta.max_y))
    of_larcv = type(example.meta())(
        *corners, meta.rows, meta.cols, _plane(meta.plane), int(meta.unit)
    )
    return type(example)(of_larcv, _filled(forward, example))


def _read3(image2d: Any, tick_order: TickOrder | None) -> Image:
    meta = image2d.meta()
    rows, cols = (int(meta.number_of_voxels(axis)) for axis in (0, 1))
    height, width = (float(meta.image_size(axis)) for axis in (0, 1))
    y, x = (float(meta.origin(axis)) for axis in (0, 1))
    where = ImageMeta(width, height, rows, cols, x, y, int(meta.projection_id()), "forward")
    # not as_array(): with NumPy 2, it is wrong in the build of the package index
    flat = np.array(image2d.as_vector(), np.float32)
    return Image(where.in_order(tick_order or "forward"), flat.reshape(rows, cols))


def _write3(image: Image, example: Any) -> Any:
    forward = image.in_order("forward")
    meta = forward.meta
    voxels, sizes = [meta.rows, meta.cols], [float(meta.height), float(meta.width)]
    origin = [float(meta.origin_y), float(meta.origin_x)]
    of_larcv = type(example.meta())(meta.plane, voxels, sizes, origin)
    return type(example)(of_larcv, forward.pixels.reshape(-1).tolist())


def _plane(plane: int) -> int:
    if plane > _MAX_PLANE:  # C++ would keep its last 16 bits
        raise ImageError(f"want a plane from 0 to {_MAX_PLANE}, got {plane}")
    return plane


_MAX_PLANE = 65535
_LIBRARIES = (
    _Library("LArCV1", ("plane", "tl", "width"), _read1, _write1),
    _Library("LArCV2", ("unit", "min_x", "max_y", "id"), _read2, _write2),
    _Library("LArCV3", ("number_of_voxels", "image_size", "projection_id"), _read3, _write3),
)
