"""Train a Caffe network in torch by gradient descent, one step per batch.

The same batches give the same weights, to the bit, on one machine with the same number of threads.
No file is opened here. Networks that do not score single planes, and losses that are not finite,
are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor

from lartpc.training.sparse import SHOWER
from mdp import MDPError, SettingsError
from services.caffe import caffe_layers as caffe
from services.caffe.caffe_net import Network, require_classes
from services.caffe.caffe_weights import Weights
from services.errors import NetworkError

from .torch_net import AVERAGING, TorchNet

EMPTY_WEIGHT = 0.002
"""The weight of pixels without charge, which are 100 times as frequent and easy to learn."""
LARGEST_GRADIENT = 1.0
MOMENTUM = 0.9

Arrays = Mapping[str, npt.NDArray[Any]]
Counts = npt.NDArray[np.int64]
"""(3, 3): pixels by truth (rows) and answer (columns), only where the truth is shower or track."""


class TrainingFailed(MDPError, ArithmeticError):
    """The loss or a weight is not finite any more."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """The settings of gradient descent. Raises `SettingsError`."""

    steps: int
    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: float = 3e-3
    """The largest learning rate."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """cosine: falls to 0; step: a tenth after half of the steps, a hundredth after 3/4 of them."""
    warm_up: int = 50
    """Steps at the start in which the rate rises linearly."""
    weight_decay: float = 1e-4
    pixel_weights: Literal["seen", "ssnet"] = "seen"
    """A pixel's weight in the loss. seen: 1 with charge, 0.002 without; ssnet: from the batch."""
    shower_weight: float = 1.0
    """A further factor for shower pixels."""
    freeze_statistics: float = 0.2
    """The share of the steps, at the end, in which BatchNorm normalises with its averages, as the
    served network does, instead of with each batch's statistics."""
    average: float = 0.999
    """The decay of the weights' moving average in each step; 0: no moving average."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """The type in forward and backward passes; weights and their updates are float32."""

    def __post_init__(self) -> None:
        _want("steps", self.steps, 1, math.inf)
        _want("warm_up", self.warm_up, 0, math.inf)
        _want("freeze_statistics", self.freeze_statistics, 0, 1)
        for name in ("rate", "weight_decay", "shower_weight"):
            _want(name, getattr(self, name), 0, 1e6)
        if not 0 <= self.average < 1:
            raise SettingsError(f"want average from 0 to below 1, got {self.average}")

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step; steps count from 0."""
        rise = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        share = step / self.steps
        if self.schedule == "cosine":
            return self.rate * rise * (1 + math.cos(math.pi * share)) / 2
        if self.schedule == "step":
            return self.rate * rise * 0.1 ** ((share >= 0.5) + (share >= 0.75))
        return self.rate * rise

    def learns_statistics(self, step: int) -> bool:
        """Return whether a step, counted from 0, normalises by its batch's statistics."""
        return step < self.steps - round(self.freeze_statistics * self.steps)


