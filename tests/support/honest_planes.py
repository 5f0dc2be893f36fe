"""Plane workers without a network whose scores could be one's: above 0 on charge, sums up to 1."""

from __future__ import annotations

import time

import numpy as np

from benches.stand_ins import StandIn, StandInWorker
from services.engines.engine import Engine, Images


class _Plausible(StandIn):
    def forward(self, images: Images) -> Images:
        began_at = time.monotonic()
        shower, track = images / np.float32(600), images / np.float32(3000)
        scores: Images = np.concatenate([1 - shower - track, shower, track], axis=1)
        time.sleep(max(self._seconds - (time.monotonic() - began_at), 0))
        return scores


class Plausible(StandInWorker):
    """Shower = ADC / 600, track = ADC / 3000: at the ceiling of 500 ADC their sum is 1."""

    def open(self) -> Engine:
        return _Plausible(self._settings.plane, self._seconds)
