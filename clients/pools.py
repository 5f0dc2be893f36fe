"""Pools of plane workers on one machine: `ssnet worker --planes 0,1,2 -n 2`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from mdp import SettingsError, Worker
from services import networks
from services.errors import EngineError
from services.ssnet import DTYPES, PlaneSettings, SSNet, load_network, service_name

from .apart import apart


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
        if self.threads < 0 or self.dtype not in DTYPES:
            raise SettingsError(f"want threads of at least 0, got {self.threads}")

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
        return max(1, cores // (self.workers * len(self.planes)))

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


def factories(pool: Pool) -> list[tuple[str, Callable[[], Worker]]]:
    """What `mdp` starts."""
    settings = [pool.settings(plane) for plane in pool.planes]
    return [
        (service_name(each.plane), functools.partial(SSNet, each))
        for each in settings
        for _ in range(pool.workers)
    ]


def check(pool: Pool) -> None:
    """Load each network once, in a process of its own: errors come at once, and once.

    The converted networks are in the cache then, and the workers start quickly. The host of the
    workers stays small. Raises `NetworkError` and `EngineError`.
    """
    for each in [pool.settings(plane) for plane in pool.planes]:
        try:
            apart(load_network, each)
        except BrokenProcessPool:
            raise EngineError(f"{each.engine} died of {each.prototxt} and {each.weights}") from None
