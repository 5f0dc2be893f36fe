"""Caffe's layers as plain loops, from its documentation: what the engines are compared with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Pair = tuple[int, int]


def convolution(
    x: Array,
    weights: Array,
    bias: Array,
    *,
    stride: Pair = (1, 1),
    pad: Pair = (0, 0),
    dilation: Pair = (1, 1),
    group: int = 1,
) -> Array:
    n, _, rows, cols = x.shape
    outputs, taken, height, width = weights.shape
    out_rows = (rows + 2 * pad[0] - dilation[0] * (height - 1) - 1) // stride[0] + 1
    out_cols = (cols + 2 * pad[1] - dilation[1] * (width - 1) - 1) // stride[1] + 1
    out = np.zeros((n, outputs, out_rows, out_cols)) + bias.reshape(-1, 1, 1)
    for image, o, r, c in np.ndindex(*out.shape):
        first = o // (outputs // group) * taken
        for i, y, z in np.ndindex(taken, height, width):
            row = r * stride[0] - pad[0] + y * dilation[0]
            col = c * stride[1] - pad[1] + z * dilation[1]
            if 0 <= row < rows and 0 <= col < cols:
                out[image, o, r, c] += weights[o, i, y, z] * x[image, first + i, row, col]
    return out


def deconvolution(
    x: Array,
    weights: Array,
    bias: Array,
    *,
    stride: int = 1,
    pad: int = 0,
    dilation: int = 1,
    group: int = 1,
) -> Array:
    """Each pixel in lays the kernel, times its value, onto the output."""
    n, channels, rows, cols = x.shape
    _, result, side, _ = weights.shape
    whole = [stride * (length - 1) + dilation * (side - 1) + 1 for length in (rows, cols)]
    out = np.zeros((n, result * group, *whole))
    for image, i, r, c in np.ndindex(*x.shape):
        first = i // (channels // group) * result
        for o, y, z in np.ndindex(result, side, side):
            row, col = r * stride + y * dilation, c * stride + z * dilation
            out[image, first + o, row, col] += weights[i, o, y, z] * x[image, i, r, c]
    cut = out[:, :, pad : whole[0] - pad, pad : whole[1] - pad]
    return np.asarray(cut + bias.reshape(-1, 1, 1))


def pooling(
    x: Array, method: str, *, kernel: Pair, stride: Pair, pad: Pair = (0, 0), ceil: bool = True
) -> Array:
    """Mean: by the part of the window in the padded image, before it is cut to the image."""
    n, channels, *sides = x.shape
    counts = []
    for side, k, s, p in zip(sides, kernel, stride, pad, strict=True):
        places = (side + 2 * p - k) / s
        count = (math.ceil(places) if ceil else math.floor(places)) + 1
        if any(pad) and (count - 1) * s >= side + p:
            count -= 1
        counts.append(count)
    out = np.zeros((n, channels, *counts))
    for r, c in np.ndindex(*counts):
        starts = [i * s - p for i, s, p in zip((r, c), stride, pad, strict=True)]
        ends = [
            min(start + k, side + p)
            for start, k, side, p in zip(starts, kernel, sides, pad, strict=True)
        ]
        area = (ends[0] - starts[0]) * (ends[1] - starts[1])
        rows = slice(max(starts[0], 0), min(ends[0], sides[0]))
        cols = slice(max(starts[1], 0), min(ends[1], sides[1]))
        seen = x[:, :, rows, cols]
        out[:, :, r, c] = seen.max((2, 3)) if method == "MAX" else seen.sum((2, 3)) / area
    return out


def batch_norm(x: Array, mean: Array, variance: Array, eps: float) -> Array:
    return (x - mean.reshape(-1, 1, 1)) / np.sqrt(variance.reshape(-1, 1, 1) + eps)


def softmax(x: Array, axis: int = 1) -> Array:
    grown = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(grown / grown.sum(axis, keepdims=True))
