"""The pycaffe engine, for machines where Caffe can be imported. Refuses input that aborts Caffe.

Caffe holds the GIL during a forward pass and ends the process on an error. Therefore files and
sizes are checked first, Caffe is tried in a child process, and the network must run in another
process than the sockets (a worker's network does).
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..caffe import caffe_net
from ..caffe.caffe_deploy import deploy_text, smallest_side
from ..errors import EngineError
from .caffe_limits import check_limits
from .caffe_trial import no_caffe, try_caffe
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
        try_first: bool = True,
    ) -> None:
        """Check and load the network; raises `NetworkError` and `EngineError`.

        try_first: load it in a child process first, where an error of Caffe does no harm.
        """
        self.device = device
        self._gpu = gpu_of(device)
        network = caffe_net.read(prototxt, weights)
        check_blobs(network, blobs)
        side = smallest_side(network)
        check_limits(network, 1, side, side)
        self.network = replace(network, weights={})  # Caffe has a copy
        self.blobs: dict[str, Images] = dict.fromkeys(blobs, np.zeros(0, np.float32))
        try:
            self._net = self._opened(deploy_text(network, prototxt), threads, try_first)
        except OSError as error:  # no room, or no process
            raise EngineError(f"cannot open {prototxt} in Caffe: {error}") from None
        _copy_weights(network, self._net.params)

    def _opened(self, text: str, threads: int, try_first: bool) -> Any:
        with tempfile.NamedTemporaryFile("w", suffix=".prototxt", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if try_first:
                try_caffe(Path(file.name), self._gpu, self.network.file)
            self._caffe = _import_caffe(threads)
            self._select_device()
            return self._caffe.Net(file.name, self._caffe.TEST)

    def forward(self, images: Images) -> Images:
        """Return each pixel's scores; raises `SizeRefused` where Caffe would abort.

        Images that may be computed one by one are: Caffe is not faster with more, and never gives
        back the memory.
        """
        check_images(self, images)
        self._select_device()
        at_once = self._at_once or len(images)
        parts = [
            self._forward(images[start : start + at_once])
            for start in range(0, len(images), at_once)
        ]
        self.blobs = {name: np.concatenate([part[name] for part in parts]) for name in self.blobs}
        scores: Images = np.concatenate([part[self.network.output_name] for part in parts])
        return scores

    def check(self, batch: int, rows: int, cols: int) -> None:
        """Raise `SizeRefused` for images that the network or Caffe cannot take."""
        check_limits(self.network, min(batch, self._at_once or batch), rows, cols)

    @property
    def _at_once(self) -> int:
        """The images in one pass of Caffe; 0: all, as they have their statistics in common."""
        return 1 if self.network.batchable else 0

    def _forward(self, images: Images) -> dict[str, Images]:
        data = self._net.blobs[self.network.input_name]
        data.reshape(*images.shape)
        data.data[...] = images
        self._net.forward()
        # Caffe returns views that the next forward pass overwrites
        names = {self.network.output_name, *self.blobs}
        return {name: self._net.blobs[name].data.copy() for name in names}

    def _select_device(self) -> None:
        # Caffe's mode and device belong to the thread that runs, not to the network
        if self._gpu is None:
            self._caffe.set_mode_cpu()
        else:
            self._caffe.set_mode_gpu()
            self._caffe.set_device(self._gpu)


def _copy_weights(network: caffe_net.Network, params: Any) -> None:
    """Give Caffe the arrays that were checked; it never reads the caffemodel itself.

    A fork's training layers in that file could have parameters that end Caffe.
    """
    for name, arrays in network.weights.items():
        blobs = params[name]
        if [tuple(blob.data.shape) for blob in blobs] != [array.shape for array in arrays]:
            raise EngineError(
                f"want weights of {[array.shape for array in arrays]} in Caffe's layer {name!r} of"
                f" {network.file}, got {[tuple(blob.data.shape) for blob in blobs]}"
            )
        for blob, array in zip(blobs, arrays, strict=True):
            blob.data[...] = array


def _import_caffe(threads: int) -> Any:
    # Caffe and its BLAS read these only when they are loaded
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("GLOG_logtostderr", "1")  # not files in TMPDIR
    if threads:
        os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    try:
        return importlib.import_module("caffe")
    except ImportError as error:
        raise no_caffe(error) from None
