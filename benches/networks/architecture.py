"""The shipped network's architecture, as the text of its `.prototxt`. Pure.

It is a U-ResNet of SSNet's layer types: a stem at full resolution; residual blocks with strides,
down to 1/32; then grouped deconvolutions up again, each concatenated with the blob of the same size
on the way down. Convolutions before a BatchNorm have no bias, since Scale has one.

BatchNorm normalises with the statistics of the training, not with those of the current image (as
SSNet's `use_global_stats: false` does). A tile's scores then depend only on its pixels, so that
batches are allowed, and a nearly empty tile is scored like a full one.
"""

from __future__ import annotations

from itertools import pairwise
from math import gcd

NAME = "ToyUResNet"
STEM = 8
"""Channels at full resolution."""
STAGES = (16, 24, 32, 48, 48)
"""Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution."""
CLASSES = 3
"""The classes: background, shower, track."""
_SIDE = 512  # the size in the file; any multiple of 32 works


def prototxt() -> str:
    """Return the network's text; input blob `data` (1 channel, ADC), output `softmax` (3)."""
    shape = f"dim: 1 dim: 1 dim: {_SIDE} dim: {_SIDE}"
    lines = [
        f'name: "{NAME}"',
        _layer("data", "Input", [], f"input_param {{ shape {{ {shape} }} }}"),
    ]
    lines += _convolution("conv0", "data", STEM, kernel=5)
    lines += [_layer("pool0", "Pooling", ["conv0"], _POOLING)]
    levels = [("conv0", STEM)]
    top, channels = "pool0", STEM
    for number, wanted in enumerate(STAGES, start=1):
        stride = 1 if number == 1 else 2  # the pooling already halved the first block's input
        lines += _residual(f"res{number}", top, wanted, stride=stride)
        top, channels = f"res{number}", wanted
        levels.append((top, channels))
    for (_, channels), (skip, wanted) in pairwise(reversed(levels)):
        level = skip.removeprefix("res").removeprefix("conv")
        lines += _enlarge(f"up{level}", top, skip, channels=channels, wanted=wanted)
        if level == "0":
            lines += _convolution("out0", "up0_concat", 2 * STEM, kernel=1)
        else:
            lines += _residual(f"out{level}", f"up{level}_concat", wanted, stride=1)
        top = f"out{level}"
    lines += [_layer("score", "Convolution", [top], _kernel(CLASSES, 1, bias=True))]
    lines += [_layer("softmax", "Softmax", ["score"])]
    return "\n".join(lines) + "\n"


_POOLING = "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"


def _layer(name: str, kind: str, bottoms: list[str], settings: str = "", top: str = "") -> str:
    parts = [f'name: "{name}" type: "{kind}"', *(f'bottom: "{bottom}"' for bottom in bottoms)]
    parts += [f'top: "{top or name}"', *([settings] if settings else [])]
    return f"layer {{ {' '.join(parts)} }}"


def _kernel(channels: int, kernel: int, *, stride: int = 1, bias: bool = False) -> str:
    sizes = f"num_output: {channels} kernel_size: {kernel} pad: {kernel // 2} stride: {stride}"
    without = "" if bias else " bias_term: false"
    return f'convolution_param {{ {sizes}{without} weight_filler {{ type: "msra" }} }}'


def _relu(name: str) -> str:
    return _layer(f"{name}_relu", "ReLU", [name], top=name)


def _normalised(name: str, bottom: str, channels: int, *, kernel: int, stride: int) -> list[str]:
    """Return a convolution, its BatchNorm and its Scale, all in the blob `name`."""
    settings = _kernel(channels, kernel, stride=stride)
    return [
        _layer(name, "Convolution", [bottom], settings),
        _layer(f"bn_{name}", "BatchNorm", [name], top=name),
        _layer(f"scale_{name}", "Scale", [name], "scale_param { bias_term: true }", top=name),
    ]


def _convolution(name: str, bottom: str, channels: int, *, kernel: int) -> list[str]:
    return [*_normalised(name, bottom, channels, kernel=kernel, stride=1), _relu(name)]


def _residual(name: str, bottom: str, channels: int, *, stride: int) -> list[str]:
    """Return SSNet's residual block: two 3 x 3 convolutions, added to one of 1 x 1."""
    first, second, short = f"{name}_branch2a", f"{name}_branch2b", f"{name}_branch1"
    return [
        *_normalised(short, bottom, channels, kernel=1, stride=stride),
        *_normalised(first, bottom, channels, kernel=3, stride=stride),
        _relu(first),
        *_normalised(second, first, channels, kernel=3, stride=1),
        _layer(name, "Eltwise", [short, second], "eltwise_param { operation: SUM }"),
        _relu(name),
    ]


def _enlarge(name: str, bottom: str, skip: str, *, channels: int, wanted: int) -> list[str]:
    """Return layers that double the size (exactly: kernel 4, stride 2, pad 1) and append `skip`."""
    sizes = f"num_output: {wanted} kernel_size: 4 pad: 1 stride: 2 group: {gcd(channels, wanted)}"
    filler = 'bias_term: false weight_filler { type: "msra" }'
    return [
        _layer(name, "Deconvolution", [bottom], f"convolution_param {{ {sizes} {filler} }}"),
        _layer(f"{name}_concat", "Concat", [skip, name], "concat_param { axis: 1 }"),
    ]
