"""Services of arrays for the tests of `mdp.testing`."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdp import ArrayWorker, Refused, Worker

Floats = NDArray[np.float32]


class Smooth(ArrayWorker):
    """Means of 3 x 3 pixels; an image that is all NaN is refused, one that is all -1 fails."""

    def handle(self, image: Floats) -> Floats:
        if np.isnan(image).all():
            raise Refused("want an image with numbers")
        if (image == -1).all():
            raise ArithmeticError("all pixels are -1")
        wide = np.pad(image, 1, mode="edge")
        rows = wide[:-2] + wide[1:-1] + wide[2:]
        return np.asarray((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9, np.float32)


class Slow(ArrayWorker):
    """Answers with the process id; the first to get a request leaves a note and waits a while."""

    def handle(self, note: NDArray[np.str_]) -> NDArray[np.int64]:
        try:
            os.symlink(str(os.getpid()), str(note))
        except FileExistsError:
            return np.asarray(os.getpid(), np.int64)
        while Path(f"{note}.wait").exists():
            time.sleep(0.01)
        return np.asarray(os.getpid(), np.int64)


class Unready(ArrayWorker):
    """Its setup fails."""

    def setup(self) -> None:
        raise OSError("there are no weights")

    def handle(self, image: Floats) -> Floats:
        return image


class Text(Worker):
    """Answers with a frame that holds no array."""

    def handle(self, frames: list[bytes]) -> list[bytes]:
        return [b"no array"]
