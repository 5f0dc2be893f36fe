"""Read and check a Caffe network from its prototxt and caffemodel.

Caffe leaves random values in a layer that a caffemodel lacks, and ends the process if a size does
not fit. Here both are errors, which name the layer and the file.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from math import lcm
from pathlib import Path
from typing import Any

from ..errors import NetworkError, SizeRefused
from . import caffe_proto, caffe_text
from .caffe_layers import BatchNorm, Operation, Shape
from .caffe_weights import Weights, read_weights

log = logging.getLogger(__name__)

_LARGEST_STRIDE = 1024  # input pixels that one pixel of any blob stands for; SSNet has 32
_FAR = 4096  # pixels: a side that is large enough to find the divisor of any network


@dataclass(frozen=True)
class Layer:
    """A layer: its name and type in the prototxt, input blobs, output blob, and operation."""

    name: str
    kind: str
    bottoms: tuple[str, ...]
    top: str
    does: Operation


@dataclass(frozen=True, eq=False)
class Network:
    """A network with one input blob and one output blob, both images.

    Layers are in the order in which they run. A layer may write in place, to a blob that exists
    already: a blob's value is that of the last layer that wrote it.
    """

    name: str
    file: str
    """The prototxt's path, for error messages."""
    layers: tuple[Layer, ...]
    input_name: str
    input_shape: Shape
    """The shape in the prototxt; other batches and sizes are accepted too."""
    output_name: str
    sha256: str
    """The prototxt's checksum."""
    weights_sha256: str | None = None
    """The caffemodel's checksum; None if it was not read."""
    weights: Weights = field(default_factory=dict)

    @property
    def input_channels(self) -> int:
        return self.input_shape[1]

    @cached_property
    def output_channels(self) -> int:
        return self._shapes(self.input_shape)[self.output_name][1]

    @property
    def batchable(self) -> bool:
        """Whether an image's scores do not depend on the other images in its batch."""
        return not any(
            isinstance(layer.does, BatchNorm) and layer.does.batch_statistics
            for layer in self.layers
        )

    @cached_property
    def size_divisor(self) -> int:
        """Rows and cols (pixels) must be multiples of this; very small sizes may still not fit."""
        stride = _total_stride(self.layers, self.input_name, self.file)
        far = _FAR // stride * stride
        for divisor in (d for d in range(1, stride + 1) if stride % d == 0):
            # sizes that differ by a total stride behave alike, so one such span is enough
            if all(self._fits(far + side) for side in range(0, stride, divisor)):
                return divisor
        raise NetworkError(f"want a network that takes all multiples of a size, got {self.file}")

    def _fits(self, side: int) -> bool:
        try:
            self._checked((1, self.input_channels, side, side))
        except NetworkError:
            return False
        return True

    def shapes(self, batch: int, rows: int, cols: int) -> dict[str, Shape]:
        """Return every blob's shape for a batch of this size; raises `SizeRefused`."""
        if min(batch, rows, cols) < 1:
            raise SizeRefused(f"want at least one pixel, got {batch} x {rows} x {cols}")
        try:
            return self._checked((batch, self.input_channels, rows, cols))
        except NetworkError as error:
            raise SizeRefused(
                f"want rows and cols that are multiples of {self.size_divisor},"
                f" got {rows} x {cols}: {error}"
            ) from None

    def _checked(self, given: Shape) -> dict[str, Shape]:
        """Return every blob's shape for this input.

        Raises `NetworkError` if the output's size differs from the input's, although it is the same
        for the size in the file: 33 pixels could become 34.
        """
        shapes = self._shapes(given)
        out = shapes[self.output_name]
        if self._same_size and out[2:] != given[2:]:
            raise NetworkError(f"the output of {self.file} would be {out[2]} x {out[3]}")
        return shapes

    @cached_property
    def _same_size(self) -> bool:
        return self._shapes(self.input_shape)[self.output_name][2:] == self.input_shape[2:]

    def _shapes(self, given: Shape) -> dict[str, Shape]:
        return _shapes(self.layers, self.input_name, given, self.file)


