"""Decodes the bytes of LArCV1's nested vectors. Refuses counts that do not fit the bytes. Pure.

uproot decodes the vectors of pixels with slow general code, and the boxes not at all: ROOT streams
a vector of ImageMeta "member-wise", which means all widths, then all heights, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import ReadError

_BYTE_COUNT = 0x40000000
_MEMBER_WISE = 0x4000


class Box(NamedTuple):
    """The numbers of an ImageMeta, as they are in the file."""

    width: float
    height: float
    rows: int
    cols: int
    origin_x: float
    origin_y: float
    plane: int


class _Cursor:
    def __init__(self, raw: npt.NDArray[np.uint8]) -> None:
        self.raw = raw
        self.at = 0

    def take(self, dtype: str, count: int) -> npt.NDArray[Any]:
        stop = self.at + np.dtype(dtype).itemsize * count
        if stop > len(self.raw):
            raise ReadError(f"want {stop} bytes, got {len(self.raw)}")
        part = self.raw[self.at : stop]
        self.at = stop
        return part.view(dtype)

    def number(self, dtype: str) -> int:
        return int(self.take(dtype, 1)[0])

    def version(self) -> int:
        """Read a class version; 0 means that the class has none, and a checksum follows."""
        version = self.number(">u2")
        if version & ~_MEMBER_WISE == 0 and not version & _MEMBER_WISE:
            self.number(">u4")
        return version

    def header(self) -> int:
        """Check the byte count of the rest, and return the version that follows it."""
        count = self.number(">u4")
        if count != _BYTE_COUNT | (len(self.raw) - 4):
            raise ReadError(f"want the byte count of {len(self.raw)} bytes, got {count:#x}")
        return self.number(">u2")

    def end(self) -> None:
        if self.at != len(self.raw):
            raise ReadError(f"want {self.at} bytes, got {len(self.raw)}")


def float_vectors(
    raw: npt.NDArray[np.uint8], sizes: Sequence[int]
) -> list[npt.NDArray[np.float32]]:
    """Decode one entry of a `vector<float>` member: one vector for every length in `sizes`.

    Raises `ReadError` if the bytes do not match the lengths.
    """
    cursor = _Cursor(raw)
    if sizes or len(raw):
        cursor.header()
    vectors = []
    for size in sizes:
        got = cursor.number(">u4")
        if got != size:
            raise ReadError(f"want {size} pixels, as the meta says, got {got}")
        vectors.append(cursor.take(">f4", size).astype(np.float32))
    cursor.end()
    return vectors


def boxes(raw: npt.NDArray[np.uint8], count: int) -> list[list[Box]]:
    """Decode one entry of `_bb_v`: the boxes of each of `count` ROIs. Raises `ReadError`."""
    if count == 0:
        return []
    cursor = _Cursor(raw)
    if not cursor.header() & _MEMBER_WISE:
        raise ReadError("want boxes streamed member-wise, got object-wise")
    cursor.version()
    vectors = [_one_vector(cursor) for _ in range(count)]
    cursor.end()
    return vectors


def _one_vector(cursor: _Cursor) -> list[Box]:
    count = cursor.number(">u4")
    cursor.take(">u2", count)  # _image_id, which is not used
    origins = [_point(cursor) for _ in range(count)]
    columns = (">f8", ">f8", ">u8", ">u8", ">u2")
    widths, heights, cols, rows, planes = (cursor.take(kind, count).tolist() for kind in columns)
    return [
        Box(w, h, r, c, x, y, plane)
        for w, h, r, c, (x, y), plane in zip(
            widths, heights, rows, cols, origins, planes, strict=True
        )
    ]


def _point(cursor: _Cursor) -> tuple[float, float]:
    cursor.number(">u4")
    cursor.version()
    x, y = cursor.take(">f8", 2).tolist()
    return x, y
