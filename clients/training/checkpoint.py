"""A training that is not done yet, in one file: arrays and what they belong to. Whole or absent.

Refuses to go on from another training's, and says what differs.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lartpc.files.whole_file import write_whole
from mdp import MDPError

from ..flow.signals import uninterrupted

_ABOUT = "about"
# RuntimeError: zipfile's for what seems to be encrypted, or packed in a way it does not know
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile)


class CheckpointError(MDPError, ValueError):
    """The checkpoint is not this training's, or is damaged."""


class Checkpoint(NamedTuple):
    """What a training goes on from."""

    settings: Mapping[str, Any]
    """All that decides the weights, by name; plain values."""
    history: list[dict[str, Any]]
    """What was reported so far."""
    threads: int
    arrays: Mapping[str, npt.NDArray[Any]]
    """The trainer's state."""


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint there, once the new one is whole. Raises `WriteError`."""
    about = json.dumps(checkpoint._replace(arrays={})._asdict())
    arrays: Any = {_ABOUT: np.array(about), **checkpoint.arrays}

    def write(part: Path) -> None:
        with part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)

    with uninterrupted():
        write_whole(path, write)


def load(path: Path, settings: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint of a training with these settings; raises `CheckpointError`."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(str(arrays.pop(_ABOUT)))
        found = Checkpoint(
            dict(about["settings"]), list(about["history"]), int(about["threads"]), arrays
        )
    except _DAMAGED as error:
        raise damaged(path, error) from error
    differs = [
        f"{name} {found.settings.get(name)}, not {settings.get(name)}"
        for name in dict.fromkeys([*settings, *found.settings])
        if found.settings.get(name) != settings.get(name)
    ]
    if differs:
        raise CheckpointError(
            f"{path} is of another training: {'; '.join(differs)}. --fresh starts over"
        )
    return found


def damaged(path: Path, error: Exception) -> CheckpointError:
    """What to raise where a checkpoint is none."""
    return CheckpointError(f"want a checkpoint in {path}, got {error!r}: --fresh starts over")
