"""Small Caffe networks for tests, written as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.caffe.caffe_weights import write_caffemodel
from services.engines.onnx_engine import OnnxEngine

Array = npt.NDArray[np.float32]
HEADER = 'input: "data" input_dim: 1 input_dim: {} input_dim: {} input_dim: {}\n'
UNET = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "up" type: "Deconvolution" bottom: "pool" top: "up"
  convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 4 } }
layer { name: "both" type: "Concat" bottom: "conv" bottom: "up" top: "both" }
layer { name: "scores" type: "Convolution" bottom: "both" top: "scores"
  convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "softmax" type: "Softmax" bottom: "scores" top: "softmax" }
"""
"""Every second size fits; its batches may be cut as one likes."""
WIDE = """
layer { name: "a" type: "Convolution" bottom: "data" top: "a"
  convolution_param { num_output: 64 kernel_size: 1 } }
layer { name: "b" type: "Convolution" bottom: "a" top: "b"
  convolution_param { num_output: 3 kernel_size: 3 pad: 1 } }
layer { name: "softmax" type: "Softmax" bottom: "b" top: "softmax" }
"""


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def unet_weights() -> dict[str, list[Array]]:
    return {
        "conv": [numbers(4, 1, 3, 3), numbers(4, seed=1)],
        "norm": [numbers(4, seed=2), abs(numbers(4, seed=3)) + 1, np.full(1, 2, np.float32)],
        "scale": [numbers(4, seed=4), numbers(4, seed=5)],
        "up": [numbers(4, 1, 4, 4, seed=6), numbers(4, seed=7)],
        "scores": [numbers(3, 8, 1, 1, seed=8), numbers(3, seed=9)],
    }


def gentle_weights() -> dict[str, list[Array]]:
    """Weights that leave a few hundred ADC undecided: scores between 0 and 1."""
    weights = unet_weights()
    return {**weights, "conv": [weights["conv"][0] * np.float32(0.01), weights["conv"][1]]}


def write(
    directory: Path,
    layers: str = UNET,
    weights: Mapping[str, Sequence[Array]] | None = None,
    *,
    header: str | None = None,
    sides: tuple[int, int, int] = (1, 8, 8),
) -> tuple[Path, Path]:
    """A prototxt and a caffemodel; `sides` are channels, rows and cols of the header."""
    prototxt, caffemodel = directory / "net.prototxt", directory / "net.caffemodel"
    prototxt.write_text((HEADER.format(*sides) if header is None else header) + layers)
    write_caffemodel(caffemodel, "net", unet_weights() if weights is None else weights)
    return prototxt, caffemodel


def write_wide(folder: Path) -> tuple[Path, Path]:
    """A network whose im2col buffer is too large for an image of 2048 x 2048."""
    a, b = [numbers(64, 1, 1, 1), numbers(64)], [numbers(3, 64, 3, 3), numbers(3)]
    return write(folder, WIDE, {"a": a, "b": b})


def run(
    directory: Path, layers: str, x: Array, weights: Mapping[str, Sequence[Array]] | None = None
) -> Array:
    """What onnxruntime makes of an image with these layers."""
    # a layer without weights stands alone: a file without any is refused, so this one has some
    layers += ' layer { name: "last" type: "Scale" bottom: "out" top: "last" }'
    given = dict(weights or {})
    prototxt, _ = write(directory, layers, given, sides=(x.shape[1], x.shape[2], x.shape[3]))
    from services.caffe import caffe_net

    network = caffe_net.read(prototxt)
    given["last"] = [np.ones(network.output_channels, np.float32)]
    _, caffemodel = write(directory, layers, given, sides=(x.shape[1], x.shape[2], x.shape[3]))
    return OnnxEngine(prototxt, caffemodel, threads=1).forward(x)
