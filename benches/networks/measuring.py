"""Measure how many pixels of toy events a network labels correctly."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from clients.training.accuracy import Accuracy, Pixels, compare

from .toys import ToyPlane, thresholded

Score = Callable[[Pixels], Pixels]
"""A function from ADC above the threshold, (rows, cols), to scores, (3, rows, cols)."""


def measure(pictures: Iterable[ToyPlane], score: Score) -> Accuracy:
    """Score whole pictures and compare the scores with the truth."""
    total = Accuracy(np.zeros((3, 3), np.int64), np.zeros((3, 3), np.int64))
    for picture in pictures:
        adc, label = picture.whole()
        image = thresholded(adc)
        total += compare(score(image), image > 0, label)
    return total


def padded(forward: Callable[[Pixels], Pixels], divisor: int) -> Score:
    """Pad images of any size for a network that takes multiples of `divisor`."""

    def score(image: Pixels) -> Pixels:
        rows, cols = image.shape
        missing = [(0, -side % divisor) for side in (rows, cols)]
        return forward(np.pad(image, missing)[None, None])[0, :, :rows, :cols]

    return score
