"""Caffe's layers: output shapes and the shapes of their weights. No pixel is computed here.

Inputs that a layer cannot take raise `NetworkError`; the caller adds the layer's name and its file.
Shapes are (batch, channels, rows, cols), pairs are (rows, cols).
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
    """A layer's operation. It has one output blob, by default of the shape of the first input."""

    inputs: ClassVar[tuple[int, int]] = (1, 1)
    """The least and the largest number of input blobs."""

    @property
    def in_place(self) -> bool:
        """Whether the output blob may replace the input blob: true if the shape does not change."""
        return type(self).shape is Operation.shape

    def shape(self, *inputs: Shape) -> Shape:
        """Return the output's shape; raises `NetworkError`."""
        return inputs[0]

    def weights(self, *inputs: Shape) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of the layer's weight blobs in a caffemodel."""
        return ()

    def strides(self) -> tuple[Fraction, Fraction]:
        """Return how many input pixels one output pixel stands for, in rows and in cols."""
        return Fraction(1), Fraction(1)


@dataclass(frozen=True)
class Kernel:
    """The window of a convolution or a pooling; all lengths in pixels."""

    kernel: Pair
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)

    def extent(self, axis: int) -> int:
        """Return the kernel's extent in rows (0) or cols (1), including gaps from dilation."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def places(self, side: int, axis: int, overhang: int = 0) -> int:
        """Return the kernel's number of positions on a side, with padding and `overhang` pixels."""
        room = side + 2 * self.pad[axis] + overhang - self.extent(axis)
        return room // self.stride[axis] + 1


@dataclass(frozen=True)
class Convolution(Operation):
    """A convolution. Weights: (outputs, channels / group, kernel rows, kernel cols) and a bias."""

    window: Kernel
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
    """A deconvolution. Weights: (channels, outputs / group, kernel rows, cols) and a bias."""

    window: Kernel
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
    """Normalisation per channel. Weights: mean · f, variance · f and f, Caffe's scale factor.

    batch_statistics: use the current batch's mean and variance instead of the stored ones.
    """

    eps: float = 1e-5
    batch_statistics: bool = False

    def weights(self, *inputs: Shape) -> tuple[tuple[int, ...], ...]:
        channels = inputs[0][1]
        return (channels,), (channels,), (1,)


@dataclass(frozen=True)
class Scale(Operation):
    """Scaling per channel. Weights: a factor and, if `bias`, an offset for each channel."""

    bias: bool = False

    def weights(self, *inputs: Shape) -> tuple[tuple[int, ...], ...]:
        channels = inputs[0][1]
        return ((channels,), (channels,)) if self.bias else ((channels,),)


@dataclass(frozen=True)
class ReLU(Operation):
    """The (leaky) ReLU: max(x, 0) + negative_slope · min(x, 0)."""

    negative_slope: float = 0.0


@dataclass(frozen=True)
class Pooling(Operation):
    """The maximum or mean of each window; by default Caffe rounds the number of windows up."""

    method: Literal["MAX", "AVE"]
    window: Kernel
    ceil: bool = True

    def overhang(self, axis: int) -> int:
        """Return how far the last window may extend beyond the padding, in rows (0) or cols (1).

        Rounding up equals rounding down with stride - 1 pixels more. Caffe then drops a last window
        that begins beyond the image, so that at most kernel - pad - 1 of these pixels remain.
        """
        if not self.ceil:
            return 0
        w = self.window
        return min(w.stride[axis] - 1, w.kernel[axis] - w.pad[axis] - 1)

    def shape(self, *inputs: Shape) -> Shape:
        n, channels, *sides = inputs[0]
        w = self.window
        rows, cols = (w.places(sides[i], i, self.overhang(i)) for i in range(2))
        for i, places in enumerate((rows, cols)):
            # without padding Caffe keeps the window outside of the image, with a meaningless value
            if self.ceil and not any(w.pad) and places < w.places(sides[i], i, w.stride[i] - 1):
                raise NetworkError(f"want no window outside of {_text(inputs[0])}")
        return _positive((n, channels, rows, cols), inputs[0])

    def strides(self) -> tuple[Fraction, Fraction]:
        return Fraction(self.window.stride[0]), Fraction(self.window.stride[1])


@dataclass(frozen=True)
class GlobalPooling(Operation):
    """The maximum or mean of each whole channel."""

    method: Literal["MAX", "AVE"]

    def shape(self, *inputs: Shape) -> Shape:
        n, channels, _, _ = inputs[0]
        return n, channels, 1, 1


@dataclass(frozen=True)
class Eltwise(Operation):
    """The sum (weighted by the coefficients), product or maximum of blobs of the same shape."""

    inputs = (2, _MAX_INPUTS)
    operation: Literal["SUM", "PROD", "MAX"] = "SUM"
    coefficients: tuple[float, ...] = ()

    def shape(self, *inputs: Shape) -> Shape:
        if len(set(inputs)) > 1:
            raise NetworkError(f"want inputs of the same shape, got {_text(*inputs)}")
        if self.coefficients and len(self.coefficients) != len(inputs):
            raise NetworkError(
                f"want a coeff for each of {len(inputs)} inputs, got {len(self.coefficients)}"
            )
        return inputs[0]


@dataclass(frozen=True)
class Concat(Operation):
    """Blobs joined along an axis: 1 for channels, 2 for rows, 3 for cols."""

    inputs = (1, _MAX_INPUTS)
    axis: int = 1

    def shape(self, *inputs: Shape) -> Shape:
        rest = {shape[: self.axis] + shape[self.axis + 1 :] for shape in inputs}
        if len(rest) > 1:
            raise NetworkError(
                f"want inputs that differ only in axis {self.axis}, got {_text(*inputs)}"
            )
        sides = list(inputs[0])
        sides[self.axis] = sum(shape[self.axis] for shape in inputs)
        n, channels, rows, cols = sides
        return n, channels, rows, cols


@dataclass(frozen=True)
class CropLayer(Operation):
    """The first blob, cut to the second's size in `axis` and all later axes."""

    inputs = (2, 2)
    axis: int = 2
    offsets: tuple[int, ...] = (0, 0)
    """One offset for each axis that is cut."""

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
    """The softmax along an axis; with axis 1 each pixel's channels become scores of sum 1."""

    axis: int = 1


@dataclass(frozen=True)
class Sigmoid(Operation):
    """The sigmoid: 1 / (1 + exp(-x))."""


@dataclass(frozen=True)
class Dropout(Operation):
    """Dropout, which does nothing when a network is served."""


def _check_groups(channels: int, outputs: int, group: int) -> None:
    if channels % group or outputs % group:
        raise NetworkError(
            f"want channels divisible by {group} groups, got {channels} in and {outputs} out"
        )


def _positive(shape: Shape, given: Shape) -> Shape:
    if min(shape) < 1:
        raise NetworkError(f"want at least one output pixel from {_text(given)}")
    if prod(shape) > 1 << 62:
        raise NetworkError(f"want fewer pixels than {_text(shape)}")
    return shape


def _text(*shapes: Shape) -> str:
    return " and ".join(" x ".join(str(side) for side in shape) for shape in shapes)
