"""Pools of plane workers on one machine: `ssnet worker --planes 0,1,2 -n 2`."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from mdp import SettingsError, Worker
from services import networks
from services.errors import EngineError
from services.planes import service_name
from services.ssnet import PlaneSettings, SSNet, load_network

from ..flow.subprocess_call import apart

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pool:
    """Workers of some planes, on this machine."""

    planes: tuple[int, ...]
    workers: int = 1
    """Of each plane."""
    network: Path | None = None
    """A folder with a network of each plane; None: the shipped one."""
    prototxt: Path | None = None
    weights: Path | None = None
    """Both, for one plane, in place of `network`."""
    engine: str = "onnx"
    device: str = "cpu"
    threads: int = 0
    """Of each worker; 0: the cores of this machine, divided among the workers."""
    threshold_adc: float = 10.0
    dtype: str = "float16"

    def __post_init__(self) -> None:
        files = (self.prototxt, self.weights)
        if any(files) and (not all(files) or self.network or len(self.planes) != 1):
            raise SettingsError("want --prototxt and --weights together, for one --plane")

    def settings(self, plane: int) -> PlaneSettings:
        """What each worker of a plane is told; raises `NetworkError` where files are missing."""
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
        )

    def _share(self) -> int:
        """Of the cores: workers that each take all of them are slower than one."""
        cores = len(os.sched_getaffinity(0))
        return max(1, cores // self.total)

    def options(self) -> list[str]:
        """The same as options of `ssnet worker`."""
        given = {
            "--planes": ",".join(str(plane) for plane in self.planes),
            "--number": self.workers,
            "--network": self.network,
            "--prototxt": self.prototxt,
            "--weights": self.weights,
            "--engine": self.engine,
            "--device": self.device,
            "--threads": self.threads,
            "--threshold": self.threshold_adc,
            "--dtype": self.dtype,
        }
        return [f"{name}={value}" for name, value in given.items() if value is not None]

    @property
    def total(self) -> int:
        return self.workers * len(self.planes)

    def factories(self) -> list[tuple[str, Callable[[], Worker]]]:
        """What `mdp` starts."""
        settings = [self.settings(plane) for plane in self.planes]
        return [
            (service_name(each.plane), functools.partial(SSNet, each))
            for each in settings
            for _ in range(self.workers)
        ]

    def check(self) -> None:
        """Load each network once, in a process of its own: errors come at once, and once.

        The converted networks are in the cache then, and the workers start quickly. The host of
        the workers stays small. Raises `NetworkError` and `EngineError`.
        """
        for each in [self.settings(plane) for plane in self.planes]:
            name, began_at = service_name(each.plane), time.perf_counter()
            log.info("%s: reading %s; converted if the cache lacks it", name, each.prototxt)
            try:
                apart(load_network, each)
                log.info("%s: checked in %.1f s", name, time.perf_counter() - began_at)
            except BrokenProcessPool:
                died = f"{each.engine} died of {each.prototxt} and {each.weights}"
                raise EngineError(died) from None
