"""The toy's chamber: three wire planes, a drift volume, and the pixels of the readout. Pure.

A small MicroBooNE (JINST 12 (2017) P02017): wires 3 mm apart, planes U and V at +-60 degrees to the
vertical wires of plane Y, 0.11 cm/us of drift, ticks of 0.5 us. At 1008 x 3456 pixels of
1 wire x 6 ticks it has MicroBooNE's size; at other sizes the volume scales with the image, so that
every image is filled. Refuses images outside 16 x 16 to 16384 x 16384 pixels, and empty pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError
from ..image import ImageMeta
from .argon import Floats
from .particles import Deposits

PLANES = (0, 1, 2)  # U, V, Y
PITCH_CM = 0.3
TICK_US = 0.5
DRIFT_CM_US = 0.1098  # at 273 V/cm (JINST 12 (2017) P02017)
MAX_SIDE = 1 << 14  # pixels: several times MicroBooNE's size, and a plane still fits into memory
HEIGHT_CM = 233.0
FIRST_TICK = 2400  # MicroBooNE's images start here; its trigger is 800 of 6048 ticks later

_SIN60, _COS60 = math.sin(math.pi / 3), math.cos(math.pi / 3)


@dataclass(frozen=True)
class Chamber:
    """The size of an image, and of the volume that it shows."""

    rows: int = 512
    cols: int = 512
    wires_per_pixel: float = 1.0
    ticks_per_pixel: float = 6.0

    def __post_init__(self) -> None:
        if not (16 <= self.rows <= MAX_SIDE and 16 <= self.cols <= MAX_SIDE):
            want = f"from 16 x 16 to {MAX_SIDE} x {MAX_SIDE} pixels"
            raise ParameterError(f"want {want}, got {self.rows} x {self.cols}")
        if not (self.wires_per_pixel > 0 and self.ticks_per_pixel > 0):
            got = f"{self.wires_per_pixel} wires x {self.ticks_per_pixel} ticks"
            raise ParameterError(f"want pixels of a size above 0, got {got}")

    @property
    def ticks(self) -> float:
        """The length of the readout, in ticks."""
        return self.rows * self.ticks_per_pixel

    @property
    def last_tick(self) -> float:
        return FIRST_TICK + self.ticks

    @property
    def trigger_tick(self) -> float:
        return FIRST_TICK + self.ticks * 800 / 6048

    @property
    def size_cm(self) -> tuple[float, float, float]:
        """Drift, height and length of the volume that is read out. MicroBooNE: 256, 233, 1037."""
        drift_cm = 0.77 * self.ticks * TICK_US * DRIFT_CM_US
        length_cm = self.cols * self.wires_per_pixel * PITCH_CM
        height_cm = min(HEIGHT_CM, length_cm * (1 - _COS60) / _SIN60)
        return drift_cm, height_cm, length_cm

    @property
    def bounds_cm(self) -> Floats:
        """The corners of the volume, (2, 3): lowest and highest x, y, z."""
        drift, height, length = self.size_cm
        return np.array([[0, -height / 2, 0], [drift, height / 2, length]])

    def meta(self, plane: int) -> ImageMeta:
        """Return a tick-backward meta: the origin is the top left, row 0 has the largest ticks."""
        width = self.cols * self.wires_per_pixel
        return ImageMeta(
            width=width,
            height=self.ticks,
            rows=self.rows,
            cols=self.cols,
            origin_x=0.0,
            origin_y=self.last_tick,
            plane=plane,
        )

    def wire(self, plane: int, position_cm: Floats) -> Floats:
        """Return the wire coordinates of points (n, 3): wire w reaches from w to w + 1."""
        _, y, z = position_cm.T
        top = self.size_cm[1] / 2
        if plane == 2:
            return np.asarray(z / PITCH_CM)
        up = top + y if plane == 0 else top - y
        return np.asarray((z * _COS60 + up * _SIN60) / PITCH_CM)

    def tick(self, position_cm: Floats, time_us: Floats | float) -> Floats:
        """Return the arrival ticks of charge that is freed at points (n, 3) at time `time_us`."""
        arrival_us = position_cm[:, 0] / DRIFT_CM_US + time_us
        return np.asarray(self.trigger_tick + arrival_us / TICK_US)

    def contains(self, position_cm: Floats) -> npt.NDArray[np.bool_]:
        """Return which points (n, 3) lie in the volume."""
        low, high = self.bounds_cm
        return np.asarray(np.all((position_cm >= low) & (position_cm <= high), axis=1))

    def keep(self, deposits: Deposits) -> Deposits:
        """Return the deposits that lie in the volume."""
        inside = self.contains(deposits.position_cm)
        return Deposits._make(column[inside] for column in deposits)
