"""Trains a Caffe network by descent, in torch: one step at a time, from batches that it is given.

The same batches give the same weights, to the bit, on one machine with the same number of threads.
Holds no file. Refuses networks that do not score single planes, and losses that are not finite.
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
"""Of a pixel without charge: there are a hundred times as many, and they are easily learnt."""
LARGEST_GRADIENT = 1.0
MOMENTUM = 0.9

Arrays = Mapping[str, npt.NDArray[Any]]
Counts = npt.NDArray[np.int64]
"""(3, 3): pixels by truth and answer, where the truth is shower or track."""


class TrainingFailed(MDPError, ArithmeticError):
    """The loss is no number any more."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the weights descend. Raises `SettingsError`."""

    steps: int
    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: float = 3e-3
    """The largest learning rate."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """To 0 by a cosine; a tenth after half of the steps, and again after three quarters."""
    warm_up: int = 50
    """Steps in which the rate rises in a line."""
    weight_decay: float = 1e-4
    pixel_weights: Literal["seen", "ssnet"] = "seen"
    """What a pixel counts: 1 where there is charge and 0.002 elsewhere; or the batches' weights."""
    shower_weight: float = 1.0
    """A factor for a shower's pixels."""
    freeze_statistics: float = 0.2
    """Share of the steps, at the end, in which BatchNorm normalises with its averages, as the
    served network does, instead of each batch's own statistics."""
    average: float = 0.999
    """How much of the moving average of the weights each step keeps; 0: no average is made."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Of forward and backward passes; weights and their steps are float32."""

    def __post_init__(self) -> None:
        _want("steps", self.steps, 1, math.inf)
        _want("warm_up", self.warm_up, 0, math.inf)
        _want("freeze_statistics", self.freeze_statistics, 0, 1)
        for name in ("rate", "weight_decay", "shower_weight"):
            _want(name, getattr(self, name), 0, 1e6)
        if not 0 <= self.average < 1:
            raise SettingsError(f"want average from 0 to below 1, got {self.average}")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        share = step / self.steps
        if self.schedule == "cosine":
            return self.rate * rise * (1 + math.cos(math.pi * share)) / 2
        if self.schedule == "step":
            return self.rate * rise * 0.1 ** ((share >= 0.5) + (share >= 0.75))
        return self.rate * rise

    def learns_statistics(self, step: int) -> bool:
        """Whether a step, counted from 0, normalises by its batch."""
        return step < self.steps - round(self.freeze_statistics * self.steps)


def _want(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingsError(f"want {name} from {low:g} to {high:g}, got {value}")


class Step(NamedTuple):
    """What a step found before it changed the weights."""

    loss: float
    counts: Counts


class Trainer:
    """A network, its optimiser and the average of its weights, after `done` steps."""

    def __init__(
        self,
        network: Network,
        weights: Weights,
        training: Training,
        *,
        fresh: bool,
        device: str = "cpu",
    ) -> None:
        """fresh: the weights know no statistics yet, so the first steps' are their mean.

        Raises `NetworkError` for a network that is not from one plane to three classes.
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
        """What is validated and served: the average, where one is made."""
        return self._average or self._net

    def step(self, images: Tensor, labels: Tensor, weights: Tensor) -> Step:
        """One step of descent on a batch, (batch, planes, rows, cols) each: float32 ADC, uint8,
        float32. Each plane of an event is an image of its own. Raises `TrainingFailed`.
        """
        device, rows_cols = self._net.device, images.shape[-2:]
        flat = (
            each.to(device, non_blocking=True).reshape(-1, *rows_cols)
            for each in (images, labels, weights)
        )
        adc, truth, weight = next(flat), next(flat).long(), next(flat)
        weight = weigh(self.training, adc, truth, weight)
        scores = self._scores(adc[:, None])
        each = F.cross_entropy(scores, truth, reduction="none")
        loss = (each * weight).sum() / weight.sum()
        found = Step(loss.item(), _count(scores, truth))
        if not math.isfinite(found.loss):
            raise TrainingFailed(
                f"want a finite loss, got {found.loss} in step {self.done + 1}: a lower rate?"
            )
        self._descend(loss)
        self.done += 1
        return found

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
            # at first nearly nothing is kept: what the weights were by chance is no average
            kept = min(self.training.average, (1 + self.done) / (10 + self.done))
            with torch.no_grad():
                for mine, now in zip(self._average.blobs(), self._net.blobs(), strict=True):
                    mine.lerp_(now, 1 - kept)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """All that the next steps depend on, as arrays to keep. Raises `TrainingFailed`."""
        arrays = {"done": np.array(self.done)}
        nets = {"net": self._net, "average": self._average}
        for name, net in nets.items():
            for index, blob in enumerate(net.blobs() if net else ()):
                arrays[f"{name}/{index}"] = _array(blob)
        for number, kept in self._optimizer.state_dict()["state"].items():
            for what, value in kept.items():
                arrays[f"optimizer/{number}/{what}"] = _array(value)
        if not all(np.isfinite(array).all() for array in arrays.values()):
            # a step's loss was still finite, and what it made of the weights is not
            raise TrainingFailed(f"want finite weights after step {self.done}: a lower rate?")
        return arrays

    def load(self, arrays: Arrays) -> None:
        """Go on from a state of the same network and settings; raises `KeyError`, `ValueError`."""
        kept: dict[int, dict[str, Tensor]] = {}
        for name, array in arrays.items():
            if name.startswith("optimizer/"):
                _, number, what = name.split("/")
                kept.setdefault(int(number), {})[what] = torch.tensor(array)
        nets = {"net": self._net, "average": self._average}
        with torch.no_grad():
            for name, net in nets.items():
                for index, blob in enumerate(net.blobs() if net else ()):
                    array = arrays[f"{name}/{index}"]
                    if array.shape != tuple(blob.shape):
                        raise ValueError(f"{name}/{index} is {array.shape}, not {blob.shape}")
                    blob.copy_(torch.tensor(array))
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": kept, "param_groups": groups})
        self.done = int(arrays["done"])


def weigh(training: Training, adc: Tensor, truth: Tensor, given: Tensor) -> Tensor:
    """What pixels count in the loss; given: what they do in SSNet's scheme. Of any one shape."""
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
        raise NetworkError(f"want a network of 1 channel, a plane's ADC, got {got}")
    if not isinstance(last.does, caffe.Softmax) or last.does.axis != 1:
        raise NetworkError(
            f"want a softmax of the classes as the last layer, to learn from what it is given,"
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
