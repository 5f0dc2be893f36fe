"""Read and write the weights in a `.caffemodel`. Refuses weights that do not fit the network."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import NetworkError
from . import caffe_proto

log = logging.getLogger(__name__)

Array = npt.NDArray[np.float32]
Weights = Mapping[str, tuple[Array, ...]]
"""The arrays of each layer that has weights, in Caffe's order, by the layer's name."""

_LEGACY = ("num", "channels", "height", "width")
_NAMED = 5  # layers that a message names: enough to recognise the network


def read_weights(
    data: bytes, *, want: Mapping[str, Sequence[tuple[int, ...]]], file: str, network: str
) -> Weights:
    """Return the weights of the layers in `want` from a caffemodel's bytes; `want` has the shapes.

    Raises `NetworkError` with layer and file if an array is missing, differs in shape or is not
    finite. Layers are matched by name, as in Caffe; other layers in the file are ignored and
    logged.
    """
    net = caffe_proto.from_bytes("NetParameter", data, file)
    stored = {layer.name: layer.blobs for layer in (*net.layers, *net.layer) if layer.blobs}
    if not stored:
        raise NetworkError(f"want weights in {file}, got {len(data)} bytes without any")
    if want and not want.keys() & stored.keys():
        raise NetworkError(
            f"want the weights of {network} in {file}, got another network's:"
            f" {_some(stored)}, not {_some(want)}"
        )
    extra = [name for name in stored if name not in want]
    if extra:
        log.warning("%s has weights that %s does not use: %s", file, network, _some(extra))
    return {
        name: _layer(stored.get(name, ()), shapes, f"layer {name!r} of {network}", file)
        for name, shapes in want.items()
    }


def _some(names: Mapping[str, Any] | Sequence[str]) -> str:
    some = [str(name) for name in list(names)[:_NAMED]]  # names that are not UTF-8 are bytes
    return ", ".join(some) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _layer(
    blobs: Sequence[bytes], shapes: Sequence[tuple[int, ...]], layer: str, file: str
) -> tuple[Array, ...]:
    if len(blobs) != len(shapes):
        raise NetworkError(
            f"want {len(shapes)} weight blobs of {layer}, got {len(blobs)} in {file}"
        )
    return tuple(
        _blob(data, shape, f"weights {i} of {layer}", file)
        for i, (data, shape) in enumerate(zip(blobs, shapes, strict=True))
    )


def _blob(data: bytes, shape: tuple[int, ...], what: str, file: str) -> Array:
    blob = caffe_proto.from_bytes("BlobProto", data, file)
    stored, same = tuple(blob.shape.dim), shape
    if any(blob.HasField(name) for name in _LEGACY):
        stored = tuple(getattr(blob, name) for name in _LEGACY)
        same = (1,) * (4 - len(shape)) + shape
    if stored != same:
        raise NetworkError(f"want the shape {shape} for {what}, got {stored} in {file}")
    packed = blob.data[0] if len(blob.data) == 1 else b"".join(blob.data)
    array = np.frombuffer(packed, "<f4") if len(packed) % 4 == 0 else np.zeros(0, np.float32)
    if array.size != prod(shape):
        # parse float by float: slow, but correct for any mixture of packed and unpacked data
        plain = caffe_proto.from_bytes("UnpackedBlobProto", data, file)
        array = np.array(plain.data, np.float32)
    if array.size != prod(shape):
        raise NetworkError(f"want {prod(shape)} numbers for {what}, got {array.size} in {file}")
    if not np.isfinite(array).all():
        raise NetworkError(f"want finite numbers for {what}, got NaN or Inf in {file}")
    return array.astype(np.float32, copy=False).reshape(shape)


def write_caffemodel(path: Path, name: str, weights: Mapping[str, Sequence[npt.ArrayLike]]) -> None:
    """Write weights as Caffe does; the file appears only when it is complete.

    The arrays become float32.
    """
    net = caffe_proto.new("NetParameter")
    net.name = name
    for layer_name, arrays in weights.items():
        layer = net.layer.add(name=layer_name)
        for values in arrays:
            array = np.asarray(values, "<f4")
            blob = caffe_proto.new("BlobProto")
            blob.shape.dim.extend(array.shape)
            blob.data.append(array.tobytes())
            layer.blobs.append(blob.SerializeToString())
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(net.SerializeToString())
    os.replace(part, path)
