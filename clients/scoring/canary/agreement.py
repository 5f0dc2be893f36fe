"""How well two networks agree: counts over crops, which add up in any order. Pure.

A pixel's class is that of its largest score: background, shower or track. Background is not sent;
it is 1 - shower - track. Sums of differences are whole numbers, in units of 2^-24, so that the
order of the crops does not change their last bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lartpc.crops.chain import CLASSES

NAMES = ("background", *CLASSES)
"""The classes, in the order of the rows and columns of a confusion matrix."""
WORST = 8
"""So many of the worst crops are kept."""
_UNIT = 2.0**24  # a float16 below 1 is a multiple of 2^-24

Scores = npt.NDArray[np.floating]
Labels = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.floating]
Matrix = list[list[int]]


def classes_of(scores: Scores) -> Labels:
    """Return each pixel's class, as an index of `NAMES`: (2, ...) -> (...), such as (rows, cols).

    Of two equal scores the first class counts.
    """
    shower, track = scores.astype(np.float32, copy=False)
    background = np.float32(1) - shower - track
    largest: Labels = np.stack([background, shower, track]).argmax(axis=0).astype(np.uint8)
    return largest


class CropName(NamedTuple):
    """The name of a crop: its event, its plane, and its number in that plane."""

    run: int
    subrun: int
    event: int
    plane: int
    crop: int


class WorstCrop(NamedTuple):
    """What tells how bad a crop is; tuples compare by it."""

    changed: int
    """Pixels with charge whose class changed."""
    max_difference: float
    name: CropName
    charged: int
    """Pixels with charge."""

    def plain(self) -> dict[str, Any]:
        return {**self._asdict(), "name": list(self.name)}

    @classmethod
    def of(cls, raw: dict[str, Any]) -> WorstCrop:
        """Raises `KeyError`, `TypeError` and `ValueError`."""
        name = CropName(*map(int, raw["name"]))
        return cls(int(raw["changed"]), float(raw["max_difference"]), name, int(raw["charged"]))


class Pair(NamedTuple):
    """Two networks that are compared at a plane, by their fingerprints."""

    plane: int
    old: str
    new: str


def _zeros() -> Matrix:
    return [[0] * len(NAMES) for _ in NAMES]


@dataclass
class Agreement:
    """The counts for one pair of networks; `add` two of them to merge."""

    crops: int = 0
    equal_crops: int = 0
    """Crops whose scores are equal to the bit."""
    pixels: int = 0
    charged: int = 0
    """Pixels with charge: at the ADC threshold or above it. All others score 0."""
    confusion: Matrix = field(default_factory=_zeros)
    """Pixels with charge, by old class (rows) and new class (columns)."""
    confusion_all: Matrix = field(default_factory=_zeros)
    """The same for all pixels."""
    max_difference: list[float] = field(default_factory=lambda: [0.0] * len(CLASSES))
    """The largest |new - old| of each class of `CLASSES`."""
    sum_difference: list[int] = field(default_factory=lambda: [0] * len(CLASSES))
    """The sum of |new - old| of each class, in units of 2^-24."""
    worst: list[WorstCrop] = field(default_factory=list)
    """The worst crops that are not equal, the worst one first."""

    @property
    def changed(self) -> int:
        """Pixels with charge whose class changed."""
        return self.charged - _diagonal(self.confusion)

    @property
    def changed_all(self) -> int:
        return self.pixels - _diagonal(self.confusion_all)

    def mean_difference(self, number: int) -> float:
        """Return the mean |new - old| of a class over the pixels with charge."""
        return self.sum_difference[number] / _UNIT / self.charged if self.charged else 0.0

    def add(self, other: Agreement) -> None:
        """Add another one's counts."""
        self.crops += other.crops
        self.equal_crops += other.equal_crops
        self.pixels += other.pixels
        self.charged += other.charged
        self.confusion = _sum(self.confusion, other.confusion)
        self.confusion_all = _sum(self.confusion_all, other.confusion_all)
        pairs = zip(self.max_difference, other.max_difference, strict=True)
        self.max_difference = [max(pair) for pair in pairs]
        sums = zip(self.sum_difference, other.sum_difference, strict=True)
        self.sum_difference = [sum(pair) for pair in sums]
        self.worst = sorted({*self.worst, *other.worst}, reverse=True)[:WORST]

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "worst": [crop.plain() for crop in self.worst]}

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Agreement:
        """Read what `plain` gave. Raises `KeyError`, `TypeError` and `ValueError`."""
        values = {name: raw[name] for name in cls.__dataclass_fields__}
        values["worst"] = [WorstCrop.of(crop) for crop in raw["worst"]]
        found = cls(**values)
        for matrix in (found.confusion, found.confusion_all):
            if np.shape(matrix) != (len(NAMES),) * 2:
                raise ValueError(f"want a matrix of {len(NAMES)} classes, got {matrix!r:.80}")
        return found


