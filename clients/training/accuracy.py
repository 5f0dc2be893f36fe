"""Count how many pixels a network labels correctly, for any scoring function.

There are two ways to count. `strict`: all pixels whose truth is shower or track; background is a
possible answer, and a pixel below the ADC threshold counts as background, as in production. `seen`:
only pixels at or above the threshold; the larger of the shower and the track score decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Pixels by truth (rows) and answer (columns): background, shower, track.

    The background row counts only pixels at or above the threshold.
    """

    strict: Counts  # (3, 3)
    seen: Counts  # (3, 3)

    def __add__(self, other: Accuracy) -> Accuracy:
        return Accuracy(self.strict + other.strict, self.seen + other.seen)

    def __str__(self) -> str:
        shower, track = (self.strict[c, c] / max(self.strict[c].sum(), 1) for c in (1, 2))
        return (
            f"{right(self.strict):.2%} of all shower and track pixels right (shower {shower:.1%},"
            f" track {track:.1%}), {right(self.seen):.2%} of those seen, of two answers"
        )


def right(counts: Counts) -> float:
    """Return the share of shower and track pixels that are correct."""
    return float((counts[1, 1] + counts[2, 2]) / max(counts[1:].sum(), 1))


def compare(scores: Pixels, seen: npt.NDArray[np.bool_], label: Labels) -> Accuracy:
    """Count one image's pixels; seen: where its ADC is at or above the threshold."""
    answer = np.where(seen, scores.argmax(axis=0), 0)
    counted = seen | (label > 0)
    of_two = scores[1:].argmax(axis=0) + 1
    return Accuracy(count(label[counted], answer[counted]), count(label[seen], of_two[seen]))


def count(truth: npt.NDArray[np.integer], answer: npt.NDArray[np.integer]) -> Counts:
    """Count pixels by the classes of truth (rows) and answer (columns): (3, 3)."""
    flat = np.bincount(truth.astype(np.int64) * 3 + answer, minlength=9)
    return flat.reshape(3, 3).astype(np.int64)
