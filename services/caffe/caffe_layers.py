"""What each layer of Caffe does to shapes, and which weights it has. Computes no pixel.

Refuses, with `NetworkError`, inputs that a layer cannot take; whoever holds the layer says which
it is, and of which file. Shapes are (batch, channels, rows, cols), pairs are (rows, cols).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import ClassVar, Literal

from ..errors import NetworkError

Shape = tuple[int, int, int, int]
Pair = tuple[int, int]

_MAX_INPUTS = 1 << 16


@dataclass(frozen=True)
class Operation:
    """A layer's doing: one blob out, as large as its first input unless it says otherwise."""

    inputs: ClassVar[tuple[int, int]] = (1, 1)
    """How many blobs it takes, at least and at most."""

    @property
    def in_place(self) -> bool:
        """Whether its top may be its bottom: those that leave the shape as it is."""
        return type(self).shape is Operation.shape

    def shape(self, *inputs: Shape) -> Shape:
        """The shape of what comes out; raises `NetworkError`."""
        return inputs[0]

    def weights(self, *inputs: Shape) -> tuple[tuple[int, ...], ...]:
        """The shapes of the blobs that a caffemodel holds for it."""
        return ()

    def strides(self) -> tuple[Fraction, Fraction]:
        """How many pixels of its input one pixel of its output stands for, in rows and in cols."""
        return Fraction(1), Fraction(1)


