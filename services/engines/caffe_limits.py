"""Refuse images for which Caffe would need a blob of more numbers than it can count.

Caffe counts a blob's numbers in a C int, and ends the process where they do not fit. Its im2col
buffers are blobs, too. No engine but Caffe has this limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from ..caffe.caffe_layers import Convolution, Deconvolution, Shape
from ..caffe.caffe_net import Layer, Network
from ..errors import SizeRefused

MOST_NUMBERS = (1 << 31) - 1
"""INT_MAX, the most numbers in one blob."""


def check_limits(network: Network, batch: int, rows: int, cols: int) -> None:
    """Raise `SizeRefused`, with the layer, for images that the network or Caffe cannot take."""
    shapes = network.shapes(batch, rows, cols)
    _check(f"blob {network.input_name!r}", shapes[network.input_name], network)
    for layer in network.layers:
        where = f"layer {layer.name!r} ({layer.kind})"
        _check(f"the output of {where}", shapes[layer.top], network)
        for buffer in _buffers(layer, shapes):
            _check(f"the im2col buffer of {where}", buffer, network)


def _buffers(layer: Layer, shapes: Mapping[str, Shape]) -> Iterator[tuple[int, ...]]:
    """Yield the shape of a convolution's im2col buffer, which holds one image, of all groups."""
    (_, channels, *sides_in), (_, outputs, *sides_out) = shapes[layer.bottoms[0]], shapes[layer.top]
    if isinstance(layer.does, Convolution):
        yield channels, *layer.does.window.kernel, *sides_out
    elif isinstance(layer.does, Deconvolution):
        yield outputs, *layer.does.window.kernel, *sides_in


def _check(what: str, shape: tuple[int, ...], network: Network) -> None:
    if prod(shape) > MOST_NUMBERS:
        raise SizeRefused(
            f"want at most {MOST_NUMBERS} numbers, Caffe's limit, in {what} of {network.file},"
            f" got {' x '.join(map(str, shape))} = {prod(shape)}: take smaller images, or the"
            " engine onnx"
        )
