"""What a training says of itself: lines while it runs, a curve, a closing table."""

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
from .validation import Found

Say = Callable[[str], None]
"""Takes a line of progress."""


@dataclass(frozen=True)
class Done:
    """What was done, in numbers."""

    steps: int
    """In all; those before the checkpoint are in it, and not in the times."""
    trained_s: float
    waited_s: float
    """Of it: for batches."""
    validation: Mapping[int, Found]
    """By plane, on all events to validate; empty without any."""
    files: TrainedFiles


class Reports:
    """Adds up steps, and says now and then what they were like."""

    def __init__(self, files: TrainedFiles, say: Say, *, steps: int, epoch: int) -> None:
        """steps: of the training; epoch: the steps of one."""
        self.history: list[curve.Line] = []
        self.trained_s = self.waited_s = 0.0
        """Of this run; what was waited for batches is part of the training."""
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
        """What the steps since the last word were like, if any; rate: the learning rate."""
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
        self._keep(line)
        left_s = (self._steps - done) / batches_per_s
        self._say(
            f"step {done} of {self._steps}, epoch {line['epoch']:.1f}: loss {line['loss']:.4f},"
            f" {_said(line)}, {batches_per_s:.2f} batches/s, {line['waited']:.1%} waiting,"
            f" {duration(left_s)} to go"
        )

    def say_validation(self, done: int, found: Mapping[int, Found]) -> None:
        """How good the network is now, by plane."""
        by_plane = {
            str(plane): {"loss": each.loss, **shares(each.accuracy.strict)}
            for plane, each in found.items()
        }
        self._keep({"step": done, "validation": by_plane})
        text = "; ".join(f"plane {plane} {_said(each)}" for plane, each in by_plane.items())
        self._say(f"step {done}, validation: {text}")

    def say(self, text: str) -> None:
        self._say(text)

    def draw(self) -> None:
        """Raises `WriteError`."""
        if self.history:
            title = f"training of {self._files.prototxt.stem}: {self._steps} steps"
            curve.draw(self._files.picture, self.history, title=title)

    def _keep(self, line: curve.Line) -> None:
        self.history.append(line)
        curve.write_lines(self._files.lines, self.history)


def shares(counts: Counts) -> dict[str, Any]:
    """The shares of shower and track pixels that are right: of both, and of each."""
    of_class = {
        name: float(counts[number, number] / max(counts[number].sum(), 1))
        for number, name in ((1, "shower"), (2, "track"))
    }
    return {"right": right(counts), **of_class}


def _said(line: Mapping[str, Any]) -> str:
    return f"{line['right']:.2%} right (shower {line['shower']:.1%}, track {line['track']:.1%})"


def values(done: Done) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "steps": done.steps,
        "seconds": {"training": done.trained_s, "waiting for batches": done.waited_s},
        "validation": {
            str(plane): {"loss": found.loss, **shares(found.accuracy.strict)}
            for plane, found in done.validation.items()
        },
        "prototxt": str(done.files.prototxt),
        "caffemodels": [str(path) for path in done.files.caffemodels],
        "picture": str(done.files.picture),
    }


def table(done: Done) -> Table:
    """A row a figure."""
    made = screen.table("trained", "")
    made.add_row("steps", str(done.steps))
    made.add_row("training took", duration(done.trained_s))
    made.add_row("of it waiting for batches", f"{done.waited_s / max(done.trained_s, 1e-9):.1%}")
    for plane, found in done.validation.items():
        made.add_row(f"plane {plane}, unseen", _said(shares(found.accuracy.strict)))
    for path in (done.files.prototxt, *done.files.caffemodels, done.files.picture):
        made.add_row("written", str(path))
    return made
