"""Wire-plane images, their geometry, and events. Immutable; wrong shapes, NaN, Inf are errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from .errors import ImageError

TickOrder = Literal["backward", "forward"]
"""Which tick row 0 holds: the largest ("backward", as in LArCV1) or the smallest ("forward")."""

INVALID_INDEX = 65535
"""LArCV writes this value for "not set" in the 16-bit numbers of planes, particles and ROIs."""

WIRES_AND_TICKS = 2
"""The unit of an image's x and y in LArCV2: wires and ticks."""

Pixels = npt.NDArray[np.float32]


def check_tick_order(order: str) -> None:
    """Raise `ImageError` unless `order` is "backward" or "forward"."""
    if order not in get_args(TickOrder):
        raise ImageError(f"want tick order 'backward' or 'forward', got {order!r}")


class Corners(NamedTuple):
    """The corners of an image as a file stores them: (x, y) in wires and ticks, or in cm."""

    min_x: float
    min_y: float
    max_x: float
    max_y: float


class RSE(NamedTuple):
    """The run, subrun and event number that identify an event."""

    run: int
    subrun: int
    event: int


@dataclass(frozen=True)
class ImageMeta:
    """The rectangle that an image covers on its plane, in exact doubles: x in wires, y in ticks.

    The origin is the corner at row 0. In tick-backward images, as in LArCV1, it is the top left
    corner (the largest tick); in tick-forward images it is the bottom left one. A LArCV1 file does
    not state its order: see `lartpc.ticks`.
    """

    width: float
    height: float
    rows: int
    cols: int
    origin_x: float
    origin_y: float
    plane: int
    tick_order: TickOrder = "backward"
    corners: Corners | None = None
    """The corners, where the format stores them and not the size (LArCV2). They are kept because
    origin + size may differ from the stored corner in the last digit."""
    unit: int = 0
    """The unit of x and y in LArCV2: 0 unknown, 1 cm, 2 wires and ticks."""

    def __post_init__(self) -> None:
        check_tick_order(self.tick_order)
        numbers = (self.width, self.height, self.origin_x, self.origin_y)
        if not all(math.isfinite(number) for number in numbers):
            raise ImageError(f"want finite sizes and origins, got {numbers}")
        if min(self.width, self.height, self.rows, self.cols, self.plane) < 0:
            raise ImageError(f"want sizes and plane of at least 0, got {self}")

    @property
    def min_x(self) -> float:
        return self.corners.min_x if self.corners else self.origin_x

    @property
    def max_x(self) -> float:
        return self.corners.max_x if self.corners else self.origin_x + self.width

    @property
    def min_y(self) -> float:
        if self.corners:
            return self.corners.min_y
        return self.origin_y - self.height if self.tick_order == "backward" else self.origin_y

    @property
    def max_y(self) -> float:
        if self.corners:
            return self.corners.max_y
        return self.origin_y if self.tick_order == "backward" else self.origin_y + self.height

    @property
    def pixel_width(self) -> float:
        """Wires per pixel; 0 for an image without pixels, as in LArCV."""
        return self.width / self.cols if self.cols else 0.0

    @property
    def pixel_height(self) -> float:
        """Ticks per pixel; 0 for an image without pixels, as in LArCV."""
        return self.height / self.rows if self.rows else 0.0

    def dump(self) -> str:
        """Return LArCV1's text and its newline. Do not parse it: `%g` rounds to six digits."""
        return (
            f"Plane {self.plane} (rows,cols) = ({self.rows},{self.cols})"
            f" ... Left Top ({self.min_x:g},{self.max_y:g})"
            f" ... Right Bottom ({self.max_x:g},{self.min_y:g})\n"
        )

    def in_order(self, order: TickOrder) -> ImageMeta:
        """Return the same rectangle in this tick order, with its origin at that order's corner."""
        check_tick_order(order)
        if order == self.tick_order:
            return self
        corner = self.max_y if order == "backward" else self.min_y
        return replace(self, origin_y=corner, tick_order=order)

    def inclusive(self, other: ImageMeta) -> ImageMeta:
        """Return the smallest box around self and other; plane, pixel size and order are self's."""
        min_x, max_x = min(self.min_x, other.min_x), max(self.max_x, other.max_x)
        min_y, max_y = min(self.min_y, other.min_y), max(self.max_y, other.max_y)
        width, height = max_x - min_x, max_y - min_y
        return replace(
            self,
            width=width,
            height=height,
            # LArCV1 truncates where this rounds: it lost a row of a canvas of 511.999 pixels
            rows=round(height / self.pixel_height) if self.pixel_height else 0,
            cols=round(width / self.pixel_width) if self.pixel_width else 0,
            origin_x=min_x,
            origin_y=max_y if self.tick_order == "backward" else min_y,
            corners=Corners(min_x, min_y, max_x, max_y) if self.corners else None,
        )

    def part(self, row: int, col: int, *, rows: int, cols: int) -> ImageMeta:
        """Return the meta of a part of the image; the part may reach beyond it (padding)."""
        down = -self.pixel_height if self.tick_order == "backward" else self.pixel_height
        return replace(
            self,
            width=cols * self.pixel_width,
            height=rows * self.pixel_height,
            rows=rows,
            cols=cols,
            origin_x=self.origin_x + col * self.pixel_width,
            origin_y=self.origin_y + row * down,
            corners=None,
        )


