"""Workers of `batch-train` on one machine: `ssnet worker batch-train FILE...`."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdp.system import subprocesses
from services import batch_train
from services.training_files import TrainingSettings

from ..files.choices import check_producers
from .serving import Factories

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeedPool:
    """Workers that make batches of the same files."""

    settings: TrainingSettings
    workers: int = 1

    def factories(self) -> Factories:
        """For each worker its service and the function that makes it; `mdp` starts them."""
        factory = functools.partial(batch_train.BatchTrain, self.settings)
        return [(batch_train.NAME, factory)] * self.workers

    @property
    def total(self) -> int:
        return self.workers

    def plan(self) -> str:
        return ""

    def check(self) -> None:
        """Look at the files once in a subprocess, so that an error comes early and only once.

        Raises `LArTPCError` for files that cannot be read, or do not fit each other.
        """
        began_at = time.perf_counter()
        log.info("%s: reading %d files", batch_train.NAME, len(self.settings.files))
        subprocesses.call(batch_train.check, self.settings)
        log.info("%s: checked in %.1f s", batch_train.NAME, time.perf_counter() - began_at)


def feed_pool(
    files: Sequence[Path], workers: int, *, image: str, label: str, cache_mib: int, **order: Any
) -> FeedPool:
    """A pool as options describe it; errors name the options.

    image, label: producers; cache_mib: see `TrainingSettings.cache_bytes`; order: its tick order.
    Raises `ProductMissing` and `SettingsError`.
    """
    check_producers(files, {"-p": image, "--labels": label})
    settings = TrainingSettings(
        tuple(files),
        image=image,
        label=label,
        cache_bytes=cache_mib << 20,
        **order,
    )
    return FeedPool(settings, workers)
