"""A Caffe network in onnxruntime: converted once, cached by content, run on CPU or GPU.

Refuses devices that this onnxruntime does not have: it would take another one in silence.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import extras
from ..caffe import caffe_net
from ..errors import EngineError, NetworkError
from .engine import Images, check_blobs, check_images, gpu_of

log = logging.getLogger(__name__)

CONVERTER = 1
"""Part of a cached model's name: counts up when the converter writes something else."""
_ERRORS_ONLY = 3
_CHUNK_BYTES = 1 << 20


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
        # read once, when it is loaded: official builds send telemetry, and leave files in TMPDIR
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        ort = _import("onnxruntime", "to run networks")
        providers = _providers(ort, gpu)
        self.network = replace(caffe_net.read(prototxt), weights_sha256=_sha256(weights))
        check_blobs(self.network, blobs)
        self.blobs: dict[str, Images] = dict.fromkeys(blobs, np.zeros(0, np.float32))
        model = (
            _convert(self.network, prototxt, weights, blobs)  # more outputs than are kept
            if blobs
            else _load(self.network, prototxt, weights, cache)
        )
        self._session = _session(ort, model, providers, threads, device)

    def forward(self, images: Images) -> Images:
        """Each pixel's scores; raises `SizeRefused`."""
        check_images(self.network, images)
        feed = {"images": np.ascontiguousarray(images, np.float32)}
        scores, *kept = self._session.run(None, feed)
        self.blobs = dict(zip(self.blobs, kept, strict=True))
        answer: Images = scores
        return answer


def _import(library: str, purpose: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        line = extras.install(extras.missing(["worker"]) or [library])
        raise EngineError(f"want {library} {purpose} ({error}): {line} (extra [worker])") from None


def _providers(ort: Any, gpu: int | None) -> list[Any]:
    if gpu is None:
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise EngineError(
            f"want an onnxruntime with CUDA for cuda:{gpu}, got {ort.__version__} without:"
            " pip install onnxruntime-gpu, or take the device cpu"
        )
    return [("CUDAExecutionProvider", {"device_id": gpu})]


def _session(ort: Any, model: Path | bytes, providers: list[Any], threads: int, device: str) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    # threads that wait without sleeping take the cores of the node's other workers
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=providers
        )
    except Exception as error:  # its errors share no class but this
        raise EngineError(f"onnxruntime cannot load the network on {device}: {error}") from None
    wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if session.get_providers()[0] != wanted:  # it goes on without a GPU, and only logs it
        raise EngineError(f"want the device {device}, onnxruntime could not open it")
    return session


# Converted once, and kept by what went into it.


def _load(
    network: caffe_net.Network, prototxt: Path, weights: Path, cache: Path | None
) -> Path | bytes:
    """The converted model's file, or the model itself where there is no cache to keep it."""
    kept = None if cache is None else _find(cache, _key(network))
    if kept is not None:
        return kept
    model = _convert(network, prototxt, weights)
    return (None if cache is None else _keep(cache, _key(network), model)) or model


def _convert(
    network: caffe_net.Network, prototxt: Path, weights: Path, blobs: Sequence[str] = ()
) -> bytes:
    log.info("converting %s; the cache keeps what comes of it", prototxt)
    _import("onnx", "to convert a network that is not in the cache")
    from .onnx_convert import convert

    whole = caffe_net.read(prototxt, weights)
    if _key(whole) != _key(network):
        raise NetworkError(f"{prototxt} or {weights} changed while it was read")
    return convert(whole, blobs)


def _key(network: caffe_net.Network) -> str:
    of = f"{CONVERTER} {network.sha256} {network.weights_sha256}"
    return hashlib.sha256(of.encode()).hexdigest()


def _find(cache: Path, key: str) -> Path | None:
    """A model kept under this key whose content is what its name says; removes any other."""
    for path in cache.glob(f"{key}-*.onnx"):
        with contextlib.suppress(OSError):
            if path.stem == f"{key}-{_digest(path)}":
                return path
            log.warning("removed %s: its content is not what was written", path)
            path.unlink()
    return None


def _keep(cache: Path, key: str, model: bytes) -> Path | None:
    """Write a model whole, whoever else does so; None, and a line in the log, where one cannot."""
    path = cache / f"{key}-{hashlib.sha256(model).hexdigest()}.onnx"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, prefix=".part-", delete=False) as part:
            try:
                part.write(model)
                part.close()
                os.replace(part.name, path)
            except BaseException:
                os.unlink(part.name)
                raise
    except OSError as error:
        log.warning("the converted network is not kept: %s", error)
        return None
    return path


def _sha256(weights: Path) -> str:
    try:
        return _digest(weights)
    except OSError as error:
        raise NetworkError(f"want a network's file: {error}") from None


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
