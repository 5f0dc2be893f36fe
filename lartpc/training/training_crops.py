"""Training crops: around charge, mirrored, brighter or darker, with labels and weights. Pure.

An event's planes share the crop's ticks and its mirrors, as one interaction seen from three sides.
Refuses nothing: what does not fit was refused with the batch's name.
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
"""Of one pixel, so that three pixels of a shower do not outweigh the rest of the event."""


class Arrays(NamedTuple):
    """A batch, (batch, planes, rows, cols) each; or one event of it, (planes, rows, cols)."""

    images: Pixels
    """ADC, 0 below the threshold, at most SSNet's ceiling."""
    labels: Labels
    """0 background, 1 shower, 2 track; 0 where no charge is left to be seen."""
    weights: Pixels
    """Of each pixel in the loss: see `class_weights`."""

    def of(self, event: int) -> Arrays:
        """One event's part; writing there writes here."""
        return Arrays(self.images[event], self.labels[event], self.weights[event])


def empty(recipe: Recipe, events: int) -> Arrays:
    """Room for the crops of so many events."""
    shape = (events, len(recipe.planes), recipe.rows, recipe.cols)
    return Arrays(np.zeros(shape, np.float32), np.zeros(shape, np.uint8), np.empty(shape, "f4"))


def draw(
    planes: Sequence[SparseImage], recipe: Recipe, dice: Dice, into: Arrays
) -> list[ImageMeta]:
    """Cut an event's crop out of each plane; returns where they lie.

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
    """The first row of all planes' crops: around a pixel of one of them."""
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
    """Where a crop begins on an axis: a pixel with charge lies in its middle three quarters."""
    among = _anchors(image.adc[part], image.label[part], shower=shower)
    before = side // 8 + dice.below(side - 2 * (side // 8))
    anchor = dice.below(max(len(among), 1))
    if not len(among):
        return dice.below(size - side + 1)
    return min(max(int(axis[part][among[anchor]]) - before, 0), size - side)


def _anchors(adc: Pixels, label: Labels, *, shower: bool) -> npt.NDArray[np.int64]:
    """The pixels to look at: a shower's if wanted, else a shower's or track's, else any charge."""
    charged = adc >= LOW_ADC
    choices = [charged & (label != BACKGROUND), charged]
    if shower:
        choices.insert(0, charged & (label == SHOWER))
    found = (np.flatnonzero(choice) for choice in choices)
    return next((among for among in found if len(among)), np.empty(0, np.int64))


def _mirrored(one: Arrays, flips: Sequence[bool]) -> Arrays:
    """Views, so that what is written unmirrored lies mirrored."""
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
    """What each pixel of a crop counts in the loss, (rows, cols): SSNet's scheme.

    As LArCV1's SegWeightTrackShower (larcv/app/ImageMod) makes them: background 1; a pixel of a
    shower, of a track, or of the background next to either: 1 + all pixels // pixels of that kind,
    so that the four kinds weigh the same. At most `WEIGHT_MAX`.
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
