"""The reports of a training: lines while it runs, a curve, a table at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from mdp.commands.tables import duration

from ..terminal import screen
from . import curve
from .accuracy import right
from .trained_files import TrainedFiles
from .trainer import Counts, Step
from .validation import ValidationResult

Say = Callable[[str], None]
"""A function that takes a line of progress."""


@dataclass(frozen=True)
class TrainingSummary:
    """A finished training, in numbers."""

    steps: int
    """All steps; those before the checkpoint count here, but not in the times."""
    trained_s: float
    waited_s: float
    """The part of `trained_s` spent waiting for batches."""
    validation: Mapping[int, ValidationResult]
    """By plane, on all events to validate; empty without files to validate."""
    files: TrainedFiles


class Reports:
    """Sums up steps and reports them from time to time."""

    def __init__(self, files: TrainedFiles, say: Say, *, steps: int, epoch: int) -> None:
        """steps: all steps of the training; epoch: the steps of one epoch."""
        self.history: list[curve.Line] = []
        self.trained_s = self.waited_s = 0.0
        """Seconds of this run; the time spent waiting for batches is part of `trained_s`."""
        self._files = files
        self._say = say
        self._steps = steps
        self._epoch = epoch
        self._clear()

    def _clear(self) -> None:
        self._losses: list[float] = []
        self._counts = np.zeros((3, 3), np.int64)
        self._spent_s = self._idle_s = 0.0

    def add(self, step: Step, *, spent_s: float, waited_s: float) -> None:
        self._losses.append(step.loss)
        self._counts += step.counts
        self._spent_s += spent_s
        self._idle_s += waited_s
        self.trained_s += spent_s
        self.waited_s += waited_s

    def say_steps(self, done: int, *, rate: float) -> None:
        """Report the steps since the last report, if there are any; rate: the learning rate."""
        if not self._losses:
            return
        batches_per_s = len(self._losses) / max(self._spent_s, 1e-9)
        line: curve.Line = {
            "step": done,
            "epoch": round(done / self._epoch, 3),
            "loss": float(np.mean(self._losses)),
            **shares(self._counts),
            "rate": rate,
            "batches_per_s": batches_per_s,
            "waited": self._idle_s / max(self._spent_s, 1e-9),
        }
        self._clear()
        self._record(line)
        left_s = (self._steps - done) / batches_per_s
        self._say(
            f"step {done} of {self._steps}, epoch {line['epoch']:.1f}: loss {line['loss']:.4f},"
            f" {_accuracy(line)}, {batches_per_s:.2f} batches/s, {line['waited']:.1%} waiting,"
            f" {duration(left_s)} to go"
        )

    def say_validation(self, done: int, results: Mapping[int, ValidationResult]) -> None:
        """Report the network's loss and accuracy after `done` steps, by plane."""
        by_plane = {
            str(plane): {"loss": result.loss, **shares(result.accuracy.strict)}
            for plane, result in results.items()
        }
        self._record({"step": done, "validation": by_plane})
        text = "; ".join(f"plane {plane} {_accuracy(line)}" for plane, line in by_plane.items())
        self._say(f"step {done}, validation: {text}")

    def say(self, text: str) -> None:
        self._say(text)

    def draw(self) -> None:
        """Draw the curve. Raises `WriteError`."""
        if self.history:
            title = f"training of {self._files.prototxt.stem}: {self._steps} steps"
            curve.draw(self._files.picture, self.history, title=title)

    def _record(self, line: curve.Line) -> None:
        self.history.append(line)
        curve.write_lines(self._files.lines, self.history)


def shares(counts: Counts) -> dict[str, Any]:
    """Return the shares of correct pixels: of both classes together, of showers, of tracks."""
    of_class = {
        name: float(counts[number, number] / max(counts[number].sum(), 1))
        for number, name in ((1, "shower"), (2, "track"))
    }
    return {"right": right(counts), **of_class}


def _accuracy(line: Mapping[str, Any]) -> str:
    return f"{line['right']:.2%} correct (shower {line['shower']:.1%}, track {line['track']:.1%})"


def values(done: TrainingSummary) -> dict[str, Any]:
    """Return all results as plain values, for JSON."""
    return {
        "steps": done.steps,
        "seconds": {"training": done.trained_s, "waiting for batches": done.waited_s},
        "validation": {
            str(plane): {"loss": result.loss, **shares(result.accuracy.strict)}
            for plane, result in done.validation.items()
        },
        "prototxt": str(done.files.prototxt),
        "caffemodels": [str(path) for path in done.files.caffemodels],
        "picture": str(done.files.picture),
    }


def table(done: TrainingSummary) -> Table:
    """Return a table with one row per figure."""
    rows = screen.table("trained", "")
    rows.add_row("steps", str(done.steps))
    rows.add_row("training took", duration(done.trained_s))
    rows.add_row("of it waiting for batches", f"{done.waited_s / max(done.trained_s, 1e-9):.1%}")
    for plane, result in done.validation.items():
        rows.add_row(f"plane {plane}, unseen", _accuracy(shares(result.accuracy.strict)))
    for path in (done.files.prototxt, *done.files.caffemodels, done.files.picture):
        rows.add_row("written", str(path))
    return rows
