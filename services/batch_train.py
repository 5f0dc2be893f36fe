"""The service `batch-train`: answers a batch's name with its images, labels and weights.

The broker accepts only workers of the same files. Refused with error 400: malformed names, batches
of other files, crops larger than the images, planes that the files lack, an index beyond the epoch.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

import msgpack

from lartpc import BatchError, pack
from lartpc.training.batches import unpack_name
from mdp import Refused, Worker

from .memory import keep_memory
from .planes import who
from .training_files import TrainingFiles, TrainingSettings

log = logging.getLogger(__name__)

NAME = "batch-train"
DESCRIBE = b"describe"
"""A request with only this frame asks for the service's description and names no batch."""


class BatchTrain(Worker):
    """The worker that makes batches by name; between requests it holds no state except a cache.

    A request is one frame, `BatchName.pack()`. The answer is three triples, (batch, planes, rows,
    cols) each: images, float32 ADC; labels, uint8; weights, float32. Their metas have one line per
    image. The single frame `describe` is answered by a msgpack map: the files' fingerprint, each
    file's own, events, planes, the smallest image's rows and columns, producers.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._settings = settings
        self._files: TrainingFiles | None = None
        self._who: dict[str, str] = {}

    def setup(self) -> None:
        keep_memory()
        self._files = files = TrainingFiles(self._settings)
        self.fingerprint = f"files {files.fingerprint}"
        self._who = who()
        log.info("%s has %d events of %s", NAME, len(files), files.fingerprint)

    def handle(self, frames: list[bytes]) -> list[bytes]:
        if len(frames) != 1:
            raise Refused(f"want one frame, a batch's name, got {len(frames)}")
        if frames == [DESCRIBE]:
            return [msgpack.packb(self._description())]
        started_at = time.perf_counter()
        try:
            name = unpack_name(frames[0])
            images, *others = self._loaded.batch(name)
        except BatchError as error:
            raise Refused(str(error)) from error
        seconds = time.perf_counter() - started_at
        info = {"batch": name.plain(), "seconds": seconds, **self._who}
        return pack([replace(images, info=info), *others])

    @property
    def _loaded(self) -> TrainingFiles:
        if self._files is None:
            raise RuntimeError("want setup() before handle()")
        return self._files

    def _description(self) -> dict[str, Any]:
        files = self._loaded
        rows, cols = files.smallest
        return {
            "fingerprint": files.fingerprint,
            "parts": list(files.parts.values()),
            "events": len(files),
            "planes": list(files.planes),
            "rows": rows,
            "cols": cols,
            "image": self._settings.image,
            "label": self._settings.label,
            **self._who,
        }


def check(settings: TrainingSettings) -> None:
    """Open and close the files once, so that the errors of a worker's start are raised now."""
    TrainingFiles(settings).close()
