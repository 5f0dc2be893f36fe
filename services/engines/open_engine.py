"""Open an engine by its name. Refuses engines, devices and networks that are not available."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import EngineError
from .engine import ENGINES, Engine


def open_engine(
    name: str,
    prototxt: Path,
    weights: Path,
    *,
    device: str = "cpu",
    threads: int = 0,
    blobs: Sequence[str] = (),
    cache: Path | None = None,
) -> Engine:
    """Load a network into the engine of this name.

    device: `cpu` or `cuda:0`; threads: 0 means one per core; blobs: inner blobs to keep after each
    forward pass, for tests; cache: the directory of converted networks, by default the user's.
    Raises `NetworkError` and `EngineError`.
    """
    if name == "onnx":
        from .onnx_engine import OnnxEngine

        return OnnxEngine(
            prototxt,
            weights,
            device=device,
            threads=threads,
            blobs=blobs,
            cache=cache or user_cache(),
        )
    if name == "caffe":
        from .caffe_engine import CaffeEngine

        return CaffeEngine(prototxt, weights, device=device, threads=threads, blobs=blobs)
    raise EngineError(f"want one of the engines {', '.join(ENGINES)}, got {name!r}")


def user_cache() -> Path:
    """Return the directory of this user's converted networks."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "ssnetserver"
