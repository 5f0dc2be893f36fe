"""Stand-in plane workers that a test slows while they work, or lets hang.

SSNET_BRAKE is a folder: while it holds a file `plane<p>`, each crop of that plane takes so many
seconds longer as the file says. The process of a file `hang<pid>` does not return from its next
crop; it renames the file to `hung<pid>`.
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


def snare(folder: Path, pid: int) -> Path:
    """The file that lets the next crop of a process hang."""
    return folder / f"hang{pid}"


def hung(folder: Path) -> set[int]:
    """The processes whose handlers did not return, alive or not."""
    return {int(path.name.removeprefix("hung")) for path in folder.glob("hung*")}


class Worker(stand_ins.StandInWorker):
    """With a brake, and a snare."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(os.environ[VARIABLE])
        self._brake = brake(self._folder, self._settings.plane)
        self._snare = snare(self._folder, os.getpid())

    def _answer(self, batch: Batch, arrived_at: float) -> list[bytes]:
        if self._snare.exists():
            self._snare.rename(self._folder / f"hung{os.getpid()}")
            while True:
                time.sleep(60)
        try:
            time.sleep(float(self._brake.read_text()))
        except OSError:  # nobody brakes
            return super()._answer(batch, arrived_at)
        return super()._answer(batch, arrived_at)
