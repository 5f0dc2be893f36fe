"""The plane services `ssnet-plane<p>`: answer a wire plane's crops with [shower, track] scores.

Refuses, with error 400: malformed frames, another plane's images, sizes the network cannot take,
and images above the limit of pixels, before they are unpacked. The shipped networks take 200 bytes
of memory for each pixel.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lartpc import Batch, FrameError, Limits, pack, unpack
from lartpc.crops.chain import CLASSES, LOW_ADC, mask
from lartpc.errors import TooManyPixels
from lartpc.image import all_finite
from mdp import Refused, SettingsError, Worker

from .caffe.caffe_net import Network, read, require_classes
from .engines.engine import Engine, warm_up
from .engines.open_engine import open_engine
from .errors import NetworkError, SizeRefused
from .planes import DESCRIBE, Description, Origin, answer_name, service_name, who

log = logging.getLogger(__name__)

DTYPES = ("float16", "float32")
BACKGROUND = 0  # the network's channel that is not sent back; [shower, track] follow it
_MAX_THREADS = 1024
_MAX_BATCH = 8  # images in one forward pass: more are not faster, and need more memory
MAX_PIXELS = 4096 * 4096
"""The default limit of an image, 16 times a crop of 1024 x 1024 pixels."""
_PLANE = re.compile(r"Plane (\d{1,5}) ")


@dataclass(frozen=True)
class PlaneSettings:
    """The settings of a plane's worker. Raises `SettingsError`."""

    plane: int
    prototxt: Path
    weights: Path
    engine: str = "onnx"
    device: str = "cpu"
    threads: int = 0
    """Threads of one forward pass; 0 means one per core."""
    threshold_adc: float = LOW_ADC
    """Scores are 0 where the image is below this."""
    dtype: str = "float16"
    """The type of the sent scores: float16 halves their size, float32 keeps every digit."""
    warm_up: int = 512
    """Rows and columns of a forward pass before READY; 0: no such pass."""
    max_pixels: int = MAX_PIXELS
    """The most pixels of an image, rows times columns, and of all images in one forward pass."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold_adc < math.inf:
            raise SettingsError(f"want a threshold of at least 0 ADC, got {self.threshold_adc}")
        if not 0 <= self.threads <= _MAX_THREADS:
            raise SettingsError(f"want threads from 0 to {_MAX_THREADS}, got {self.threads}")
        if self.dtype not in DTYPES:
            raise SettingsError(f"want scores of {' or '.join(DTYPES)}, got {self.dtype}")
        if self.max_pixels < 1:
            raise SettingsError(f"want max_pixels of at least 1, got {self.max_pixels}")

    def limits(self) -> Limits:
        """Return the limits of a request. Its pixels are limited as if they were float32."""
        array_bytes = Limits().array_bytes
        pixels = array_bytes // np.dtype(np.float32).itemsize
        return Limits(array_bytes, image_pixels=self.max_pixels, pixels=pixels)


class SSNet(Worker):
    """The worker that scores the images of one plane.

    A request holds triples of frames with images (batch, 1, rows, cols). The answer to each triple
    is a triple with scores (batch, 2, rows, cols), sent as soon as it is computed. A request with
    only the frame `describe` is answered with the worker's `Description`.
    """

    regular = True

    def __init__(self, settings: PlaneSettings) -> None:
        self._settings = settings
        self._limits = settings.limits()
        self.threads, self.device = settings.threads, settings.device
        self._engine: Engine | None = None
        self._info: dict[str, Any] = {}

    def setup(self) -> None:
        settings = self._settings
        name, began_at = service_name(settings.plane), time.perf_counter()
        log.info("%s: reading %s, %s", name, settings.prototxt, settings.weights)
        engine = self.open()
        read_s = time.perf_counter() - began_at
        if settings.warm_up:
            divisor = engine.network.size_divisor
            side = -(-settings.warm_up // divisor) * divisor
            log.info("%s: read in %.1f s; warming up with %d x %d", name, read_s, side, side)
            try:
                warm_up(engine, side, side)
            except SizeRefused as error:
                log.warning("%s: not warmed up: %s", name, error)
        self._engine = engine
        self.fingerprint = self._origin(engine).fingerprint()
        self._info = {
            **asdict(self._origin(engine)),
            "device": engine.device,
            **who(),
        }
        took_s = time.perf_counter() - began_at
        network, device = engine.network.name, engine.device
        log.info("%s: can compute %s on %s after %.1f s", name, network, device, took_s)

    def open(self) -> Engine:
        """Load the network; raises `NetworkError` and `EngineError`."""
        return open_network(self._settings)

    def handle(self, frames: list[bytes]) -> list[bytes] | Iterator[list[bytes]]:
        arrived_at = time.perf_counter()
        if frames == [DESCRIBE]:
            return [self.describe().pack()]
        try:
            batches = unpack(frames, self._limits)
            for batch in batches:
                self._check(batch)
        except TooManyPixels as error:
            raise Refused(f"{error} (--max-pixels of ssnet worker planes)") from error
        except (FrameError, NetworkError) as error:
            raise Refused(str(error)) from error
        return self._answers(batches, arrived_at)

    def _answers(self, batches: Sequence[Batch], arrived_at: float) -> Iterator[list[bytes]]:
        for batch in batches:
            yield self._answer(batch, arrived_at)
            arrived_at = time.perf_counter()

    def describe(self) -> Description:
        """Describe this worker: its plane, its network's properties and its origin."""
        network = self._loaded.network
        plane, origin = self._settings.plane, self._origin(self._loaded)
        return Description(plane, network.size_divisor, network.batchable, origin)

    def _origin(self, engine: Engine) -> Origin:
        network = engine.network
        return Origin(
            engine.name,
            network.sha256,
            network.weights_sha256 or "",
            float(self._settings.threshold_adc),
            self._settings.dtype,
        )

    @property
    def _loaded(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("want setup() before handle()")
        return self._engine

    def _check(self, batch: Batch) -> None:
        """Raise `Refused` or `NetworkError` for a batch that this plane's network cannot take."""
        want = self._settings.plane
        lines = batch.meta.split("\n")
        if len(lines) != len(batch.array):
            raise Refused(
                f"want one meta line for each of {len(batch.array)} images of {batch.name},"
                f" got {len(lines)}"
            )
        for line in lines:
            match = _PLANE.match(line)
            if match is None or int(match[1]) != want:
                raise Refused(f"want images of plane {want}, got {batch.name} {line[:80]!r}")
        if batch.array.dtype.kind != "f" or not all_finite(batch.array):
            raise Refused(f"want finite ADC in {batch.name}, got {batch.array.dtype}, NaN or Inf")
        network = self._loaded.network
        if batch.array.shape[1] != network.input_channels:
            raise Refused(
                f"want (batch, {network.input_channels}, rows, cols) in {batch.name},"
                f" got {batch.array.shape}"
            )
        self._loaded.check(1, *batch.array.shape[2:])

    def _answer(self, batch: Batch, arrived_at: float) -> list[bytes]:
        started_at = time.perf_counter()
        scores = self._scores(batch.array.astype(np.float32, copy=False))
        info = {**self._info, "seconds": time.perf_counter() - started_at}
        answer = Batch(answer_name(self._settings.plane), batch.meta, scores, info)

        def busy() -> dict[str, float]:
            return {"busy_seconds": time.perf_counter() - arrived_at}

        return pack([answer], dtype=self._settings.dtype, late_info=busy)

    def _scores(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return (batch, 2, rows, cols), 0 below the threshold.

        Images without charge are not computed: their scores are 0.
        """
        threshold = self._settings.threshold_adc
        charged = np.flatnonzero((images >= threshold).any(axis=(1, 2, 3)))
        rows, cols = images.shape[2:]
        scores = np.zeros((len(images), len(CLASSES), rows, cols), np.float32)
        at_once = self._images_at_once(rows * cols)
        for start in range(0, len(charged), at_once):
            chosen = charged[start : start + at_once]
            computed = self._loaded.forward(images[chosen])[:, BACKGROUND + 1 :]
            for index, crop_scores in zip(chosen, computed, strict=True):
                scores[index] = mask(crop_scores, images[index, 0], low=threshold)
        return scores

    def _images_at_once(self, pixels: int) -> int:
        """Return the number of images of this size in one forward pass."""
        # images may share a pass only if no BatchNorm takes its statistics from the batch
        if not self._loaded.network.batchable:
            return 1
        return max(1, min(_MAX_BATCH, self._settings.max_pixels // max(pixels, 1)))


def open_network(settings: PlaneSettings) -> Engine:
    """Check and load the network that the settings name."""
    check_network(read(settings.prototxt))
    return open_engine(
        settings.engine,
        settings.prototxt,
        settings.weights,
        device=settings.device,
        threads=settings.threads,
    )


def load_network(settings: PlaneSettings) -> None:
    """Load the network and drop it, to raise start-up errors now and to fill the cache."""
    open_network(settings)


def check_network(network: Network) -> None:
    """Raise `NetworkError` unless the network gives each pixel of one image a score per class."""
    require_classes(network, 1 + len(CLASSES))
    if network.input_channels != 1:
        raise NetworkError(
            f"want one input channel in {network.file}, got {network.input_channels}"
        )
