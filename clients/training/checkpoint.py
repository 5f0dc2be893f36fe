"""The checkpoint of an unfinished training: one file of arrays and settings, written atomically.

A checkpoint of other settings is refused with a message that names what differs.
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
# RuntimeError: zipfile's, for an entry that looks encrypted or has an unknown compression
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile)


class CheckpointError(MDPError, ValueError):
    """The checkpoint belongs to another training, or is damaged."""


class Checkpoint(NamedTuple):
    """The data from which a training resumes."""

    settings: Mapping[str, Any]
    """All settings that decide the weights, by name; plain values."""
    history: list[dict[str, Any]]
    """The reports so far."""
    threads: int
    arrays: Mapping[str, npt.NDArray[Any]]
    """The trainer's state."""


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the old one is replaced when the new one is complete.

    Raises `WriteError`.
    """
    about = json.dumps(checkpoint._replace(arrays={})._asdict())
    arrays: Any = {_ABOUT: np.array(about), **checkpoint.arrays}

    def write(part: Path) -> None:
        with part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)

    with uninterrupted():
        write_whole(path, write)


def load(path: Path, settings: Mapping[str, Any]) -> Checkpoint:
    """Read the checkpoint of a training with these settings; raises `CheckpointError`."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(str(arrays.pop(_ABOUT)))
        checkpoint = Checkpoint(
            dict(about["settings"]), list(about["history"]), int(about["threads"]), arrays
        )
    except _DAMAGED as error:
        raise damaged(path, error) from error
    stored = checkpoint.settings
    differences = [
        f"{name} {stored.get(name)}, not {settings.get(name)}"
        for name in dict.fromkeys([*settings, *stored])
        if stored.get(name) != settings.get(name)
    ]
    if differences:
        raise CheckpointError(
            f"{path} belongs to another training: {'; '.join(differences)}. --fresh starts over"
        )
    return checkpoint


def damaged(path: Path, error: Exception) -> CheckpointError:
    """Return the error for a damaged checkpoint."""
    return CheckpointError(f"want a checkpoint in {path}, got {error!r}: --fresh starts over")
