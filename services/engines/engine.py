"""The interface of an engine, which runs a network, and the checks that all engines make."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..caffe.caffe_net import Network
from ..errors import EngineError, SizeRefused

Images = npt.NDArray[np.float32]
"""(batch, channels, rows, cols)."""

ENGINES = ("onnx", "caffe")
_CUDA = re.compile(r"cuda:(\d{1,3})")


class Engine(Protocol):
    """A network, loaded and ready, on one device."""

    name: str
    """One of `ENGINES`."""
    device: str
    network: Network
    blobs: dict[str, Images]
    """The inner blobs requested at opening, with their values after the last `forward`."""

    def forward(self, images: Images) -> Images:
        """Return each pixel's scores: (batch, classes, rows, cols); raises `SizeRefused`.

        If the network is not `batchable`, an image's scores depend on the whole batch.
        """

    def check(self, batch: int, rows: int, cols: int) -> None:
        """Raise `SizeRefused`, as `forward` would for images of this size."""


def gpu_of(device: str) -> int | None:
    """Return the GPU's number, or None for the CPU; raises `EngineError` for other names."""
    match = _CUDA.fullmatch(device)
    if match is None and device != "cpu":
        raise EngineError(f"want a device, cpu or cuda:0, got {device!r}")
    return int(match[1]) if match else None


def check_images(engine: Engine, images: Images) -> None:
    """Raise `SizeRefused` unless the engine can take these images."""
    network = engine.network
    if images.ndim != 4 or images.shape[1] != network.input_channels:
        raise SizeRefused(
            f"want (batch, {network.input_channels}, rows, cols) for {network.file},"
            f" got {images.shape}"
        )
    engine.check(images.shape[0], *images.shape[2:])


def check_blobs(network: Network, blobs: Sequence[str]) -> None:
    """Raise `EngineError` if the network has no blob of one of these names."""
    known = {network.input_name, *(layer.top for layer in network.layers)}
    unknown = [name for name in blobs if name not in known]
    if unknown:
        raise EngineError(f"want names of blobs in {network.file}, got {', '.join(unknown)}")


def warm_up(engine: Engine, rows: int, cols: int) -> None:
    """Run one forward pass of an empty image before READY, since the first pass takes longer."""
    engine.forward(np.zeros((1, engine.network.input_channels, rows, cols), np.float32))