def _want(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingsError(f"want {name} from {low:g} to {high:g}, got {value}")


class Step(NamedTuple):
    """The loss and the counts of a step, computed before the step changed the weights."""

    loss: float
    counts: Counts


class Trainer:
    """A network, its optimiser and its weights' moving average, after `done` steps."""

    def __init__(
        self,
        network: Network,
        weights: Weights,
        training: Training,
        *,
        fresh: bool,
        device: str = "cpu",
    ) -> None:
        """fresh: the weights hold no averages yet; these begin as the mean over the first steps.

        Raises `NetworkError` for a network that does not turn one plane into three classes.
        """
        check_network(network)
        self._fresh = fresh
        self.training = training
        self.done = 0
        self._net = TorchNet(network, weights, device=device)
        self._average = TorchNet(network, weights, device=device) if training.average else None
        self._optimizer = _optimizer(self._net, training)

    @property
    def best(self) -> TorchNet:
        """The network to validate and serve: the moving average, if there is one."""
        return self._average or self._net

    def step(self, images: Tensor, labels: Tensor, weights: Tensor) -> Step:
        """Do one step of descent on a batch; raises `TrainingFailed`.

        The tensors are (batch, planes, rows, cols): images float32 ADC, labels uint8, weights
        float32. Each plane of an event counts as a separate image.
        """
        device, rows_cols = self._net.device, images.shape[-2:]
        flat = (
            tensor.to(device, non_blocking=True).reshape(-1, *rows_cols)
            for tensor in (images, labels, weights)
        )
        adc, truth, weight = next(flat), next(flat).long(), next(flat)
        weight = weigh(self.training, adc, truth, weight)
        scores = self._scores(adc[:, None])
        pixel_loss = F.cross_entropy(scores, truth, reduction="none")
        loss = (pixel_loss * weight).sum() / weight.sum()
        step = Step(loss.item(), _count(scores, truth))
        if not math.isfinite(step.loss):
            raise TrainingFailed(
                f"want a finite loss, got {step.loss} in step {self.done + 1}: try a lower rate"
            )
        self._descend(loss)
        self.done += 1
        return step

    def _scores(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        learn = self.training.learns_statistics(self.done)
        if self._fresh:
            self._net.averaging = max(AVERAGING, 1 / (self.done + 1))
        half = self.training.precision == "bfloat16"
        with torch.autocast(self._net.device.type, torch.bfloat16, enabled=half):
            scores = self._net.scores(images, learn_statistics=learn)
        return scores.float()

    def _descend(self, loss: Tensor) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self.training.rate_at(self.done)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._net.parameters(), LARGEST_GRADIENT)
        self._optimizer.step()
        if self._average:
            # a small decay at first, so that the random initial weights do not stay in the average
            decay = min(self.training.average, (1 + self.done) / (10 + self.done))
            with torch.no_grad():
                for average, now in zip(self._average.blobs(), self._net.blobs(), strict=True):
                    average.lerp_(now, 1 - decay)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return all that the next steps depend on, as arrays. Raises `TrainingFailed`."""
        arrays = {"done": np.array(self.done)}
        nets = {"net": self._net, "average": self._average}
        for name, net in nets.items():
            for index, blob in enumerate(net.blobs() if net else ()):
                arrays[f"{name}/{index}"] = _array(blob)
        for number, values in self._optimizer.state_dict()["state"].items():
            for what, value in values.items():
                arrays[f"optimizer/{number}/{what}"] = _array(value)
        if not all(np.isfinite(array).all() for array in arrays.values()):
            # the step's loss was still finite, but the weights after it are not
            raise TrainingFailed(f"want finite weights after step {self.done}: try a lower rate")
        return arrays

    def load(self, arrays: Arrays) -> None:
        """Resume from a state of the same network and settings; raises `KeyError`, `ValueError`."""
        optimizer: dict[int, dict[str, Tensor]] = {}
        for name, array in arrays.items():
            if name.startswith("optimizer/"):
                _, number, what = name.split("/")
                optimizer.setdefault(int(number), {})[what] = torch.tensor(array)
        nets = {"net": self._net, "average": self._average}
        with torch.no_grad():
            for name, net in nets.items():
                for index, blob in enumerate(net.blobs() if net else ()):
                    array = arrays[f"{name}/{index}"]
                    if array.shape != tuple(blob.shape):
                        raise ValueError(
                            f"want the shape {tuple(blob.shape)} for {name}/{index},"
                            f" got {array.shape}"
                        )
                    blob.copy_(torch.tensor(array))
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": optimizer, "param_groups": groups})
        self.done = int(arrays["done"])


def weigh(training: Training, adc: Tensor, truth: Tensor, given: Tensor) -> Tensor:
    """Return the pixels' weights in the loss; given: their weights in SSNet's scheme.

    All four tensors have the same shape, which is arbitrary.
    """
    weights = given
    if training.pixel_weights == "seen":
        weights = torch.where(adc > 0, 1.0, EMPTY_WEIGHT)
    if training.shower_weight != 1:
        weights = torch.where(truth == SHOWER, weights * training.shower_weight, weights)
    return weights


def check_network(network: Network) -> None:
    """Raise `NetworkError` unless it takes one plane's image and ends in a softmax of 3 classes."""
    require_classes(network, 3)
    last = network.layers[-1]
    if network.input_channels != 1:
        got = f"{network.input_channels} in {network.file}"
        raise NetworkError(f"want a network with 1 input channel, a plane's ADC, got {got}")
    if not isinstance(last.does, caffe.Softmax) or last.does.axis != 1:
        raise NetworkError(
            f"want a softmax over the classes as the last layer, whose input the loss needs,"
            f" got {last.name!r} ({last.kind}) in {network.file}"
        )


def _optimizer(net: TorchNet, training: Training) -> torch.optim.Optimizer:
    decay = training.weight_decay
    if training.optimizer == "sgd":
        return torch.optim.SGD(net.parameters(), training.rate, MOMENTUM, weight_decay=decay)
    return torch.optim.AdamW(net.parameters(), training.rate, weight_decay=decay)


def _count(scores: Tensor, truth: Tensor) -> Counts:
    charged = truth > 0
    flat = truth[charged] * 3 + scores.detach().argmax(1)[charged]
    counts: Counts = torch.bincount(flat, minlength=9).reshape(3, 3).cpu().numpy()
    return counts


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = tensor.detach().cpu().numpy().copy()
    return array
