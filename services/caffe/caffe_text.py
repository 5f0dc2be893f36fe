"""Turn a prototxt's layers into operations.

Unknown types, missing values and contradictions raise `NetworkError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import NetworkError
from .caffe_layers import (
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
    Pair,
    Pooling,
    ReLU,
    Scale,
    Shape,
    Sigmoid,
    Softmax,
)

_TEST = 1  # Phase
_LARGEST = 1 << 15  # kernel, stride or pad: far beyond any real one, and safe to multiply
_V1_TYPES = {
    "CONCAT": "Concat",
    "CONVOLUTION": "Convolution",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "ELTWISE": "Eltwise",
    "POOLING": "Pooling",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SOFTMAX": "Softmax",
}


def kind(layer: Any) -> str:
    """Return a layer message's type under its V2 name."""
    numbered = layer.DESCRIPTOR.fields_by_name["type"].enum_type
    if numbered is None:
        return str(layer.type)
    name: str = numbered.values_by_number[layer.type].name
    return _V1_TYPES.get(name, name)


def operation(layer: Any) -> Operation:
    """Return a layer message's operation; the caller adds layer and file to a `NetworkError`."""
    try:
        build = _BUILD[kind(layer)]
    except KeyError:
        raise NetworkError(f"unknown layer type, want one of {', '.join(_BUILD)}") from None
    return build(layer)


# Which layers take part: filtered by phase, level and stage, as Caffe does.


def served(net: Any) -> list[Any]:
    """Return the layer messages that take part in phase TEST."""
    if net.layer and net.layers:
        raise NetworkError("want either `layer` or the older `layers`, got both")
    return [layer for layer in (*net.layer, *net.layers) if _is_served(layer, net.state)]


def _is_served(layer: Any, state: Any) -> bool:
    if layer.include:
        return any(_meets(rule, state) for rule in layer.include)
    return not any(_meets(rule, state) for rule in layer.exclude)


def _meets(rule: Any, state: Any) -> bool:
    if rule.HasField("phase") and rule.phase != _TEST:
        return False
    if rule.HasField("min_level") and state.level < rule.min_level:
        return False
    if rule.HasField("max_level") and state.level > rule.max_level:
        return False
    stages = set(state.stage)
    return stages.issuperset(rule.stage) and stages.isdisjoint(rule.not_stage)


# The input: an `Input` layer, or the older header.


def network_input(net: Any, layers: list[Any]) -> tuple[str, Shape]:
    """Return the only input's name and its shape in the file."""
    inputs = [layer for layer in layers if kind(layer) == "Input"]
    tops = [(top, layer.input_param.shape) for layer in inputs for top in layer.top]
    headers = [net.input_dim[i : i + 4] for i in range(0, len(net.input_dim), 4)]
    dims = [shape.dim for shape in net.input_shape] or headers
    sizes = list(zip(net.input, dims, strict=False))
    sizes += [(top, shapes[0].dim) for top, shapes in tops if len(shapes) == 1]
    if not len(sizes) == len(net.input) + len(tops) == 1:
        names = [*net.input, *(top for top, _ in tops)]
        raise NetworkError(f"want one input with one shape, got {names} with {len(sizes)} shapes")
    name, dim = sizes[0]
    if len(dim) != 4 or not all(1 <= side <= 1 << 24 for side in dim):
        raise NetworkError(f"want a shape (batch, channels, rows, cols) of {name}, got {list(dim)}")
    return name, (dim[0], dim[1], dim[2], dim[3])


# The layers' operations.


def _pair(param: Any, name: str, default: int | None, least: int) -> Pair:
    """Return a length in both directions, which is given once, twice, or as `_h` and `_w`."""
    short = name.removesuffix("_size")
    both = list(getattr(param, name))
    for side, suffix in enumerate(("_h", "_w")):
        if param.HasField(short + suffix):
            if len(getattr(param, name)):
                raise NetworkError(f"want either {name} or {short}_h and {short}_w, got both")
            both = both or [-1 if default is None else default] * 2
            both[side] = getattr(param, short + suffix)
    if not both and default is not None:
        both = [default]
    if len(both) not in (1, 2) or not all(least <= value <= _LARGEST for value in both):
        raise NetworkError(f"want {name} of {least} to {_LARGEST}, once or twice, got {both}")
    return both[0], both[-1]


