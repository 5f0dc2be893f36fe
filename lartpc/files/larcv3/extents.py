"""Checks that entries of a LArCV3 file do not share images, and that images do not share pixels.

`extents` gives a range of images for each entry, and `image_extents` a range of pixels for each
image. Ranges that reach beyond their dataset are not refused here, but when the entry is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import ReadError

_BLOCK = 1 << 16  # rows that are read at once
_MAX_GAP = 1 << 12  # the largest gap of unused rows that is read too, to save a second read

Integers = npt.NDArray[np.int64]


class _Ranges(NamedTuple):
    """Ranges that are not empty, from `first` to `stop - 1`, and the entry of each range."""

    first: Integers
    stop: Integers
    entry: Integers


def check_apart(columns: Mapping[str, Any], *, max_images: int, max_pixels: int) -> None:
    """Raise `ReadError` if two entries share images, or two images share pixels.

    Entries above the limits are not checked, because reading them is refused anyway.
    """
    images = _image_ranges(columns["extents"], len(columns["image_meta"]))
    if pair := _overlap(images):
        raise ReadError(
            f"want entries that share no images, got entries {pair[0]} and {pair[1]} that share"
            " some (their extents overlap)"
        )
    small = images.stop - images.first <= max_images
    used = _Ranges(*(column[small] for column in images))
    pixels = _pixel_ranges(used, columns["image_extents"], len(columns["images"]), max_pixels)
    if pair := _overlap(pixels):
        raise ReadError(
            f"want images that share no pixels, got images of entries {pair[0]} and {pair[1]}"
            " that share some (their image_extents overlap)"
        )


def _image_ranges(extents: Any, limit: int) -> _Ranges:
    parts = []
    for start in range(0, len(extents), _BLOCK):
        rows = extents[start : start + _BLOCK]
        parts.append(_within(rows, np.arange(start, start + len(rows)), limit))
    return _joined(parts)


def _within(rows: Any, entry: Integers, limit: int) -> _Ranges:
    """Return the ranges that are not empty and lie within a dataset of length `limit`."""
    first, count = rows["first"].astype(np.uint64), rows["N"].astype(np.uint64)
    whole = np.uint64(limit)
    inside = (count > 0) & (first < whole) & (count <= whole - np.minimum(first, whole))
    start = first[inside].astype(np.int64)
    return _Ranges(start, start + count[inside].astype(np.int64), entry[inside])


def _joined(parts: list[_Ranges]) -> _Ranges:
    none = np.empty(0, np.int64)
    columns = zip(_Ranges(none, none, none), *parts, strict=True)
    return _Ranges(*(np.concatenate(column) for column in columns))


def _overlap(ranges: _Ranges) -> tuple[int, int] | None:
    """Return two entries whose ranges overlap, the smaller one first, or None."""
    if bool(np.all(ranges.first[1:] >= ranges.stop[:-1])):
        return None  # the ranges are sorted, as every writer leaves them
    order = np.argsort(ranges.first, kind="stable")
    first, stop, entry = (column[order] for column in ranges)
    reach = np.maximum.accumulate(stop)
    shared = np.flatnonzero(first[1:] < reach[:-1])
    if not len(shared):
        return None
    later = int(shared[0]) + 1
    earlier = int(np.argmax(stop[:later]))
    one, other = sorted((int(entry[earlier]), int(entry[later])))
    return one, other


def _pixel_ranges(images: _Ranges, image_extents: Any, limit: int, max_pixels: int) -> _Ranges:
    """Return the pixel ranges of all images of entries that have at most `max_pixels`."""
    order = np.argsort(images.first, kind="stable")
    ordered = _Ranges(*(column[order] for column in images))
    parts = []
    for start, stop in _blocks(ordered, len(image_extents)):
        numbers = np.arange(start, stop)
        owner = np.searchsorted(ordered.first, numbers, side="right") - 1
        used = numbers < ordered.stop[owner]
        rows = image_extents[start:stop][used]
        parts.append(_within(rows, ordered.entry[owner[used]], limit))
    joined = _joined(parts)
    if not len(joined.entry):
        return joined
    totals = np.bincount(joined.entry, weights=joined.stop - joined.first)
    small = totals[joined.entry] <= max_pixels
    return _Ranges(*(column[small] for column in joined))


def _blocks(ordered: _Ranges, limit: int) -> list[tuple[int, int]]:
    """Return the (start, stop) blocks to read, few and small, that cover all ranges."""
    if not len(ordered.first):
        return []
    gaps = np.flatnonzero(ordered.first[1:] - ordered.stop[:-1] > _MAX_GAP) + 1
    starts = ordered.first[np.concatenate([[0], gaps])].tolist()
    stops = ordered.stop[np.concatenate([gaps - 1, [-1]])].tolist()
    return [
        (at, min(at + _BLOCK, stop, limit))
        for start, stop in zip(starts, stops, strict=True)
        for at in range(start, min(stop, limit), _BLOCK)
    ]
