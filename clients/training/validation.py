"""Measure a network on files that it is not trained on; files of the training are refused.

Whole images are scored, large ones in overlapping tiles, and pixels are counted as in
`clients.training.accuracy` (strict).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from lartpc import ParameterError
from lartpc.crops.chain import threshold
from lartpc.crops.tiles import spans
from lartpc.image import Pixels
from lartpc.training.sparse import Labels, SparseImage
from services.training_files import TrainingFiles, TrainingSettings

from .accuracy import Accuracy, compare

Forward = Callable[[Pixels], Pixels]
"""A function from thresholded ADC, (1, 1, rows, cols), to scores, (1, 3, rows, cols)."""
Weigh = Callable[[Pixels, Labels], Pixels]
"""A function from ADC and labels to the pixels' weights in the loss, (rows, cols) each."""

_TILE, _OVERLAP = 512, 64  # as in production
_LEAST = 1e-12  # the least score whose logarithm is taken


@dataclass(frozen=True, eq=False)
class ValidationResult:
    """The result for one plane's images."""

    accuracy: Accuracy
    lost: float = 0.0
    """The weighted sum of the pixels' cross entropy."""
    weight: float = 0.0
    """The sum of the pixels' weights."""

    def __add__(self, other: ValidationResult) -> ValidationResult:
        lost, weight = self.lost + other.lost, self.weight + other.weight
        return ValidationResult(self.accuracy + other.accuracy, lost, weight)

    @property
    def loss(self) -> float:
        """The weighted mean cross entropy, as in training, of whole images, which are emptier."""
        return self.lost / max(self.weight, _LEAST)


class Validation:
    """Events that are not used for training, to measure the network with."""

    def __init__(
        self,
        settings: TrainingSettings,
        *,
        planes: Sequence[int],
        training: Sequence[str],
        divisor: int,
    ) -> None:
        """training: fingerprints of the training's files; divisor: the network's size divisor.

        Raises `LArTPCError`: `SettingsError` for a file of the training or a missing plane.
        """
        self._files = files = TrainingFiles(settings)
        self._planes = tuple(planes)
        self._divisor = divisor
        self._tile = -(-_TILE // divisor) * divisor
        for path, fingerprint in files.parts.items():
            if fingerprint in training:
                raise ParameterError(
                    f"want files to validate that are not used for training, got {path}"
                )
        if not set(planes) <= set(files.planes):
            raise ParameterError(f"want planes {self._planes} to validate, got {files.planes}")

    def __len__(self) -> int:
        return len(self._files)

    def close(self) -> None:
        self._files.close()

    def measure(
        self, forward: Forward, weigh: Weigh, *, events: int | None = None
    ) -> Mapping[int, ValidationResult]:
        """Return each plane's result; events: use only this many from the start, None: all."""
        nothing = np.zeros((3, 3), np.int64)
        results = {plane: ValidationResult(Accuracy(nothing, nothing)) for plane in self._planes}
        for event in range(min(events or len(self), len(self))):
            for image in self._files.images(event):
                if image.meta.plane in results:
                    results[image.meta.plane] += self._compare(forward, weigh, image)
        return results

    def _compare(self, forward: Forward, weigh: Weigh, image: SparseImage) -> ValidationResult:
        shape = image.meta.rows, image.meta.cols
        adc, label = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
        adc[image.row, image.col], label[image.row, image.col] = image.adc, image.label
        adc = threshold(adc)
        scores = self._score(forward, adc)
        seen = np.where(adc > 0, label, 0).astype(np.uint8)  # as in training
        weights = weigh(adc, seen)
        right = np.take_along_axis(scores, seen[None].astype(np.int64), axis=0)[0]
        lost = -float((np.log(np.maximum(right, _LEAST)) * weights).sum(dtype=np.float64))
        accuracy = compare(scores, adc > 0, label)
        return ValidationResult(accuracy, lost, float(weights.sum(dtype=np.float64)))

    def _score(self, forward: Forward, adc: Pixels) -> Pixels:
        rows, cols = (
            spans(side, size=self._tile, overlap=_OVERLAP, divisor=self._divisor)
            for side in adc.shape
        )
        scores = np.zeros((3, *adc.shape), np.float32)
        for row, col in product(rows, cols):
            tile = adc[row.whole(), col.whole()]
            padded = np.zeros((1, 1, row.size, col.size), np.float32)
            padded[0, 0, : tile.shape[0], : tile.shape[1]] = tile
            tile_scores = forward(padded)[0]
            inner = tile_scores[:, row.kept(row.start), col.kept(col.start)]
            scores[:, row.kept(), col.kept()] = inner
        return scores