def all_finite(array: npt.NDArray[np.floating]) -> bool:
    """Return whether no element is NaN or Inf."""
    with np.errstate(all="ignore"):
        # NaN and Inf survive a sum, so a finite sum proves in one fast pass that there are none
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


@dataclass(frozen=True, eq=False)
class Image:
    """The pixels of one plane: float32, (rows, cols) = (ticks, wires), ADC. A read-only view.

    The memory may be row-major or column-major (images from LArCV1 files are column-major).
    """

    meta: ImageMeta
    pixels: Pixels

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.dtype != np.float32 or not pixels.dtype.isnative:
            raise ImageError(f"want float32 pixels, got {pixels.dtype}")
        if pixels.shape != (self.meta.rows, self.meta.cols):
            want = (self.meta.rows, self.meta.cols)
            raise ImageError(f"want pixels of shape {want}, as in the meta, got {pixels.shape}")
        if not all_finite(pixels):
            bad = int(pixels.size - np.isfinite(pixels).sum())
            raise ImageError(f"want finite pixels, got {bad} that are NaN or Inf")
        view = pixels.view()
        view.flags.writeable = False
        object.__setattr__(self, "pixels", view)

    def in_order(self, order: TickOrder) -> Image:
        """Return the same image in this tick order: its rows are flipped if they must be."""
        if order == self.meta.tick_order:
            return self
        return Image(self.meta.in_order(order), self.pixels[::-1])


@dataclass(frozen=True)
class ROI:
    """A region of interest: a box on each plane."""

    boxes: tuple[ImageMeta, ...]
    index: int = 0
    mcst_index: int = INVALID_INDEX
    """The index of the MC shower or track that it belongs to; 65535 if there is none."""
    by_plane: bool = False
    """Each box states its plane, and planes may lack a box (LArCV2). Otherwise every region has all
    planes, and the boxes of one number belong together (LArCV1)."""

    def shown_on(self, plane: int) -> ImageMeta | None:
        """Return the box to draw on a plane; None if the region has none there."""
        if self.by_plane:
            return next((box for box in self.boxes if box.plane == plane), None)
        return self.boxes[plane] if plane < len(self.boxes) else None


@dataclass(frozen=True, eq=False)
class Event:
    """One entry of a file: its (run, subrun, event), and its images and ROIs by producer."""

    rse: RSE
    images: Mapping[str, tuple[Image, ...]]
    rois: Mapping[str, tuple[ROI, ...]] = field(default_factory=dict)
