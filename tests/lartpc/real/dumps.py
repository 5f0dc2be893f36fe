"""What a LArCV library reads from a file, or is asked to write: numbers and pixels of each image.

The tests and the processes with the real libraries exchange it as `.npz` files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = tuple[float, ...]
"""The numbers of an image's meta, as a library's own methods give them (see each `*_side.py`)."""
Stored = tuple[Numbers, npt.NDArray[np.float32]]
"""The numbers of an image, and its pixels by (row, col) as the library counts them."""


@dataclass
class Dump:
    """A file, entry by entry."""

    rse: list[list[int]]
    images: dict[str, list[list[Stored]]]
    """By producer and entry."""
    tables: dict[str, list[list[Any]]] = field(default_factory=dict)
    """Other products by name: for each entry lists of numbers, texts and lists."""

    def save(self, path: Path) -> None:
        columns = {name: [list(several) for several in self.images[name]] for name in self.images}
        text = {
            "rse": self.rse,
            "numbers": {
                name: [[list(numbers) for numbers, _ in several] for several in entries]
                for name, entries in columns.items()
            },
            "shapes": {
                name: [[list(pixels.shape) for _, pixels in several] for several in entries]
                for name, entries in columns.items()
            },
            "tables": self.tables,
        }
        flat: dict[str, Any] = {
            f"pixels {name}": _joined([pixels for several in entries for _, pixels in several])
            for name, entries in columns.items()
        }
        with path.open("wb") as file:
            np.savez(file, text=np.array(json.dumps(text)), **flat)

    @classmethod
    def load(cls, path: Path) -> Dump:
        with np.load(path) as stored:
            text = json.loads(str(stored["text"]))
            images = {
                name: _split(stored[f"pixels {name}"], entries, text["shapes"][name])
                for name, entries in text["numbers"].items()
            }
        return cls(text["rse"], images, text["tables"])


def _joined(arrays: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    return np.concatenate([np.empty(0, np.float32), *(array.reshape(-1) for array in arrays)])


def _split(
    flat: npt.NDArray[np.float32], numbers: list[list[list[float]]], shapes: list[list[list[int]]]
) -> list[list[Stored]]:
    at, entries = 0, []
    for its_numbers, its_shapes in zip(numbers, shapes, strict=True):
        several: list[Stored] = []
        for one, (rows, cols) in zip(its_numbers, its_shapes, strict=True):
            several.append((tuple(one), flat[at : at + rows * cols].reshape(rows, cols)))
            at += rows * cols
        entries.append(several)
    return entries


def check_equal(got: Dump, want: Dump) -> None:
    """Raise `AssertionError` with the first difference: numbers and pixels to the last bit."""
    assert got.rse == want.rse
    assert sorted(got.images) == sorted(want.images)
    for producer, entries in want.images.items():
        for entry, (ours, theirs) in enumerate(zip(got.images[producer], entries, strict=True)):
            where = f"{producer} entry {entry}"
            assert [one for one, _ in ours] == [one for one, _ in theirs], where
            for (_, one), (_, other) in zip(ours, theirs, strict=True):
                assert one.shape == other.shape, where
                assert one.tobytes() == other.tobytes(), where
    assert got.tables == want.tables
