"""The dummy service: logs requests and answers zeros. Refuses malformed frames (error 400)."""

from __future__ import annotations

import logging

import numpy as np

from lartpc import Batch, FrameError, Limits, pack, unpack
from mdp import Refused, Worker

from .planes import who

log = logging.getLogger(__name__)

NAME = "dummy"
_LIMITS = Limits(pixels=Limits().array_bytes // 4)  # of the answer, 4 bytes a pixel
_MAX_LOGGED = 1000  # characters: a batch of many crops has kilobytes of metas


class Dummy(Worker):
    """A worker that logs each batch of a request and answers with one batch named `dummy`.

    The answer has the first batch's meta and its shape, (batch, images, rows, cols), float32 zeros.
    """

    def handle(self, frames: list[bytes]) -> list[bytes]:
        try:
            batches = unpack(frames, _LIMITS)
        except FrameError as error:
            raise Refused(str(error)) from error
        for batch in batches:
            log.info("%s", _statement(batch))
        first = batches[0]
        return pack([Batch(NAME, first.meta, np.zeros(first.array.shape, np.float32), who())])


def _statement(batch: Batch) -> str:
    """Describe a batch in one line, even if its name and meta hold line breaks."""
    text = f"{batch.name} {batch.array.dtype} {batch.array.shape} {batch.meta}"
    line = "".join(c if c.isprintable() else " | " if c == "\n" else "?" for c in text)
    return line if len(line) <= _MAX_LOGGED else line[:_MAX_LOGGED] + "..."
