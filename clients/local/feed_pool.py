"""The workers of `batch-train` on one machine: `ssnet worker batch-train FILE...`."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from mdp import Worker
from services import batch_train
from services.training_files import TrainingSettings

from ..flow.subprocess_call import apart

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeedPool:
    """A number of workers that make batches of the same files."""

    settings: TrainingSettings
    workers: int = 1

    def options(self) -> list[str]:
        """Return the arguments of `ssnet worker` that start this pool."""
        settings = self.settings
        return [
            batch_train.NAME,
            *(str(path.absolute()) for path in settings.files),
            f"--number={self.workers}",
            f"--image={settings.image}",
            f"--label={settings.label}",
            f"--tick-order={settings.tick_order}",
            *(["--trust-tick-order"] if settings.trust_tick_order else []),
            f"--cache={settings.cache_bytes >> 20}",
        ]

    def factories(self) -> list[tuple[str, Callable[[], Worker]]]:
        """Return each worker's service name and the callable that makes it."""
        factory = functools.partial(batch_train.BatchTrain, self.settings)
        return [(batch_train.NAME, factory)] * self.workers

    @property
    def total(self) -> int:
        return self.workers

    def check(self) -> None:
        """Check the files in a subprocess, so that an error comes once, before workers start.

        Raises `LArTPCError` for files that cannot be read or do not match each other.
        """
        began_at = time.perf_counter()
        log.info("%s: reading %d files", batch_train.NAME, len(self.settings.files))
        apart(batch_train.check, self.settings)
        log.info("%s: checked in %.1f s", batch_train.NAME, time.perf_counter() - began_at)
