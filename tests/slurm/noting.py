"""A worker for tests on Slurm that notes what it does, and where; and a reader of its notes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from mdp import Worker

VARIABLE = "SSNET_NOTES"
"""The file to which each request adds a line when it begins and one when it ends."""
TARGET = "tests.slurm.noting:Noting"


class Noting(Worker):
    """Takes as many seconds as the second frame says; answers with the first frame, reversed.

    A third frame is the path of a file; the request takes longer until that file exists.
    """

    def handle(self, frames: list[bytes]) -> list[bytes]:
        text, seconds, *release = frames
        began_at = time.time()
        self._note(text, began_at, "")
        time.sleep(float(seconds))
        while release and not Path(release[0].decode()).exists():
            time.sleep(0.05)
        self._note(text, began_at, f"{time.time()}")
        return [text[::-1]]

    def _note(self, text: bytes, began_at: float, ended_at: str) -> None:
        job, node = os.environ.get("SLURM_JOB_ID", "-"), os.environ.get("SLURMD_NODENAME", "-")
        with open(os.environ[VARIABLE], "a") as file:
            file.write(f"{job} {node} {text.decode()} {began_at} {ended_at}\n")


@dataclass(frozen=True)
class Note:
    """One request at one worker."""

    job: str
    node: str
    text: str
    began_at: float
    ended_at: float | None
    """None: it has only begun."""


def notes(path: Path) -> list[Note]:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    return [_note(line) for line in lines]


def begun(path: Path) -> list[Note]:
    return [note for note in notes(path) if note.ended_at is None]


def ended(path: Path) -> list[Note]:
    return [note for note in notes(path) if note.ended_at is not None]


def _note(line: str) -> Note:
    job, node, text, began_at, *ended_at = line.split()
    return Note(job, node, text, float(began_at), float(ended_at[0]) if ended_at else None)
