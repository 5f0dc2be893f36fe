"""The pycaffe engine, for machines where Caffe can be imported. Refuses input that aborts Caffe.

Caffe holds the GIL during a forward pass and ends the process on an error. Therefore files and
sizes are checked first, and the network must run in another process than the sockets (a worker's
network does).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..caffe import caffe_net
from ..errors import EngineError
from .engine import Images, check_blobs, check_images, gpu_of


class CaffeEngine:
    """An `Engine` that runs the network in pycaffe."""

    name = "caffe"

    def __init__(
        self,
        prototxt: Path,
        weights: Path,
        *,
        device: str = "cpu",
        threads: int = 0,
        blobs: Sequence[str] = (),
    ) -> None:
        self.device = device
        self._gpu = gpu_of(device)
        self.network = replace(caffe_net.read(prototxt, weights), weights={})  # Caffe has a copy
        check_blobs(self.network, blobs)
        self.blobs: dict[str, Images] = dict.fromkeys(blobs, np.zeros(0, np.float32))
        self._caffe = _import_caffe(threads)
        self._select_device()
        self._net = self._caffe.Net(str(prototxt), str(weights), self._caffe.TEST)

    def forward(self, images: Images) -> Images:
        """Return each pixel's scores; raises `SizeRefused` where Caffe would abort."""
        check_images(self.network, images)
        self._select_device()
        data = self._net.blobs[self.network.input_name]
        data.reshape(*images.shape)
        data.data[...] = images
        self._net.forward()
        # Caffe returns a view that the next forward pass overwrites
        self.blobs = {name: self._net.blobs[name].data.copy() for name in self.blobs}
        scores: Images = self._net.blobs[self.network.output_name].data.copy()
        return scores

    def _select_device(self) -> None:
        # Caffe's mode and device belong to the thread that runs, not to the network
        if self._gpu is None:
            self._caffe.set_mode_cpu()
        else:
            self._caffe.set_mode_gpu()
            self._caffe.set_device(self._gpu)


def _import_caffe(threads: int) -> Any:
    # Caffe and its BLAS read all three only when they are loaded
    os.environ.setdefault("GLOG_minloglevel", "2")
    if threads:
        os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    try:
        return importlib.import_module("caffe")
    except ImportError as error:
        raise EngineError(
            f"want pycaffe for the engine caffe ({error}): put its build's python directory into"
            " PYTHONPATH, or use the engine onnx"
        ) from None
