"""A Caffe network in onnxruntime: converted once, cached by content, run on CPU or GPU.

Refuses devices that this onnxruntime does not have: it would take another one in silence.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import caffe_net
from .engine import Images, check_blobs, check_images, gpu_of
from .errors import EngineError

log = logging.getLogger(__name__)

CONVERTER = 1
"""Part of a cached model's name: counts up when the converter writes something else."""
_DIGEST_BYTES = 32
_ERRORS_ONLY = 3


class OnnxEngine:
    """A network in an onnxruntime session."""

    name = "onnx"

    def __init__(
        self,
        prototxt: Path,
        weights: Path,
        *,
        device: str = "cpu",
        threads: int = 0,
        blobs: Sequence[str] = (),
        cache: Path | None = None,
    ) -> None:
        """Load, or convert and cache; without a `cache`, and with `blobs`, always convert."""
        self.device = device
        gpu = gpu_of(device)
        ort = _import("onnxruntime", "to run networks")
        providers = _providers(ort, gpu)
        self.network = caffe_net.read(prototxt)
        check_blobs(self.network, blobs)
        self.blobs: dict[str, Images] = dict.fromkeys(blobs, np.zeros(0, np.float32))
        model = _model(self.network, prototxt, weights, blobs, None if blobs else cache)
        self._session = _session(ort, model, providers, threads)

    def forward(self, images: Images) -> Images:
        """Each pixel's scores; raises `SizeRefused`."""
        check_images(self.network, images)
        feed = {"images": np.ascontiguousarray(images, np.float32)}
        scores, *kept = self._session.run(None, feed)
        self.blobs = dict(zip(self.blobs, kept, strict=True))
        answer: Images = scores
        return answer
