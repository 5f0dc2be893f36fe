"""Stand-in plane workers that a test slows while they work.

SSNET_BRAKE is a folder: while it holds a file `plane<p>`, each crop of that plane takes so many
seconds longer as the file says.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from benches import stand_ins
from lartpc import Batch

VARIABLE = "SSNET_BRAKE"


def brake(folder: Path, plane: int) -> Path:
    """The file that slows a plane."""
    return folder / f"plane{plane}"


class Worker(stand_ins.StandInWorker):
    """With a brake."""

    def __init__(self) -> None:
        super().__init__()
        self._brake = brake(Path(os.environ[VARIABLE]), self._settings.plane)

    def _answer(self, batch: Batch, arrived_at: float) -> list[bytes]:
        try:
            time.sleep(float(self._brake.read_text()))
        except OSError:  # nobody brakes
            return super()._answer(batch, arrived_at)
        return super()._answer(batch, arrived_at)
