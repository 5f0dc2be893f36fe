"""Training batches as a `torch.utils.data.IterableDataset`. Without torch the import fails.

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
    """A batch as tensors, (batch, planes, rows, cols)."""

    position: tuple[int, int]
    """(epoch, index)."""
    images: torch.Tensor
    """float32, ADC."""
    labels: torch.Tensor
    """uint8: 0 background, 1 shower, 2 track; convert with `.long()` only at the loss."""
    weights: torch.Tensor
    """float32."""
    rses: tuple[RSE, ...]


class BatchDataset(IterableDataset[TorchBatch]):
    """The batches of a `Feed` as tensors; each iteration begins at the feed's start.

    Use it with a DataLoader with `batch_size=None`. The DataLoader's worker processes share this
    rank's batches, and it returns them in the feed's order. `num_workers=0` is usually enough: the
    batches are made elsewhere and prefetched. It raises the errors of `Batches`.
    """

    def __init__(
        self,
        broker: str = DEFAULT_ENDPOINT,
        feed: Feed | None = None,
        *,
        pin_memory: bool = False,
        **options: Any,
    ) -> None:
        """pin_memory: for use without a DataLoader; with one, use the DataLoader's option."""
        self.broker = broker
        self.feed = replace(feed or Feed(), **options)
        self.waited_s = 0.0
        """Seconds that the last iteration in this process has waited for batches."""
        self._pin_memory = pin_memory
        if pin_memory:
            check_device("cuda", what="pinned memory")

    def __iter__(self) -> Iterator[TorchBatch]:
        with Batches(self.broker, _share(self.feed)) as batches:
            for batch in batches:
                self.waited_s = batches.waited_s
                yield tensors(batch, pin_memory=self._pin_memory)


def tensors(batch: TrainingBatch, *, pin_memory: bool = False) -> TorchBatch:
    """Copy a batch's arrays into tensors: torch needs writable memory, and they are read-only."""
    arrays = (torch.tensor(array) for array in (batch.images, batch.labels, batch.weights))
    images, labels, weights = (a.pin_memory() if pin_memory else a for a in arrays)
    return TorchBatch((batch.epoch, batch.index), images, labels, weights, batch.rses)


def check_device(device: str, *, what: str) -> None:
    """Raise `SettingsError` for a device that this torch or this machine does not have."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        got = str(error).strip().splitlines()[0]
        raise SettingsError(f"want {device} for {what}, but torch cannot use it: {got}") from None


def _share(feed: Feed) -> Feed:
    """Return this DataLoader process's share of a rank's batches: every n-th of n processes."""
    process = get_worker_info()
    if process is None:
        return feed
    # counted over the whole feed: an epoch may end, and a feed begin, at any process's turn
    return replace(feed, turn=process.id, turns=process.num_workers)
