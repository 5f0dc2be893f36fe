"""Training batches as a `torch.utils.data.IterableDataset`. Refuses to load without torch.

`DataLoader(BatchDataset("tcp://head:5555", batch_size=16), batch_size=None)`
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from lartpc import RSE, LibraryMissing
from mdp import SettingsError
from mdp.settings import DEFAULT_ENDPOINT

from .batch_feed import Batches, Feed, TrainingBatch

try:
    import torch
    from torch.utils.data import IterableDataset, get_worker_info
except ModuleNotFoundError as error:
    raise LibraryMissing(
        "batches of tensors need torch: pip install 'torch>=2.4'"
        " (docs/install.md: torch for the CPU)"
    ) from error


class TorchBatch(NamedTuple):
    """A batch: tensors (batch, planes, rows, cols)."""

    position: tuple[int, int]
    """(epoch, index)."""
    images: torch.Tensor
    """float32, ADC."""
    labels: torch.Tensor
    """uint8: 0 background, 1 shower, 2 track; `.long()` where the loss is, not on the way there."""
    weights: torch.Tensor
    """float32."""
    rses: tuple[RSE, ...]


class BatchDataset(IterableDataset[TorchBatch]):
    """The batches of a `Feed` as tensors; each iteration asks anew, from the feed's start.

    For a DataLoader with `batch_size=None`. Its worker processes share this rank's batches, and
    the DataLoader gives them in the feed's order. They are hardly needed: the batches are made
    elsewhere, and asked for ahead of need. Errors: as of `Batches`.
    """

    def __init__(
        self,
        broker: str = DEFAULT_ENDPOINT,
        feed: Feed | None = None,
        *,
        pin_memory: bool = False,
        **options: Any,
    ) -> None:
        """pin_memory: for use without a DataLoader, which has an option of its own."""
        self.broker = broker
        self.feed = replace(feed or Feed(), **options)
        self.waited_s = 0.0
        """How long the last iteration in this process has waited for batches."""
        self._pin_memory = pin_memory
        if pin_memory:
            check_device("cuda", what="pinned memory")

    def __iter__(self) -> Iterator[TorchBatch]:
        with Batches(self.broker, _share(self.feed)) as batches:
            for batch in batches:
                self.waited_s = batches.waited_s
                yield tensors(batch, pin_memory=self._pin_memory)


def tensors(batch: TrainingBatch, *, pin_memory: bool = False) -> TorchBatch:
    """A batch's arrays as tensors, copied: torch wants what it may write to."""
    arrays = (torch.tensor(array) for array in (batch.images, batch.labels, batch.weights))
    images, labels, weights = (a.pin_memory() if pin_memory else a for a in arrays)
    return TorchBatch((batch.epoch, batch.index), images, labels, weights, batch.rses)


def check_device(device: str, *, what: str) -> None:
    """Raise `SettingsError` for a device that torch has not got here."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        got = str(error).strip().splitlines()[0]
        raise SettingsError(f"want {device} for {what}, got none here: {got}") from None


def _share(feed: Feed) -> Feed:
    """This process's part of a rank's batches: every so many-th, as DataLoaders take turns."""
    process = get_worker_info()
    if process is None:
        return feed
    # by turns, not by index: an epoch may end, and a feed begin, at anyone's turn
    return replace(feed, turn=process.id, turns=process.num_workers)