def _sum(one: Matrix, other: Matrix) -> Matrix:
    return [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(one, other, strict=True)]


def _diagonal(matrix: Sequence[Sequence[int]]) -> int:
    return sum(row[number] for number, row in enumerate(matrix))


def compare(name: CropName, charge: Pixels, old: Scores, new: Scores, *, low: float) -> Agreement:
    """Compare the scores of one crop.

    charge: (rows, cols) in ADC; old, new: (2, rows, cols), finite; low: the threshold in ADC.
    """
    charged = charge >= np.float32(low)
    busy = charged | _is_set(old) | _is_set(new)  # most pixels have neither charge nor scores
    before, after = classes_of(old[:, busy]), classes_of(new[:, busy])
    difference = np.abs(new[:, busy].astype(np.float64) - old[:, busy].astype(np.float64))
    largest = [float(value) for value in difference.max(axis=1, initial=0.0)]
    is_equal = old.dtype == new.dtype and old.tobytes() == new.tobytes()
    confusion_all = _confusion(before, after)
    confusion_all[0][0] += charge.size - int(busy.sum())
    agreement = Agreement(
        crops=1,
        equal_crops=int(is_equal),
        pixels=charge.size,
        charged=int(charged.sum()),
        confusion=_confusion(before[charged[busy]], after[charged[busy]]),
        confusion_all=confusion_all,
        max_difference=largest,
        sum_difference=[int(np.rint(part * _UNIT).sum()) for part in difference],
    )
    if not is_equal:
        crop = WorstCrop(agreement.changed, max(largest), name, agreement.charged)
        agreement.worst = [crop]
    return agreement


def _is_set(scores: Scores) -> npt.NDArray[np.bool_]:
    """Return which pixels have a score whose bits are not all 0: (2, r, c) -> (r, c)."""
    bits = np.ascontiguousarray(scores).view(f"u{scores.dtype.itemsize}")
    is_set: npt.NDArray[np.bool_] = (bits[0] | bits[1]) != 0
    return is_set


def _confusion(before: Labels, after: Labels) -> Matrix:
    size = len(NAMES)
    counts = np.bincount(before.astype(np.intp) * size + after, minlength=size * size)
    return [[int(count) for count in row] for row in counts.reshape(size, size)]


def total(agreements: Iterable[Agreement]) -> Agreement:
    """Return the sum."""
    result = Agreement()
    for agreement in agreements:
        result.add(agreement)
    return result


def sentence(agreement: Agreement) -> str:
    """Say in one sentence how well the networks agree."""
    crops, equal = agreement.crops, agreement.equal_crops
    if not crops:
        return "nothing was compared yet"
    if equal == crops:
        return f"agrees to the bit in {equal} of {crops} crops"
    largest = f"scores differ by at most {max(agreement.max_difference):.2g}"
    bits = f"{equal} of {crops} crops are equal to the bit"
    if not agreement.changed_all:
        return f"no pixel changes its class; {largest}; {bits}"
    if not agreement.changed:
        return f"differs: {agreement.changed_all} pixels without charge change class; {bits}"
    share = 100 * agreement.changed / agreement.charged
    return (
        f"differs: {share:.2g} % of the pixels with charge change class ({_moves(agreement)});"
        f" {largest}; {bits}"
    )


def _moves(agreement: Agreement) -> str:
    """Return the most frequent changes of class: `shower -> track 2.1 %, ...`."""
    moves = [
        (count, f"{NAMES[old]} -> {NAMES[new]}")
        for old, row in enumerate(agreement.confusion)
        for new, count in enumerate(row)
        if old != new and count
    ]
    moves.sort(key=lambda move: -move[0])
    return ", ".join(f"{move} {100 * n / agreement.charged:.2g} %" for n, move in moves[:3])