@dataclass(frozen=True)
class Window:
    """What a convolution or a pooling lays over its input; all in pixels."""

    kernel: Pair
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)

    def extent(self, axis: int) -> int:
        """What the kernel spans in rows (0) or cols (1), holes of its dilation included."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def places(self, side: int, axis: int, overhang: int = 0) -> int:
        """At how many places of a padded side it can be laid, `overhang` pixels beyond included."""
        room = side + 2 * self.pad[axis] + overhang - self.extent(axis)
        return room // self.stride[axis] + 1


@dataclass(frozen=True)
class Convolution(Operation):
    """Weights: (outputs, channels / group, kernel rows, kernel cols), and a bias."""

    window: Window
    outputs: int
    group: int = 1
    bias: bool = True

    def shape(self, *inputs: Shape) -> Shape:
        n, channels, rows, cols = inputs[0]
        _check_groups(channels, self.outputs, self.group)
        w = self.window
        return _positive((n, self.outputs, w.places(rows, 0), w.places(cols, 1)), inputs[0])

    def weights(self, *inputs: Shape) -> tuple[tuple[int, ...], ...]:
        kernels = (self.outputs, inputs[0][1] // self.group, *self.window.kernel)
        return (kernels, (self.outputs,)) if self.bias else (kernels,)

    def strides(self) -> tuple[Fraction, Fraction]:
        return Fraction(self.window.stride[0]), Fraction(self.window.stride[1])


@dataclass(frozen=True)
class Deconvolution(Operation):
    """Weights: (channels, outputs / group, kernel rows, kernel cols), and a bias."""

    window: Window
    outputs: int
    group: int = 1
    bias: bool = True

    def shape(self, *inputs: Shape) -> Shape:
        n, channels, *sides = inputs[0]
        _check_groups(channels, self.outputs, self.group)
        w = self.window
        rows, cols = (w.stride[i] * (sides[i] - 1) + w.extent(i) - 2 * w.pad[i] for i in range(2))
        return _positive((n, self.outputs, rows, cols), inputs[0])

    def weights(self, *inputs: Shape) -> tuple[tuple[int, ...], ...]:
        kernels = (inputs[0][1], self.outputs // self.group, *self.window.kernel)
        return (kernels, (self.outputs,)) if self.bias else (kernels,)

    def strides(self) -> tuple[Fraction, Fraction]:
        return Fraction(1, self.window.stride[0]), Fraction(1, self.window.stride[1])


@dataclass(frozen=True)
class BatchNorm(Operation):
    """Weights: mean · f, variance · f and f. `batch_statistics`: of the batch at hand instead."""

    eps: float = 1e-5
    batch_statistics: bool = False

    def weights(self, *inputs: Shape) -> tuple[tuple[int, ...], ...]:
        channels = inputs[0][1]
        return (channels,), (channels,), (1,)


@dataclass(frozen=True)
class Scale(Operation):
    """Weights: a factor a channel, and a bias a channel."""

    bias: bool = False

    def weights(self, *inputs: Shape) -> tuple[tuple[int, ...], ...]:
        channels = inputs[0][1]
        return ((channels,), (channels,)) if self.bias else ((channels,),)


@dataclass(frozen=True)
class ReLU(Operation):
    """max(x, 0) + negative_slope · min(x, 0)."""

    negative_slope: float = 0.0


@dataclass(frozen=True)
class Pooling(Operation):
    """Largest or mean of each window. Caffe rounds the number of windows up unless told not to."""

    method: Literal["MAX", "AVE"]
    window: Window
    ceil: bool = True

    def overhang(self, axis: int) -> int:
        """How far the last window may reach beyond the padding, in rows (0) or cols (1).

        Rounding up is rounding down with stride - 1 pixels more. Caffe then drops a last window
        that begins beyond the image, which leaves at most kernel - pad - 1 of them.
        """
        if not self.ceil:
            return 0
        w = self.window
        return min(w.stride[axis] - 1, w.kernel[axis] - w.pad[axis] - 1)

    def shape(self, *inputs: Shape) -> Shape:
        n, channels, *sides = inputs[0]
        w = self.window
        rows, cols = (w.places(sides[i], i, self.overhang(i)) for i in range(2))
        for i, found in enumerate((rows, cols)):
            # without padding Caffe keeps that window, and fills it with what is no number
            if self.ceil and not any(w.pad) and found < w.places(sides[i], i, w.stride[i] - 1):
                raise NetworkError(f"want no window outside of {_text(inputs[0])}")
        return _positive((n, channels, rows, cols), inputs[0])

    def strides(self) -> tuple[Fraction, Fraction]:
        return Fraction(self.window.stride[0]), Fraction(self.window.stride[1])


@dataclass(frozen=True)
class GlobalPooling(Operation):
    """Largest or mean of each whole channel."""

    method: Literal["MAX", "AVE"]

    def shape(self, *inputs: Shape) -> Shape:
        n, channels, _, _ = inputs[0]
        return n, channels, 1, 1


@dataclass(frozen=True)
class Eltwise(Operation):
    """Sum (each times its coefficient), product or largest of blobs of one shape."""

    inputs = (2, _MAX_INPUTS)
    operation: Literal["SUM", "PROD", "MAX"] = "SUM"
    coefficients: tuple[float, ...] = ()

    def shape(self, *inputs: Shape) -> Shape:
        if len(set(inputs)) > 1:
            raise NetworkError(f"want inputs of one shape, got {_text(*inputs)}")
        if self.coefficients and len(self.coefficients) != len(inputs):
            raise NetworkError(
                f"want a coeff for each of {len(inputs)} inputs, got {len(self.coefficients)}"
            )
        return inputs[0]


@dataclass(frozen=True)
class Concat(Operation):
    """Blobs one after the other along an axis: 1 for channels, 2 for rows, 3 for cols."""

    inputs = (1, _MAX_INPUTS)
    axis: int = 1

    def shape(self, *inputs: Shape) -> Shape:
        rest = {shape[: self.axis] + shape[self.axis + 1 :] for shape in inputs}
        if len(rest) > 1:
            raise NetworkError(
                f"want inputs that differ in axis {self.axis} alone, got {_text(*inputs)}"
            )
        sides = list(inputs[0])
        sides[self.axis] = sum(shape[self.axis] for shape in inputs)
        n, channels, rows, cols = sides
        return n, channels, rows, cols


@dataclass(frozen=True)
class Crop(Operation):
    """The first blob, cut to the second's size in `axis` and those after it."""

    inputs = (2, 2)
    axis: int = 2
    offsets: tuple[int, ...] = (0, 0)
    """One for each axis that is cut."""

    def shape(self, *inputs: Shape) -> Shape:
        whole, like = inputs
        for offset, side, wanted in zip(
            self.offsets, whole[self.axis :], like[self.axis :], strict=True
        ):
            if offset + wanted > side:
                raise NetworkError(
                    f"want {wanted} of {side} pixels from offset {offset}: {_text(*inputs)}"
                )
        n, channels, rows, cols = [*whole[: self.axis], *like[self.axis :]]
        return n, channels, rows, cols


@dataclass(frozen=True)
class Softmax(Operation):
    """Each pixel's channels to scores whose sum is 1 (axis 1)."""

    axis: int = 1


@dataclass(frozen=True)
class Sigmoid(Operation):
    """1 / (1 + exp(-x))."""


@dataclass(frozen=True)
class Dropout(Operation):
    """Nothing, where a network is served."""


def _check_groups(channels: int, outputs: int, group: int) -> None:
    if channels % group or outputs % group:
        raise NetworkError(
            f"want channels that {group} groups divide, got {channels} in and {outputs} out"
        )


def _positive(shape: Shape, given: Shape) -> Shape:
    if min(shape) < 1:
        raise NetworkError(f"want at least one pixel to come out of {_text(given)}")
    if prod(shape) > 1 << 62:
        raise NetworkError(f"want fewer pixels than {_text(shape)}")
    return shape


def _text(*shapes: Shape) -> str:
    return " and ".join(" x ".join(str(side) for side in shape) for shape in shapes)
