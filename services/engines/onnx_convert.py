"""Convert a Caffe network, already checked, into an ONNX model of any batch and image size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..caffe.caffe_layers import (
    BatchNorm,
    Concat,
    Convolution,
    CropLayer,
    Deconvolution,
    Dropout,
    Eltwise,
    GlobalPooling,
    Kernel,
    Operation,
    Pooling,
    ReLU,
    Scale,
    Sigmoid,
    Softmax,
)
from ..caffe.caffe_net import Network
from ..caffe.caffe_weights import Array

INPUT = "images"
_OPSET = 17
_IR = 8  # onnxruntime 1.13 and newer read it


class _Graph:
    """A model under construction; its values have new names, not those of Caffe's blobs."""

    def __init__(self) -> None:
        self.model: Any = onnx.ModelProto(ir_version=_IR, producer_name="ssnetserver")
        self.model.opset_import.add(version=_OPSET)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"value{len(self.model.graph.node)}"
        self.model.graph.node.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        array = np.ascontiguousarray(values, dtype)
        constants = self.model.graph.initializer
        tensor = constants.add(name=f"constant{len(constants)}", dims=array.shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor.raw_data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        name: str = tensor.name
        return name

    def by_channel(self, values: Array) -> str:
        return self.constant(values.reshape(-1, 1, 1))


def convert(network: Network, keep: Sequence[str] = ()) -> bytes:
    """Return an ONNX model with input `images`; outputs: the network's, then the blobs in `keep`.

    All are float32, (batch, channels, rows, cols), of any batch and size that the network takes.
    """
    graph = _Graph()
    blobs = {network.input_name: INPUT}
    for layer in network.layers:
        inputs = [blobs[name] for name in layer.bottoms]
        blobs[layer.top] = _emit(layer.does, graph, inputs, network.weights.get(layer.name, ()))
    proto = graph.model.graph
    proto.name = network.name or "network"
    proto.input.append(_value(INPUT, ["batch", network.input_channels, "rows", "cols"]))
    for name in (network.output_name, *keep):
        proto.output.append(_value(graph.add("Identity", blobs[name]), [None] * 4))
    packed: bytes = graph.model.SerializeToString()
    return packed


def _value(name: str, shape: list[str | int | None]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _window(window: Kernel, beyond: tuple[int, int] = (0, 0)) -> dict[str, Any]:
    rows, cols = window.pad
    return {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "pads": (rows, cols, rows + beyond[0], cols + beyond[1]),
    }


@singledispatch
def _emit(does: Operation, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    raise NotImplementedError(type(does).__name__)


@_emit.register
def _(does: Convolution, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    constants = [graph.constant(array) for array in weights]
    window = {**_window(does.window), "dilations": does.window.dilation}
    return graph.add("Conv", *inputs, *constants, group=does.group, **window)


@_emit.register
def _(does: Deconvolution, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    constants = [graph.constant(array) for array in weights]
    window = {**_window(does.window), "dilations": does.window.dilation}
    return graph.add("ConvTranspose", *inputs, *constants, group=does.group, **window)


@_emit.register
def _(does: BatchNorm, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    if does.batch_statistics:
        return _normalised(graph, inputs[0], does.eps)
    mean, variance, factor = weights
    scale = np.float32(1) / factor[0] if factor[0] else np.float32(0)
    ones, zeros = np.ones_like(mean), np.zeros_like(mean)
    constants = [graph.constant(array) for array in (ones, zeros, mean * scale, variance * scale)]
    return graph.add("BatchNormalization", *inputs, *constants, epsilon=does.eps)


def _normalised(graph: _Graph, x: str, eps: float) -> str:
    """Normalise by the mean and the biased variance of the batch.

    onnxruntime's own normalisations are not used: they are wrong here in training mode (its issue
    29790) or for batches.
    """
    centred = graph.add("Sub", x, _mean(graph, x))
    variance = _mean(graph, graph.add("Mul", centred, centred))
    deviation = graph.add("Sqrt", graph.add("Add", variance, graph.constant(eps)))
    return graph.add("Mul", centred, graph.add("Reciprocal", deviation))


def _mean(graph: _Graph, x: str) -> str:
    for axis in (3, 2, 0):  # axis by axis: one long float32 sum loses two digits
        x = graph.add("ReduceMean", x, axes=[axis])
    return x


@_emit.register
def _(does: Scale, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    scaled = graph.add("Mul", *inputs, graph.by_channel(weights[0]))
    return graph.add("Add", scaled, graph.by_channel(weights[1])) if does.bias else scaled


@_emit.register
def _(does: ReLU, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    if does.negative_slope == 0:
        return graph.add("Relu", *inputs)
    return graph.add("LeakyRelu", *inputs, alpha=does.negative_slope)


@_emit.register
def _(does: Pooling, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    beyond = does.overhang(0), does.overhang(1)
    window = _window(does.window, beyond)
    if does.method == "MAX":
        return graph.add("MaxPool", *inputs, **window)
    mean = graph.add("AveragePool", *inputs, count_include_pad=1, **window)
    if beyond == (0, 0):
        return mean
    return graph.add("Div", mean, _inside(graph, inputs[0], does.window, beyond))


def _inside(graph: _Graph, x: str, window: Kernel, beyond: tuple[int, int]) -> str:
    """Return each window's share inside the padded image: Caffe averages over that part only."""
    sides = graph.add("Shape", x, start=2)
    padded = graph.add("Add", sides, graph.constant([2 * pad for pad in window.pad], np.int64))
    shape = graph.add("Concat", graph.constant([1, 1], np.int64), padded, axis=0)
    one = numpy_helper.from_array(np.ones(1, np.float32))
    ones = graph.add("ConstantOfShape", shape, value=one)
    laid = _window(Kernel(window.kernel, window.stride), beyond)
    return graph.add("AveragePool", ones, count_include_pad=1, **laid)


@_emit.register
def _(does: GlobalPooling, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    return graph.add("GlobalMaxPool" if does.method == "MAX" else "GlobalAveragePool", *inputs)


@_emit.register
def _(does: Eltwise, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    if does.operation == "MAX":
        return graph.add("Max", *inputs)
    terms = [
        blob if factor == 1 else graph.add("Mul", blob, graph.constant(factor))
        for blob, factor in zip(inputs, does.coefficients or (1,) * len(inputs), strict=True)
    ]
    value = terms[0]
    for term in terms[1:]:
        value = graph.add("Add" if does.operation == "SUM" else "Mul", value, term)
    return value


@_emit.register
def _(does: Concat, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    return graph.add("Concat", *inputs, axis=does.axis)


@_emit.register
def _(does: CropLayer, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    whole, like = inputs
    starts = graph.constant(does.offsets, np.int64)
    ends = graph.add("Add", graph.add("Shape", like, start=does.axis), starts)
    axes = graph.constant(range(does.axis, 4), np.int64)
    return graph.add("Slice", whole, starts, ends, axes)


@_emit.register
def _(does: Softmax, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    return graph.add("Softmax", *inputs, axis=does.axis)


@_emit.register
def _(does: Sigmoid, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    return graph.add("Sigmoid", *inputs)


@_emit.register
def _(does: Dropout, graph: _Graph, inputs: list[str], weights: Sequence[Array]) -> str:
    return inputs[0]
