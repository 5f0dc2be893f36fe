"""Covers an axis with overlapping tiles, so that every pixel is in the middle of one. Pure.

Refuses tile sizes that are not multiples of the network's divisor, and overlaps as large as a tile.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from ..errors import ParameterError


class TileSpan(NamedTuple):
    """One tile along one axis, in pixels of the image. It may end beyond the image (padding)."""

    start: int
    size: int
    first: int
    """The first pixel whose score is used."""
    end: int
    """The pixel after the last one whose score is used."""

    def whole(self) -> slice:
        return slice(self.start, self.start + self.size)

    def kept(self, origin: int = 0) -> slice:
        """Return the pixels whose scores are used, counted from pixel `origin` of the image."""
        return slice(self.first - origin, self.end - origin)


Region = tuple[TileSpan, TileSpan]
"""One crop: its rows and its columns."""


def all_of(start: int, size: int) -> TileSpan:
    """Return a span whose scores are all used."""
    return TileSpan(start, size, start, start + size)


def check_tiles(size: int, overlap: int, divisor: int) -> None:
    """Raise `SettingsError` for tiles that no network can process."""
    if divisor < 1 or size < 1 or size % divisor:
        raise ParameterError(f"want a tile size that {divisor} divides (--size), got {size}")
    if not 0 <= overlap < size:
        raise ParameterError(
            f"want an overlap from 0 to below the tile's {size} pixels (--overlap), got {overlap}"
        )


def spans(pixels: int, *, size: int, overlap: int, divisor: int) -> list[TileSpan]:
    """Return the fewest, evenly spread tiles that cover `pixels` and overlap by at least `overlap`.

    The first and the last tile end at the image's borders. Neighbours share their overlap in
    halves, so the score of each pixel comes from one tile. An axis shorter than a tile gets a
    single one, whose size is the next multiple of `divisor`. Raises `SettingsError`.
    """
    check_tiles(size, overlap, divisor)
    if pixels <= size:
        return [TileSpan(0, -(-pixels // divisor) * divisor, 0, pixels)]
    steps = -((size - pixels) // (size - overlap))
    starts = [(pixels - size) * i // steps for i in range(steps + 1)]
    cuts = [0, *((one + size + next_one) // 2 for one, next_one in pairwise(starts)), pixels]
    return [TileSpan(start, size, *cut) for start, cut in zip(starts, pairwise(cuts), strict=True)]