def _window(param: Any) -> Kernel:
    dilation = list(getattr(param, "dilation", ())) or [1]
    if len(dilation) > 2 or not all(1 <= value <= _LARGEST for value in dilation):
        raise NetworkError(f"want a dilation of at least 1, once or twice, got {dilation}")
    return Kernel(
        kernel=_pair(param, "kernel_size", None, 1),
        stride=_pair(param, "stride", 1, 1),
        pad=_pair(param, "pad", 0, 0),
        dilation=(dilation[0], dilation[-1]),
    )


def _convolution(layer: Any) -> Operation:
    param = layer.convolution_param
    if _axis(param.axis) != 1:
        raise NetworkError(f"want a convolution of axis 1, got {param.axis}")
    if not 1 <= param.num_output <= 1 << 20 or not 1 <= param.group <= param.num_output:
        raise NetworkError(
            f"want num_output of at least 1 and a group of at most that, got {param.num_output}"
            f" and {param.group}"
        )
    make = Deconvolution if kind(layer) == "Deconvolution" else Convolution
    return make(_window(param), param.num_output, param.group, param.bias_term)


def _batch_norm(layer: Any) -> Operation:
    param = layer.batch_norm_param
    if not 0 < param.eps < 1e6:
        raise NetworkError(f"want an eps above 0, got {param.eps}")
    # without the flag Caffe uses the stored statistics at TEST; `false` holds at TEST, too
    of_batch = param.HasField("use_global_stats") and not param.use_global_stats
    return BatchNorm(param.eps, of_batch)


def _scale(layer: Any) -> Operation:
    param = layer.scale_param
    if _axis(param.axis) != 1 or param.num_axes != 1:
        raise NetworkError(
            f"want a scale of axis 1, num_axes 1, got {param.axis} and {param.num_axes}"
        )
    return Scale(param.bias_term)


def _pooling(layer: Any) -> Operation:
    param = layer.pooling_param
    if param.pool not in (0, 1):
        raise NetworkError("want MAX or AVE pooling")
    method = ("MAX", "AVE")[param.pool]
    if param.global_pooling:
        return GlobalPooling(method)  # type: ignore[arg-type]
    window = _window(param)
    if any(pad >= kernel for pad, kernel in zip(window.pad, window.kernel, strict=True)):
        raise NetworkError(f"want a pad below the kernel {window.kernel}, got {window.pad}")
    return Pooling(method, window, ceil=param.round_mode == 0)  # type: ignore[arg-type]


def _eltwise(layer: Any) -> Operation:
    param = layer.eltwise_param
    name = ("PROD", "SUM", "MAX")[param.operation]
    if param.coeff and name != "SUM":
        raise NetworkError(f"want coeff only with SUM, got it with {name}")
    return Eltwise(name, tuple(param.coeff))  # type: ignore[arg-type]


def _concat(layer: Any) -> Operation:
    param = layer.concat_param
    if param.HasField("axis") and param.HasField("concat_dim"):
        raise NetworkError("want either axis or the older concat_dim, got both")
    return Concat(_axis(param.concat_dim if param.HasField("concat_dim") else param.axis))


def _crop(layer: Any) -> Operation:
    axis = _axis(layer.crop_param.axis)
    offsets = tuple(layer.crop_param.offset) or (0,)
    if len(offsets) == 1:
        offsets *= 4 - axis
    if len(offsets) != 4 - axis:
        raise NetworkError(f"want 1 or {4 - axis} offsets for axis {axis}, got {len(offsets)}")
    return CropLayer(axis, offsets)


def _softmax(layer: Any) -> Operation:
    return Softmax(_axis(layer.softmax_param.axis))


def _axis(axis: int) -> int:
    """Return an axis from 1 to 3; axis 0 is refused, as it would mix the images of a batch."""
    counted = axis + 4 if axis < 0 else axis
    if counted not in (1, 2, 3):
        raise NetworkError(f"want an axis from 1 to 3, got {axis}")
    return counted


_BUILD: dict[str, Callable[[Any], Operation]] = {
    "Convolution": _convolution,
    "Deconvolution": _convolution,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "ReLU": lambda layer: ReLU(layer.relu_param.negative_slope),
    "Pooling": _pooling,
    "Eltwise": _eltwise,
    "Concat": _concat,
    "Crop": _crop,
    "Softmax": _softmax,
    "Sigmoid": lambda layer: Sigmoid(),
    "Dropout": lambda layer: Dropout(),
}