def read(prototxt: Path, weights: Path | None = None) -> Network:
    """Read a network, and its weights if a caffemodel is given; raises `NetworkError`."""
    file = str(prototxt)
    text = _bytes(prototxt)
    net, unknown = caffe_proto.from_text(text, file)
    try:
        messages = caffe_text.served(net)
        input_name, input_shape = caffe_text.network_input(net, messages)
    except NetworkError as error:
        raise NetworkError(f"{error} in {file}") from None
    layers = _layers(messages, input_name, file)
    if unknown and len(messages) == len(net.layer) + len(net.layers):
        raise NetworkError(f"want a network's text in {file}, got an error at {unknown}")
    if unknown:  # data layers for training have parameters that plain Caffe does not know
        log.warning("ignored in %s, which has layers for training: %s", file, unknown)
    want = _weight_shapes(layers, _shapes(layers, input_name, input_shape, file), file)
    network = Network(
        name=net.name,
        file=file,
        layers=layers,
        input_name=input_name,
        input_shape=input_shape,
        output_name=_output(layers, file),
        sha256=hashlib.sha256(text).hexdigest(),
    )
    log.debug("%s takes multiples of %d", file, network.size_divisor)  # raises if there is none
    if weights is None:
        return network
    data = _bytes(weights)
    return replace(
        network,
        weights=read_weights(data, want=want, file=str(weights), network=file),
        weights_sha256=hashlib.sha256(data).hexdigest(),
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NetworkError(f"cannot read a network's file: {error}") from None


def _layers(messages: list[Any], input_name: str, file: str) -> tuple[Layer, ...]:
    blobs = {input_name}
    layers = []
    for message in messages:
        kind = caffe_text.kind(message)
        if kind == "Input":
            continue
        try:
            does = caffe_text.operation(message)
            _check_blobs(message, does, blobs)
        except NetworkError as error:
            raise _in_layer(message.name, kind, file, error) from None
        blobs.add(message.top[0])
        layers.append(Layer(message.name, kind, tuple(message.bottom), message.top[0], does))
    return tuple(layers)


def _check_blobs(message: Any, does: Operation, blobs: set[str]) -> None:
    least, most = does.inputs
    if not least <= len(message.bottom) <= most or len(message.top) != 1:
        raise NetworkError(
            f"want {least if least == most else f'{least} or more'} bottom and 1 top,"
            f" got {list(message.bottom)} and {list(message.top)}"
        )
    for bottom in message.bottom:
        if bottom not in blobs:
            raise NetworkError(f"want a bottom that an earlier layer wrote, got {bottom!r}")
    if message.top[0] in blobs and message.top[0] != message.bottom[0]:
        top = message.top[0]
        raise NetworkError(f"want a new top or the layer's own bottom, got {top!r} again")
    if message.top[0] in blobs and not does.in_place:
        raise NetworkError(f"want a new top, got the layer's own bottom {message.top[0]!r}")


def _in_layer(name: str, kind: str, file: str, error: NetworkError) -> NetworkError:
    return NetworkError(f"layer {name!r} ({kind}) of {file}: {error}")


def _output(layers: Sequence[Layer], file: str) -> str:
    """Return the one blob that no later layer uses."""
    loose: dict[str, None] = {}
    for layer in layers:
        for bottom in layer.bottoms:
            loose.pop(bottom, None)
        loose[layer.top] = None
    if len(loose) != 1:
        raise NetworkError(f"want one output, got {list(loose) or 'no layer'} in {file}")
    return next(iter(loose))


def _shapes(layers: Sequence[Layer], name: str, given: Shape, file: str) -> dict[str, Shape]:
    blobs = {name: given}
    for layer in layers:
        try:
            blobs[layer.top] = layer.does.shape(*(blobs[bottom] for bottom in layer.bottoms))
        except NetworkError as error:
            raise _in_layer(layer.name, layer.kind, file, error) from None
    return blobs


def _weight_shapes(
    layers: Sequence[Layer], shapes: Mapping[str, Shape], file: str
) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Return the weights' shapes of each layer that has any.

    The blobs' final shapes serve for all layers: those in place do not change the channels.
    """
    want: dict[str, tuple[tuple[int, ...], ...]] = {}
    for layer in layers:
        wanted = layer.does.weights(*(shapes[bottom] for bottom in layer.bottoms))
        if wanted and layer.name in want:
            raise NetworkError(f"want one layer {layer.name!r} with weights, got two in {file}")
        if wanted:
            want[layer.name] = wanted
    return want


def _total_stride(layers: Sequence[Layer], input_name: str, file: str) -> int:
    """Return the least number of input pixels that is a multiple of every blob's stride."""
    steps = {input_name: (Fraction(1), Fraction(1))}
    total = 1
    for layer in layers:
        rows, cols = steps[layer.bottoms[0]]
        by_rows, by_cols = layer.does.strides()
        steps[layer.top] = rows * by_rows, cols * by_cols
        total = lcm(total, *(step.numerator for step in steps[layer.top]))
        if total > _LARGEST_STRIDE:
            raise _in_layer(
                layer.name,
                layer.kind,
                file,
                NetworkError(f"want a total stride of at most {_LARGEST_STRIDE} pixels"),
            )
    return total


def require_classes(network: Network, classes: int = 3) -> None:
    """Raise `NetworkError` unless the output has this many scores for each input pixel."""
    shapes = network.shapes(*network.input_shape[:1], *network.input_shape[2:])
    wanted = (network.input_shape[0], classes, *network.input_shape[2:])
    got = shapes[network.output_name]
    if got != wanted:
        raise NetworkError(
            f"want {classes} scores for each of {wanted[2]} x {wanted[3]} pixels, got {got[1]} for"
            f" {got[2]} x {got[3]} in blob {network.output_name!r} of {network.file}"
        )
