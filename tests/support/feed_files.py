"""Files of small toy events to learn from, and feeds of them, for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from clients.training.batch_feed import TrainingBatch
from lartpc import Event, Image, open_writer
from lartpc.simulation import toy
from lartpc.simulation.chamber import Chamber
from lartpc.training.batches import BatchName, Recipe
from services.training_files import TrainingFiles, TrainingSettings

SETTINGS = toy.ToySettings(chamber=Chamber(rows=96, cols=128))
RECIPE = Recipe(seed=5, batch_size=4, rows=64, cols=48)


def events(count: int, *, seed: int = 3) -> list[Event]:
    """Events with images `wire` and `segment`."""
    result = (toy.make(number, seed=seed, settings=SETTINGS).event for number in range(count))
    return [Event(event.rse, event.images) for event in result]


def write(path: Path, several: Iterable[Event]) -> Path:
    with open_writer(path) as writer:
        for event in several:
            writer.write(event)
    return path


def toys(path: Path, count: int, *, seed: int = 3) -> Path:
    return write(path, events(count, seed=seed))


def relabelled(event: Event, change: Callable[[Image], Image]) -> Event:
    """The event with other labels."""
    labels = tuple(change(image) for image in event.images["segment"])
    return Event(event.rse, {**event.images, "segment": labels})


def opened(*paths: Path, **settings: int) -> TrainingFiles:
    return TrainingFiles(TrainingSettings(paths, **settings))  # type: ignore[arg-type]


def name_of(
    files: TrainingFiles, index: int, *, epoch: int = 0, recipe: Recipe = RECIPE
) -> BatchName:
    return BatchName(files.fingerprint, recipe, epoch, index)


def digest(batch: TrainingBatch) -> tuple[int, int, str]:
    """What tells two batches apart, to the bit: its place, and a hash of all that it holds."""
    report = hashlib.sha256(repr(batch.rses).encode())
    for array in (batch.images, batch.labels, batch.weights):
        report.update(array.tobytes())
    return batch.epoch, batch.index, report.hexdigest()


def rses(batches: Sequence[TrainingBatch]) -> list[tuple[int, ...]]:
    return [tuple(rse) for batch in batches for rse in batch.rses]
