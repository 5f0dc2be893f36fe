"""How an axis is covered by overlapping tiles, each pixel in the middle of one. Pure.

Refuses tiles that the network's divisor does not divide, and overlaps as large as a tile.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from ..errors import SettingsError


class Span(NamedTuple):
    """One tile along one axis, in pixels of the image; the tile may end beyond it (padding)."""

    start: int
    size: int
    first: int
    """The first pixel whose answer is kept ..."""
    end: int
    """... and the one after the last."""

    def whole(self) -> slice:
        return slice(self.start, self.start + self.size)

    def kept(self, origin: int = 0) -> slice:
        """What is kept, counted from the pixel `origin` of the image."""
        return slice(self.first - origin, self.end - origin)


Region = tuple[Span, Span]
"""One crop: its rows and its columns."""


def all_of(start: int, size: int) -> Span:
    """A span that is kept from end to end."""
    return Span(start, size, start, start + size)


def check_tiles(size: int, overlap: int, divisor: int) -> None:
    """Raise `SettingsError` for tiles that no network could take."""
    if divisor < 1 or size < 1 or size % divisor:
        raise SettingsError(f"want a tile size that {divisor} divides (--size), got {size}")
    if not 0 <= overlap < size:
        raise SettingsError(
            f"want an overlap from 0 to below the tile's {size} pixels (--overlap), got {overlap}"
        )


def spans(pixels: int, *, size: int, overlap: int, divisor: int) -> list[Span]:
    """The fewest tiles that cover `pixels` and overlap by at least `overlap`, evenly spread.

    The first and the last end at the image's borders; neighbours share their overlap in halves,
    so each pixel is kept of one tile. An axis shorter than a tile gets a single one, as long as
    the next multiple of `divisor`. Raises `SettingsError`.
    """
    check_tiles(size, overlap, divisor)
    if pixels <= size:
        return [Span(0, -(-pixels // divisor) * divisor, 0, pixels)]
    steps = -((size - pixels) // (size - overlap))
    starts = [(pixels - size) * i // steps for i in range(steps + 1)]
    cuts = [0, *((one + size + next_one) // 2 for one, next_one in pairwise(starts)), pixels]
    return [Span(start, size, *cut) for start, cut in zip(starts, pairwise(cuts), strict=True)]
