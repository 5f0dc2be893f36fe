"""Measure torch's own DataLoader with the same files and code, to compare in `benches.batches`.

Without torch the import fails.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader, Dataset

from lartpc.training.batches import BatchName
from services.training_files import TrainingFiles, TrainingSettings

from .cpu import computed_s


class NamedBatches(Dataset[list[torch.Tensor]]):
    """A dataset of batches by name, each made in one of the DataLoader's processes."""

    def __init__(self, settings: TrainingSettings, names: Sequence[BatchName]) -> None:
        self._settings = settings
        self._names = names
        self._files: TrainingFiles | None = None

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, at: int) -> list[torch.Tensor]:
        if self._files is None:  # opened in the DataLoader's process that uses it
            self._files = TrainingFiles(self._settings)
        return [torch.from_numpy(b.array) for b in self._files.batch(self._names[at])]


def timed_loader(
    settings: TrainingSettings, names: Sequence[BatchName], *, workers: int, warm_up: int
) -> tuple[float, float]:
    """Return the wall and the CPU seconds for the batches after the first `warm_up`."""
    loader = DataLoader(
        NamedBatches(settings, names),
        batch_size=None,
        shuffle=False,
        num_workers=workers,
        multiprocessing_context="spawn",
        prefetch_factor=max(2, 8 // workers),  # as many batches in flight as the feed's window
    )
    batches = iter(loader)
    for _ in range(warm_up):
        next(batches)
    started_at, computed = time.perf_counter(), computed_s()
    for _ in range(len(names) - warm_up - 1):
        next(batches)
    # before the last batch: with it the processes end, and their CPU time cannot be read any more
    seconds = time.perf_counter() - started_at, computed_s() - computed
    next(batches)
    return seconds
