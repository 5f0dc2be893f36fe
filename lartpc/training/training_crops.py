"""Training crops around charge: mirrored, scaled in ADC, with labels and weights. Pure.

All planes of an event share the ticks and the mirroring of its crop, because they show the same
interaction. Nothing is refused here: the batch's name was checked before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..crops.chain import LOW_ADC, threshold
from ..image import ImageMeta, Pixels
from .batches import Dice, Recipe
from .sparse import BACKGROUND, SHOWER, TRACK, Labels, SparseImage

WEIGHT_MAX = 1000
"""The largest weight of a pixel, so that three shower pixels do not outweigh the whole event."""


class Arrays(NamedTuple):
    """A batch, every array (batch, planes, rows, cols); or one event, (planes, rows, cols)."""

    images: Pixels
    """ADC, 0 below the threshold, and at most SSNet's upper limit."""
    labels: Labels
    """0 background, 1 shower, 2 track; 0 also where the threshold left no charge."""
    weights: Pixels
    """The weight of each pixel in the loss: see `class_weights`."""

    def of(self, event: int) -> Arrays:
        """Return views of one event's arrays; writing to them changes these arrays."""
        return Arrays(self.images[event], self.labels[event], self.weights[event])


def empty(recipe: Recipe, events: int) -> Arrays:
    """Allocate arrays for the crops of `events` events; images and labels are 0."""
    shape = (events, len(recipe.planes), recipe.rows, recipe.cols)
    return Arrays(np.zeros(shape, np.float32), np.zeros(shape, np.uint8), np.empty(shape, "f4"))


def draw(
    planes: Sequence[SparseImage], recipe: Recipe, dice: Dice, into: Arrays
) -> list[ImageMeta]:
    """Cut an event's crop out of each plane, and return the metas of the crops.

    planes: in the recipe's order. into: (planes, rows, cols), images and labels all 0.
    """
    brighter = np.float32(1 + recipe.gain * (2 * dice.share() - 1))
    flips = [recipe.flips and dice.share() < 0.5 for _ in ("rows", "cols")]
    shower = dice.share() < recipe.shower_share
    top = _top(planes, recipe, dice, shower=shower)
    metas = []
    for number, image in enumerate(planes):
        left = _left(image, recipe, dice, top, shower=shower)
        one = Arrays(into.images[number], into.labels[number], into.weights[number])
        _cut(image, top, left, brighter, _mirrored(one, flips))
        one.weights[:] = class_weights(one.labels)
        metas.append(image.meta.part(top, left, rows=recipe.rows, cols=recipe.cols))
    return metas


def _top(planes: Sequence[SparseImage], recipe: Recipe, dice: Dice, *, shower: bool) -> int:
    """Return the first row of all planes' crops, placed around a pixel of one of the planes."""
    seen = [image for image in planes if len(image.adc) and image.adc.max() >= LOW_ADC]
    image = (seen or planes)[dice.below(len(seen or planes))]
    rows = min(plane.meta.rows for plane in planes)
    return _place(image.row, image, slice(None), recipe.rows, rows, dice, shower=shower)


def _left(image: SparseImage, recipe: Recipe, dice: Dice, top: int, *, shower: bool) -> int:
    part = image.within(top, recipe.rows)
    return _place(image.col, image, part, recipe.cols, image.meta.cols, dice, shower=shower)


def _place(
    axis: npt.NDArray[np.int32],
    image: SparseImage,
    part: slice,
    side: int,
    size: int,
    dice: Dice,
    *,
    shower: bool,
) -> int:
    """Return where a crop begins on an axis: its middle three quarters hold a charged pixel."""
    among = _anchors(image.adc[part], image.label[part], shower=shower)
    offset = side // 8 + dice.below(side - 2 * (side // 8))
    anchor = dice.below(max(len(among), 1))
    if not len(among):
        return dice.below(size - side + 1)
    return min(max(int(axis[part][among[anchor]]) - offset, 0), size - side)


def _anchors(adc: Pixels, label: Labels, *, shower: bool) -> npt.NDArray[np.int64]:
    """Return shower pixels, if wanted; if none, shower or track pixels; if none, charged ones."""
    charged = adc >= LOW_ADC
    choices = [charged & (label != BACKGROUND), charged]
    if shower:
        choices.insert(0, charged & (label == SHOWER))
    candidates = (np.flatnonzero(choice) for choice in choices)
    return next((among for among in candidates if len(among)), np.empty(0, np.int64))


def _mirrored(one: Arrays, flips: Sequence[bool]) -> Arrays:
    """Return views that mirror what is written to them."""
    rows, cols = (slice(None, None, -1 if flip else 1) for flip in flips)
    return Arrays(one.images[rows, cols], one.labels[rows, cols], one.weights[rows, cols])


def _cut(image: SparseImage, top: int, left: int, brighter: np.float32, into: Arrays) -> None:
    rows, cols = into.images.shape
    part = image.within(top, rows)
    row, col = image.row[part] - top, image.col[part] - left
    inside = (col >= 0) & (col < cols)
    row, col = row[inside], col[inside]
    adc = threshold(image.adc[part][inside] * brighter)
    into.images[row, col] = adc
    into.labels[row, col] = np.where(adc > 0, image.label[part][inside], BACKGROUND)


def class_weights(labels: Labels) -> Pixels:
    """Return the weight of each pixel of a crop in the loss, (rows, cols), in SSNet's scheme.

    It is that of LArCV1's SegWeightTrackShower (larcv/app/ImageMod): background has weight 1. A
    pixel of a shower, of a track, or of the background next to either has weight
    1 + all pixels // pixels of that kind, so that all four kinds have the same total weight. No
    weight exceeds `WEIGHT_MAX`.
    """
    rows, cols = labels.shape
    where = np.flatnonzero(labels != BACKGROUND)
    row, col = np.divmod(where, cols)
    near = np.zeros((rows + 2, cols + 2), np.bool_)
    for down in range(3):
        for right in range(3):
            near[row + down, col + right] = True
    near[row + 1, col + 1] = False
    label = labels.reshape(-1)[where]
    weights = np.ones(labels.size, np.float32)
    for kind in (where[label == SHOWER], where[label == TRACK], np.flatnonzero(near[1:-1, 1:-1])):
        if len(kind):
            weights[kind] = min(1 + labels.size // len(kind), WEIGHT_MAX)
    return weights.reshape(labels.shape)
