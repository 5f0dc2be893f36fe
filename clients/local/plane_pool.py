"""Workers of plane services on one machine: `ssnet worker planes --planes 0,1,2 -n 2`."""

from __future__ import annotations

import functools
import logging
import os
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from lartpc.frames import MAX_SIDE
from mdp import SettingsError
from services import networks
from services.errors import EngineError
from services.planes import service_name
from services.ssnet import PlaneSettings, SSNet, load_network

from . import subprocesses
from .serving import Factories

log = logging.getLogger(__name__)

ANY_SIZE = MAX_SIDE * MAX_SIDE
"""The `max_pixels` of workers that serve only the command that started them."""


@dataclass(frozen=True)
class PlanePool:
    """Workers of some planes, on this machine."""

    planes: tuple[int, ...]
    workers: int = 1
    """Workers of each plane."""
    network: Path | None = None
    """A folder with a network for each plane; None: the shipped networks."""
    prototxt: Path | None = None
    weights: Path | None = None
    """Both files of a network for one plane, in place of `network`."""
    engine: str = PlaneSettings.engine
    device: str = PlaneSettings.device
    threads: int = 0
    """Threads of each worker; 0: the cores of this machine, divided among the workers."""
    threshold_adc: float = PlaneSettings.threshold_adc
    dtype: str = PlaneSettings.dtype
    max_pixels: int = PlaneSettings.max_pixels

    def __post_init__(self) -> None:
        if not self.planes:
            raise SettingsError("want planes as in --planes 0,1,2, got none")
        files = (self.prototxt, self.weights)
        if any(files) and (not all(files) or self.network or len(self.planes) != 1):
            raise SettingsError("want --prototxt and --weights together, for one plane: --planes 0")

    def settings(self, plane: int) -> PlaneSettings:
        """The settings of a plane's workers; raises `NetworkError` if files are missing."""
        if self.prototxt and self.weights:
            prototxt, weights = self.prototxt, self.weights
        else:
            prototxt, weights = networks.find(self.network or networks.SHIPPED, plane)
        return PlaneSettings(
            plane=plane,
            prototxt=prototxt,
            weights=weights,
            engine=self.engine,
            device=self.device,
            threads=self.threads or self._share(),
            threshold_adc=self.threshold_adc,
            dtype=self.dtype,
            max_pixels=self.max_pixels,
        )

    def _share(self) -> int:
        """Threads per worker: workers that each use all cores are slower than one worker."""
        cores = len(os.sched_getaffinity(0))
        return max(1, cores // self.total)

    @property
    def total(self) -> int:
        return self.workers * len(self.planes)

    def factories(self) -> Factories:
        """For each worker its service and the function that makes it; `mdp` starts them."""
        return [
            (service_name(settings.plane), functools.partial(SSNet, settings))
            for settings in map(self.settings, self.planes)
            for _ in range(self.workers)
        ]

    def check(self) -> None:
        """Load each network once in a subprocess, so that an error comes early and only once.

        This also converts the networks into the cache, so that the workers start quickly, and
        keeps the memory of this process small. Raises `NetworkError` and `EngineError`.
        """
        for settings in map(self.settings, self.planes):
            name, began_at = service_name(settings.plane), time.perf_counter()
            log.info("%s: reading %s; converted if the cache lacks it", name, settings.prototxt)
            try:
                subprocesses.call(load_network, settings)
                log.info("%s: checked in %.1f s", name, time.perf_counter() - began_at)
            except BrokenProcessPool:
                files = f"{settings.prototxt} and {settings.weights}"
                raise EngineError(f"{settings.engine} died of {files}") from None
