"""Toy events for measurements: each plane's pixels in sparse form, and crops of them.

The events depend only on the seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clients.training.accuracy import Labels, Pixels
from lartpc.simulation import toy
from lartpc.simulation.chamber import PLANES, Chamber

THRESHOLD_ADC, SATURATION_ADC = 10.0, 500.0  # as in the production chain
EVENTS_A_DETECTOR = 25
"""The number of events per seed. Each seed has other dead wires, so several seeds are used."""
SMALL, WHOLE = Chamber(512, 512), Chamber(1008, 3456)
"""Chambers of a crop's size (an interaction in each event) and MicroBooNE's (mostly cosmics)."""


class ToyPlane(NamedTuple):
    """One plane of one event: the pixels that have charge or a label."""

    rows: int
    cols: int
    row: npt.NDArray[np.uint16]
    col: npt.NDArray[np.uint16]
    adc: Pixels
    label: Labels

    def cut(self, top: int, left: int, rows: int, cols: int) -> tuple[Pixels, Labels]:
        """Return the ADC, without threshold, and the labels of a crop: (rows, cols) each."""
        row, col = self.row.astype(np.int64) - top, self.col.astype(np.int64) - left
        inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        adc, label = np.zeros((rows, cols), np.float32), np.zeros((rows, cols), np.uint8)
        adc[row[inside], col[inside]] = self.adc[inside]
        label[row[inside], col[inside]] = self.label[inside]
        return adc, label

    def whole(self) -> tuple[Pixels, Labels]:
        return self.cut(0, 0, self.rows, self.cols)


def thresholded(adc: Pixels) -> Pixels:
    """Apply the production chain's threshold and saturation."""
    return np.where(adc < THRESHOLD_ADC, np.float32(0), np.minimum(adc, SATURATION_ADC))


def events(count: int, *, seed: int, chamber: Chamber) -> Iterator[tuple[ToyPlane, ...]]:
    """Yield toy events, three planes each, of the detectors `seed`, `seed + 1` and so on."""
    settings = toy.ToySettings(chamber)
    for index in range(count):
        event = toy.make(index, seed=seed + index // EVENTS_A_DETECTOR, settings=settings).event
        yield tuple(
            _picture(event.images[toy.WIRE][plane].pixels, event.images[toy.SEGMENT][plane].pixels)
            for plane in PLANES
        )


def _picture(adc: Pixels, label: Pixels) -> ToyPlane:
    row, col = np.nonzero((adc > 0) | (label > 0))
    places = row.astype(np.uint16), col.astype(np.uint16)
    rows, cols = adc.shape
    return ToyPlane(rows, cols, *places, adc[row, col], label[row, col].astype(np.uint8))
