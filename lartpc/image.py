"""Images, their metas, and events. Frozen; refuses pixels that do not fit their meta."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import ImageError

TickOrder = Literal["backward", "forward"]


class RSE(NamedTuple):
    """(run, subrun, event): the name of an event."""

    run: int
    subrun: int
    event: int


@dataclass(frozen=True)
class ImageMeta:
    """Where an image lies: width in wires, height in ticks, origin (wire, tick)."""

    width: float
    height: float
    rows: int
    cols: int
    origin_x: float
    origin_y: float
    plane: int
    tick_order: TickOrder = "backward"

    @property
    def min_x(self) -> float:
        return self.origin_x

    @property
    def max_x(self) -> float:
        return self.origin_x + self.width

    @property
    def min_y(self) -> float:
        return self.origin_y - (self.height if self.tick_order == "backward" else 0.0)

    @property
    def max_y(self) -> float:
        return self.origin_y + (self.height if self.tick_order == "forward" else 0.0)

    @property
    def pixel_width(self) -> float:
        return self.width / self.cols

    @property
    def pixel_height(self) -> float:
        return self.height / self.rows

    def dump(self) -> str:
        return (
            f"Plane {self.plane} (rows,cols) = ({self.rows},{self.cols}) ... "
            f"Left Top ({self.min_x:g},{self.max_y:g}) ... "
            f"Right Bottom ({self.max_x:g},{self.min_y:g})\n"
        )


@dataclass(frozen=True, eq=False)
class Image:
    """One plane's pixels: float32, (rows, cols)."""

    meta: ImageMeta
    pixels: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        pixels = np.asarray(self.pixels, dtype=np.float32).view()
        want = (self.meta.rows, self.meta.cols)
        if pixels.shape != want:
            raise ImageError(f"want pixels of shape {want}, got {pixels.shape}")
        pixels.flags.writeable = False
        object.__setattr__(self, "pixels", pixels)


@dataclass(frozen=True)
class ROI:
    """A region of interest: one box a plane."""

    boxes: tuple[ImageMeta, ...]
    index: int = 0
    mcst_index: int = 65535


@dataclass(frozen=True, eq=False)
class Event:
    """One event's images and ROIs, by producer."""

    rse: RSE
    images: Mapping[str, tuple[Image, ...]]
    rois: Mapping[str, tuple[ROI, ...]] = field(default_factory=dict)
