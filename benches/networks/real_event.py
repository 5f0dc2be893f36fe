"""Compare our network's scores for an event with another network's scores in the file.

Files without three planes of images and scores are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clients.training.accuracy import Counts, Pixels, count
from lartpc import RSE, Image, ReadError, TickOrder, open_reader

from .measuring import Score
from .toys import thresholded

_PLANES = 3


@dataclass(frozen=True, eq=False)
class RealEvent:
    """One event: each plane's ADC, and the other network's scores for it."""

    rse: RSE
    charge: tuple[Image, ...]
    theirs: tuple[tuple[Image, ...], ...]
    """The other network's [shower, track] scores of each plane."""

    def scored(self, plane: int, score: Score) -> Pixels:
        """Return our [shower, track] scores of a plane, (2, rows, cols), 0 below the threshold."""
        image = self.charge[plane]
        # networks were trained on tick-backward rows
        backward = thresholded(image.in_order("backward").pixels)
        scores = score(backward)[1:] * (backward > 0)
        return scores if image.meta.tick_order == "backward" else scores[:, ::-1]

    def agreement(self, plane: int, ours: Pixels) -> Counts:
        """Count pixels that both networks scored, by the other's label (row) and ours (column)."""
        theirs = np.stack([image.pixels for image in self.theirs[plane]])
        both = (theirs.sum(axis=0) > 0) & (ours.sum(axis=0) > 0)
        return count(theirs.argmax(axis=0)[both] + 1, ours.argmax(axis=0)[both] + 1)


def read(file: Path, *, image: str, scores: str, tick_order: TickOrder) -> RealEvent:
    """Read a file's first event; scores: a producer's name in which `{plane}` is the plane."""
    producers = [scores.format(plane=plane) for plane in range(_PLANES)]
    with open_reader(file, tick_order=tick_order, images=(image, *producers)) as reader:
        if not len(reader):
            raise ReadError(f"want an event, got none in {file}")
        event = reader[0]
    charge = event.images[image]
    theirs = tuple(event.images[name] for name in producers)
    got = [len(charge), *(len(pair) for pair in theirs)]
    if got != [_PLANES, 2, 2, 2]:
        raise ReadError(f"want 3 planes and 2 scores of each, got {got} images in {file}")
    return RealEvent(event.rse, charge, theirs)


def draw(path: Path, event: RealEvent, ours: list[Pixels]) -> None:
    """Draw a PNG with the charge, our scores and the other network's."""
    from lartpc.display.drawing import adc_row, render, score_row

    pairs = [
        [Image(image.meta, np.ascontiguousarray(score)) for score in scored]
        for image, scored in zip(event.charge, ours, strict=True)
    ]
    rows = [
        adc_row(event.charge),
        score_row(pairs, name="this network"),
        score_row(event.theirs, name="the group's"),
    ]
    render(path, rows, rse=event.rse, statement="scores: this network's, and those in the file")
