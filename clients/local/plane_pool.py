"""Workers of plane services on one machine: `ssnet worker planes --planes 0,1,2 -n 2`."""

from __future__ import annotations

import functools
import logging
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from lartpc.frames import MAX_SIDE
from mdp import SettingsError
from mdp.system import machine, subprocesses
from services import networks
from services.errors import EngineError
from services.planes import service_name
from services.ssnet import PlaneSettings, SSNet, load_network

from .serving import Factories

log = logging.getLogger(__name__)

AUTO = "auto"
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
    """`cpu`, `cuda:0`, ..., or `auto`: the visible GPUs in turn, else the CPU."""
    threads: int = 0
    """Threads of each worker; 0: the cores of this process, divided among the workers."""
    threshold_adc: float = PlaneSettings.threshold_adc
    dtype: str = PlaneSettings.dtype
    max_pixels: int = PlaneSettings.max_pixels
    per_gpu: int | None = None
    """Workers of each plane for each GPU, in place of `workers`; only with `auto`."""
    canary: str = ""
    """The label of a canary: the workers serve its shadow names; empty: they serve the planes."""

    def __post_init__(self) -> None:
        if not self.planes:
            raise SettingsError("want planes as in --planes 0,1,2, got none")
        service_name(0, self.canary)  # a bad label is an error now
        if self.per_gpu is not None and self.device != AUTO:
            raise SettingsError(f"--per-gpu needs --device auto, got --device {self.device}")
        if self.per_gpu is not None and self.workers != 1:
            raise SettingsError("--per-gpu cannot be combined with --workers")
        files = (self.prototxt, self.weights)
        if any(files) and (not all(files) or self.network or len(self.planes) != 1):
            raise SettingsError("want --prototxt and --weights together, for one plane: --planes 0")

    @functools.cached_property
    def devices(self) -> tuple[str, ...]:
        """The device of each worker of a plane; every plane has the same ones."""
        if self.device != AUTO:
            return (self.device,) * self.workers
        gpus = machine.gpus()
        if not gpus:
            return ("cpu",) * (self.per_gpu or self.workers)
        count = max(self.workers, len(gpus) * (self.per_gpu or 1))
        return tuple(gpus[number % len(gpus)] for number in range(count))

    def settings(self, plane: int, device: str | None = None) -> PlaneSettings:
        """The settings of a plane's workers; raises `NetworkError` if files are missing.

        device: the first worker's, by default.
        """
        if self.prototxt and self.weights:
            prototxt, weights = self.prototxt, self.weights
        else:
            prototxt, weights = networks.find(self.network or networks.SHIPPED, plane)
        return PlaneSettings(
            plane=plane,
            prototxt=prototxt,
            weights=weights,
            engine=self.engine,
            device=device or self.devices[0],
            threads=self.threads or self._share(),
            threshold_adc=self.threshold_adc,
            dtype=self.dtype,
            max_pixels=self.max_pixels,
        )

    def _share(self) -> int:
        """Threads per worker: workers that each use all cores are slower than one worker."""
        return max(1, machine.cpus() // self.total)

    @property
    def total(self) -> int:
        return len(self.devices) * len(self.planes)

    def plan(self) -> str:
        """Return the devices and the threads of the workers, for the first line of the log."""
        threads = self.threads or self._share()
        share = f"{threads} thread{'s' if threads > 1 else ''} each"
        return f"{share}, on {', '.join(dict.fromkeys(self.devices))}"

    def log_plan(self) -> None:
        """Log which worker is on which device, with how many threads."""
        if self.device == AUTO and self.devices[0] == "cpu":
            log.info("--device auto: no GPU is visible, so the workers compute on the CPU")
        threads = self.threads or self._share()
        for device in dict.fromkeys(self.devices):
            numbers = [n for n, used in enumerate(self.devices, 1) if used == device]
            workers = [f"{service_name(plane)}#{n}" for plane in self.planes for n in numbers]
            line = "%s: %d worker%s with %d thread%s each: %s"
            count = len(workers)
            plurals = ("" if count == 1 else "s", threads, "" if threads == 1 else "s")
            log.info(line, device, count, *plurals, ", ".join(workers))

    def factories(self) -> Factories:
        """For each worker its service and the function that makes it; `mdp` starts them."""
        return [
            (
                service_name(plane, self.canary),
                functools.partial(SSNet, self.settings(plane, device)),
            )
            for plane in self.planes
            for device in self.devices
        ]

    def check(self) -> None:
        """Load each network once in a subprocess, so that an error comes early and only once.

        This also converts the networks into the cache, so that the workers start quickly, and
        keeps the memory of this process small. Raises `NetworkError` and `EngineError`.
        """
        self.log_plan()
        for settings in map(self.settings, self.planes):
            name, began_at = service_name(settings.plane), time.perf_counter()
            how = "; converted if the cache lacks it" if settings.engine == "onnx" else ""
            log.info("%s: reading %s%s", name, settings.prototxt, how)
            try:
                subprocesses.call(load_network, settings)
                log.info("%s: checked in %.1f s", name, time.perf_counter() - began_at)
            except BrokenProcessPool:
                files = f"{settings.prototxt} and {settings.weights}"
                raise EngineError(f"{settings.engine} died of {files}") from None
