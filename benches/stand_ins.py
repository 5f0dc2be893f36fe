"""Plane workers that take a fixed time for each crop instead of computing, for benches and tests.

Everything except the network is the code of the plane service. Their settings are environment
variables, since `mdp worker` starts a class without arguments: SSNET_STANDIN="PLANE SECONDS", and
SSNET_STANDIN_LOG, a folder for files with the times at which work on each crop began and ended.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from lartpc import Batch
from services.caffe.caffe_net import Network
from services.engines.engine import Engine, Images
from services.ssnet import PlaneSettings, SSNet

VARIABLE = "SSNET_STANDIN"
LOG_VARIABLE = "SSNET_STANDIN_LOG"
_NOWHERE = Path("no network")


class StandIn:
    """An engine without a network: shower = ADC / 500, track = ADC / 1000, after a fixed time."""

    name = "stand-in"
    device = "none"

    def __init__(self, plane: int, seconds: float) -> None:
        self.network = Network(
            name=self.name,
            file=self.name,
            layers=(),
            input_name="data",
            input_shape=(1, 1, 32, 32),
            output_name="data",
            sha256=f"stand-in for plane {plane}",
        )
        self.blobs: dict[str, Images] = {}
        self._seconds = seconds

    def forward(self, images: Images) -> Images:
        began_at = time.monotonic()
        shower, track = images / np.float32(500), images / np.float32(1000)
        scores: Images = np.concatenate([1 - shower - track, shower, track], axis=1)
        time.sleep(max(self._seconds - (time.monotonic() - began_at), 0))
        return scores

    def check(self, batch: int, rows: int, cols: int) -> None:
        self.network.shapes(batch, rows, cols)


class StandInWorker(SSNet):
    """The plane service with a stand-in; its scores are float32, so that tests can compare them."""

    def __init__(self) -> None:
        plane, seconds = os.environ[VARIABLE].split()
        super().__init__(PlaneSettings(int(plane), _NOWHERE, _NOWHERE, dtype="float32", warm_up=0))
        self._seconds = float(seconds)
        folder = os.environ.get(LOG_VARIABLE)
        self._log = Path(folder, f"plane{plane}.{os.getpid()}") if folder else None

    def open(self) -> Engine:
        return StandIn(self._settings.plane, self._seconds)

    def _answer(self, batch: Batch, arrived_at: float) -> list[bytes]:
        began_at = time.monotonic()
        answer = super()._answer(batch, arrived_at)
        if self._log is not None:
            with self._log.open("a") as log:
                log.write(f"{began_at} {time.monotonic()}\n")
        return answer
