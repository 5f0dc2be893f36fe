"""A Caffe network in torch, so that it can be trained: its weights become parameters.

It works for every network that `caffe_net` reads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce, singledispatch
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor

from services.caffe import caffe_layers as caffe
from services.caffe.caffe_net import Layer, Network
from services.caffe.caffe_weights import Weights

AVERAGING = 0.02
"""The least weight of a new batch in the moving averages that BatchNorm learns."""


class TorchNet:
    """A network that runs layer by layer on torch tensors, with Caffe's blobs as parameters."""

    def __init__(
        self, network: Network, weights: Weights | None = None, *, device: str = "cpu"
    ) -> None:
        """weights: the initial weights; None: the network's own."""
        self.network = network
        self.averaging = AVERAGING
        """The weight of the next batch in BatchNorm's moving averages, if BatchNorm learns them."""
        self.device = torch.device(device)
        self._blobs = {
            name: [torch.tensor(array, device=self.device) for array in arrays]
            for name, arrays in (network.weights if weights is None else weights).items()
        }
        for layer in network.layers:
            if isinstance(layer.does, caffe.BatchNorm):
                _divide(self._blobs[layer.name])
        self._scales = {
            norm.name: scale.name
            for norm, scale in pairwise(network.layers)
            if isinstance(norm.does, caffe.BatchNorm) and isinstance(scale.does, caffe.Scale)
            if norm.top == scale.top and scale.does.bias
        }
        for parameter in self.parameters():
            parameter.requires_grad_(True)

    def parameters(self) -> list[Tensor]:
        """Return what gradient descent changes: all weights except BatchNorm's averages."""
        norms = {x.name for x in self.network.layers if isinstance(x.does, caffe.BatchNorm)}
        return [blob for name, blobs in self._blobs.items() if name not in norms for blob in blobs]

    def blobs(self) -> list[Tensor]:
        """Return all weights, including BatchNorm's averages, in the order of the layers."""
        return [blob for blobs in self._blobs.values() for blob in blobs]

    def weights(self) -> Weights:
        """Return a copy of the weights, in the form of a caffemodel."""
        return {
            name: tuple(blob.detach().cpu().numpy().copy() for blob in blobs)
            for name, blobs in self._blobs.items()
        }

    def forward(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return each pixel's scores, (batch, classes, rows, cols), as an engine does."""
        with torch.no_grad():
            given = torch.tensor(images, device=self.device)
            given = given.contiguous(memory_format=torch.channels_last)
            scores: npt.NDArray[np.float32] = torch.softmax(self.scores(given), 1).cpu().numpy()
        return scores

    def run(self, images: Tensor, *, learn_statistics: bool = False) -> dict[str, Tensor]:
        """Return all blobs that are computed from images (n, channels, rows, cols).

        learn_statistics: normalise by the batch's own statistics, and update the averages.
        """
        blobs = {self.network.input_name: images}
        scaled = set[str]()
        for layer in self.network.layers:
            if layer.name in scaled:
                continue
            bottoms = [blobs[name] for name in layer.bottoms]
            if isinstance(layer.does, caffe.BatchNorm):
                scaled.add(self._scales.get(layer.name, ""))
                blobs[layer.top] = self._normalise(layer, bottoms[0], learn=learn_statistics)
            else:
                blobs[layer.top] = _run(layer.does, bottoms, self._blobs.get(layer.name, []))
        return blobs

    def scores(self, images: Tensor, *, learn_statistics: bool = False) -> Tensor:
        """Return the input of the last layer, a softmax: (n, classes, rows, cols)."""
        blobs = self.run(images, learn_statistics=learn_statistics)
        return blobs[self.network.layers[-1].bottoms[0]]

    def _normalise(self, layer: Layer, bottom: Tensor, *, learn: bool) -> Tensor:
        """Apply BatchNorm and the Scale that follows it, which torch does in one call."""
        assert isinstance(layer.does, caffe.BatchNorm)
        mean, variance, _ = self._blobs[layer.name]
        weight, bias = self._blobs.get(self._scales.get(layer.name, ""), (None, None))
        batch = learn or layer.does.batch_statistics
        return F.batch_norm(
            bottom,
            mean if learn or not batch else None,
            variance if learn or not batch else None,
            weight,
            bias,
            training=batch,
            momentum=self.averaging,
            eps=layer.does.eps,
        )


def fresh(network: Network, *, seed: int) -> Weights:
    """Return initial weights: kernels from He's normal distribution; others are neutral."""
    rng = np.random.default_rng(seed)
    shapes = network.shapes(1, *network.input_shape[2:])
    return {
        layer.name: tuple(_fresh(layer.does, index, shape, rng) for index, shape in enumerate(want))
        for layer in network.layers
        if (want := layer.does.weights(*(shapes[name] for name in layer.bottoms)))
    }


def _fresh(
    does: caffe.Operation, index: int, shape: tuple[int, ...], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    match does:
        case caffe.Convolution() if index == 0:
            return _he(shape, math.prod(shape) / shape[0], rng)
        case caffe.Deconvolution() if index == 0:
            # each output pixel sees one of every stride x stride places of a kernel
            inputs = math.prod(shape) / does.outputs / math.prod(does.window.stride)
            return _he(shape, inputs, rng)
        case caffe.Scale() if index == 0:  # the factor
            return np.ones(shape, np.float32)
        case caffe.BatchNorm() if index > 0:  # the variance and its divisor
            return np.ones(shape, np.float32)
    return np.zeros(shape, np.float32)


def _he(shape: tuple[int, ...], inputs: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    return (rng.normal(size=shape) * math.sqrt(2 / inputs)).astype(np.float32)


def _divide(blobs: list[Tensor]) -> None:
    """Turn mean · f, variance · f and f into mean, variance and 1."""
    factor = float(blobs[2])
    share = 1 / factor if factor else 0.0  # as in Caffe: f = 0 gives zeros
    blobs[:] = [blobs[0] * share, blobs[1] * share, torch.ones_like(blobs[2])]


@singledispatch
def _run(does: caffe.Operation, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> Tensor:
    """Run one layer on its inputs, with its weights."""
    raise NotImplementedError(f"no {type(does).__name__} in torch")


@_run.register
def _(does: caffe.Convolution, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> Tensor:
    w, bias = does.window, blobs[1] if does.bias else None
    return F.conv2d(bottoms[0], blobs[0], bias, w.stride, w.pad, w.dilation, does.group)


@_run.register
def _(does: caffe.Deconvolution, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> Tensor:
    w, bias = does.window, blobs[1] if does.bias else None
    return F.conv_transpose2d(
        bottoms[0],
        blobs[0],
        bias,
        stride=w.stride,
        padding=w.pad,
        dilation=w.dilation,
        groups=does.group,
    )


@_run.register
def _(does: caffe.Scale, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> Tensor:
    factor, *bias = (blob.view(1, -1, 1, 1) for blob in blobs)
    scaled = bottoms[0] * factor
    return scaled + bias[0] if does.bias else scaled


@_run.register
def _(does: caffe.ReLU, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> Tensor:
    slope = does.negative_slope
    return F.leaky_relu(bottoms[0], slope) if slope else F.relu(bottoms[0])


@_run.register
def _(does: caffe.Pooling, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> Tensor:
    w = does.window
    pool = F.max_pool2d if does.method == "MAX" else F.avg_pool2d
    pooled: Tensor = pool(bottoms[0], w.kernel, w.stride, w.pad, ceil_mode=does.ceil)
    return pooled


@_run.register
def _(does: caffe.GlobalPooling, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> Tensor:
    pool = torch.amax if does.method == "MAX" else torch.mean
    pooled: Tensor = pool(bottoms[0], (2, 3), keepdim=True)
    return pooled


@_run.register
def _(does: caffe.Eltwise, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> Tensor:
    if does.operation == "MAX":
        return reduce(torch.maximum, bottoms)
    if does.operation == "PROD":
        return reduce(torch.mul, bottoms)
    if not does.coefficients:
        return reduce(torch.add, bottoms)
    return reduce(torch.add, map(torch.mul, bottoms, does.coefficients))


@_run.register
def _(does: caffe.Concat, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(bottoms), does.axis)


@_run.register
def _(does: caffe.CropLayer, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> Tensor:
    whole, like = bottoms
    for axis, offset in enumerate(does.offsets, start=does.axis):
        whole = whole.narrow(axis, offset, like.shape[axis])
    return whole


@_run.register
def _(does: caffe.Softmax, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> Tensor:
    return torch.softmax(bottoms[0], does.axis)


@_run.register
def _(does: caffe.Sigmoid, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> Tensor:
    return torch.sigmoid(bottoms[0])


@_run.register
def _(does: caffe.Dropout, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> Tensor:
    return bottoms[0]  # not used in training: networks this small need no dropout
