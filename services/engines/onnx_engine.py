"""The onnxruntime engine: runs a Caffe network, converted once and cached by content.

It runs on CPU or GPU, and refuses a device that this onnxruntime does not have: onnxruntime would
silently use another.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
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
"""Version of the converter, part of a cached model's name: raise it when its output changes."""
_ERRORS_ONLY = 3
_TURN_S, _LOOK_S = 120.0, 0.1
_CHUNK_BYTES = 1 << 20


class OnnxEngine:
    """An `Engine` that runs the network in an onnxruntime session."""

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
        """Load the converted network from the cache, or convert and cache it.

        Without `cache`, or with `blobs`, always convert. Raises `NetworkError` and `EngineError`.
        """
        self.device = device
        gpu = gpu_of(device)
        # official builds send telemetry and leave files in TMPDIR; they read this when loaded
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        ort = _import("onnxruntime", "to run networks")
        providers = _providers(ort, gpu)
        self.network = replace(caffe_net.read(prototxt), weights_sha256=_sha256(weights))
        check_blobs(self.network, blobs)
        self.blobs: dict[str, Images] = dict.fromkeys(blobs, np.zeros(0, np.float32))
        model = (
            _convert(self.network, prototxt, weights, blobs)  # with outputs that no cache holds
            if blobs
            else _load(self.network, prototxt, weights, cache)
        )
        self._session = _session(ort, model, providers, threads, device)

    def forward(self, images: Images) -> Images:
        """Return each pixel's scores; raises `SizeRefused`."""
        check_images(self, images)
        feed = {"images": np.ascontiguousarray(images, np.float32)}
        scores, *blobs = self._session.run(None, feed)
        self.blobs = dict(zip(self.blobs, blobs, strict=True))
        answer: Images = scores
        return answer

    def check(self, batch: int, rows: int, cols: int) -> None:
        """Raise `SizeRefused` for images that the network cannot take."""
        self.network.shapes(batch, rows, cols)


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
            f"want an onnxruntime with CUDA for cuda:{gpu}, got {ort.__version__} without CUDA:"
            " pip install onnxruntime-gpu, or use the device cpu"
        )
    return [("CUDAExecutionProvider", {"device_id": gpu})]


def _session(ort: Any, model: Path | bytes, providers: list[Any], threads: int, device: str) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    # threads that spin while they wait would take the cores of the node's other workers
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=providers
        )
    except Exception as error:  # onnxruntime's errors have no narrower common class
        raise EngineError(f"onnxruntime cannot load the network on {device}: {error}") from None
    wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if session.get_providers()[0] != wanted:  # without the GPU it falls back to the CPU
        raise EngineError(f"want the device {device}, but onnxruntime could not open it")
    return session


# The cache: a network is converted once; the key is a hash of its files.


def _load(
    network: caffe_net.Network, prototxt: Path, weights: Path, cache: Path | None
) -> Path | bytes:
    """Return the converted model's file, or the model itself if no cache can store it."""
    if cache is None:
        return _convert(network, prototxt, weights)
    key = _key(network)
    if (cached := _find(cache, key)) is not None:
        return cached
    with _turn(cache, key):  # an array of jobs that start at once converts it once
        if (cached := _find(cache, key)) is not None:
            return cached
        model = _convert(network, prototxt, weights)
        return _store(cache, key, model) or model


@contextlib.contextmanager
def _turn(cache: Path, key: str) -> Iterator[None]:
    """Wait while another process converts the same network, for `_TURN_S` at most.

    Without file locks, as on some network file systems, nobody waits: each process converts.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
            path = cache / f".lock-{key}"
            lock = stack.enter_context(path.open("w"))
            # a process that makes a new lock after this removal finds the converted network
            stack.callback(path.unlink, missing_ok=True)
            give_up_at = time.monotonic() + _TURN_S
            while not _is_locked(lock.fileno()) and time.monotonic() < give_up_at:
                time.sleep(_LOOK_S)
        yield


def _is_locked(number: int) -> bool:
    """Whether this process has the lock now; a lock ends with its process."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _convert(
    network: caffe_net.Network, prototxt: Path, weights: Path, blobs: Sequence[str] = ()
) -> bytes:
    log.info("converting %s; the result goes into the cache", prototxt)
    _import("onnx", "to convert a network that is not in the cache")
    from .onnx_convert import convert

    whole = caffe_net.read(prototxt, weights)
    if _key(whole) != _key(network):
        raise NetworkError(f"{prototxt} or {weights} changed while it was read")
    return convert(whole, blobs)


def _key(network: caffe_net.Network) -> str:
    content = f"{CONVERTER} {network.sha256} {network.weights_sha256}"
    return hashlib.sha256(content.encode()).hexdigest()


def _find(cache: Path, key: str) -> Path | None:
    """Return the cached model of this key; remove files whose content does not match their name."""
    for path in cache.glob(f"{key}-*.onnx"):
        with contextlib.suppress(OSError):
            if path.stem == f"{key}-{_digest(path)}":
                return path
            log.warning("removed %s: its content does not match the checksum in its name", path)
            path.unlink()
    return None


def _store(cache: Path, key: str, model: bytes) -> Path | None:
    """Write a model atomically, so that others may do so too; log and return None on failure."""
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
        log.warning("cannot write the converted network to the cache: %s", error)
        return None
    return path


def _sha256(weights: Path) -> str:
    try:
        return _digest(weights)
    except OSError as error:
        raise NetworkError(f"cannot read a network's file: {error}") from None


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
