"""Trains the shipped networks with torch. Refuses nothing; holds no file and writes none.

All three planes together first: a plane's images are much like another's. Then each plane its own,
with BatchNorm's statistics as they then are, so that it learns with what it will be served with.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere

from ..caffe_net import Network
from ..caffe_weights import Weights
from ..memory import keep_memory
from ..torch_net import TorchNet, fresh
from .accuracy import Score, padded
from .toys import SMALL, WHOLE, Crops, Labels, Picture, Pixels, events

Draw = Callable[[int], tuple[Pixels, Labels]]
"""A batch of so many crops: ADC, (n, 1, side, side), and labels, (n, side, side)."""

_EMPTY_WEIGHT = 0.002  # of a pixel below threshold: a hundred times as many, and easily learnt
_DECAY = 1e-4
_LARGEST_GRADIENT = 1.0
_EVERY = 100  # steps from one word of progress to the next


@dataclass(frozen=True)
class Stage:
    """A part of the training, and what it takes."""

    name: str
    steps: int
    batch: int  # crops
    side: int  # pixels
    shower_share: float
    """Of the crops that are centred on a shower: of all pixels, a sixth are a shower's."""
    rate: float
    """AdamW's largest learning rate; it falls to 0 by a cosine."""
    learn_statistics: bool
    """Whether BatchNorm normalises by each batch and its averages follow, or keeps its averages."""
    warm_up: int = 50  # steps


TOGETHER = Stage(
    "all planes",
    steps=2200,
    batch=12,
    side=192,
    shower_share=0.4,
    rate=3e-3,
    learn_statistics=True,
)
ALONE = Stage(
    "plane {plane}",
    steps=500,
    batch=8,
    side=256,
    shower_share=0.3,
    rate=1e-3,
    learn_statistics=False,
)


@dataclass(frozen=True)
class Progress:
    """The last steps of a stage."""

    stage: str
    step: int
    steps: int
    loss: float
    right: float
    """The share of shower and track pixels labelled right, above threshold."""
    crops_per_s: float


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Toys:
    """How many toy events there are to learn from, and which."""

    small: int = 900
    whole: int = 400
    seed: int = 1000

    def make(self) -> list[tuple[Picture, ...]]:
        small = events(self.small, seed=self.seed, chamber=SMALL)
        return [*small, *events(self.whole, seed=self.seed + 1000, chamber=WHOLE)]


def train(
    network: Network,
    toys: Sequence[tuple[Picture, ...]],
    *,
    seed: int,
    on_progress: OnProgress,
    together: Stage = TOGETHER,
    alone: Stage = ALONE,
) -> list[Weights]:
    """Weights of a network for each plane, from toy events of three planes."""
    keep_memory()
    net = TorchNet(network, fresh(network, seed=seed))
    pictures = [picture for planes in toys for picture in planes]
    fit(net, _crops(pictures, together, seed + 1), together, on_progress)
    shared = net.weights()
    found = []
    for plane in range(3):
        stage = replace(alone, name=alone.name.format(plane=plane))
        net = TorchNet(network, shared)
        draw = _crops([planes[plane] for planes in toys], stage, seed + 10 + plane)
        fit(net, draw, stage, on_progress)
        found.append(net.weights())
    return found


def _crops(pictures: Sequence[Picture], stage: Stage, seed: int) -> Draw:
    return Crops(pictures, side=stage.side, shower_share=stage.shower_share, seed=seed).draw


def fit(net: TorchNet, draw: Draw, stage: Stage, on_progress: OnProgress) -> None:
    """Train a network on the batches that it draws. The same steps give the same weights."""
    optimiser = torch.optim.AdamW(net.parameters(), stage.rate, weight_decay=_DECAY)
    recent, since = np.zeros(4), time.perf_counter()
    for step in range(stage.steps):
        for group in optimiser.param_groups:
            group["lr"] = stage.rate * _share(step, stage)
        recent[:3] += _step(net, optimiser, *draw(stage.batch), stage)
        recent[3] += 1
        if (step + 1) % _EVERY == 0 or step + 1 == stage.steps:
            rate = float(recent[3]) * stage.batch / (time.perf_counter() - since)
            loss, share = recent[0] / recent[3], recent[1] / max(recent[2], 1)
            said = Progress(stage.name, step + 1, stage.steps, float(loss), float(share), rate)
            on_progress(said)
            recent, since = np.zeros(4), time.perf_counter()


def _share(step: int, stage: Stage) -> float:
    """Of the learning rate: up in a line, and down by a cosine."""
    return min(1, (step + 1) / stage.warm_up) * (1 + math.cos(math.pi * step / stage.steps)) / 2


def _step(
    net: TorchNet, optimiser: torch.optim.Optimizer, adc: Pixels, label: Labels, stage: Stage
) -> tuple[float, float, float]:
    """One step of descent: the loss before it, and pixels right and in all."""
    images = torch.tensor(adc).contiguous(memory_format=torch.channels_last)
    truth = torch.tensor(label).long()
    weight = torch.where(images[:, 0] > 0, 1.0, _EMPTY_WEIGHT)
    with torch.autocast("cpu", torch.bfloat16):  # the weights and their steps stay float32
        scores = net.scores(images, learn_statistics=stage.learn_statistics)
    scores = scores.float()
    loss = (F.cross_entropy(scores, truth, reduction="none") * weight).sum() / weight.sum()
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(net.parameters(), _LARGEST_GRADIENT)
    optimiser.step()
    charged = truth > 0
    hits = (scores.detach().argmax(1)[charged] == truth[charged]).sum()
    return loss.item(), hits.item(), charged.sum().item()


def scorer(net: TorchNet) -> Score:
    """The network in torch, for images of any size."""

    def forward(images: Pixels) -> Pixels:
        with torch.no_grad():
            given = torch.tensor(images).contiguous(memory_format=torch.channels_last)
            scores: Pixels = torch.softmax(net.scores(given), 1).numpy()
        return scores

    return padded(forward, net.network.size_divisor)
