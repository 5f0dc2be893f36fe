"""The dummy service: says what it was sent, answers zeros. Refuses malformed frames (error 400)."""

from __future__ import annotations

import logging

import numpy as np

from lartpc import Batch, FrameError, pack, unpack
from mdp import Refused, Worker

from .planes import who

log = logging.getLogger(__name__)

NAME = "dummy"
_MAX_LOGGED = 1000  # characters: a batch of many crops has kilobytes of metas


class Dummy(Worker):
    """Logs each batch it is sent, and answers one named `dummy`: zeros under the first's meta.

    Its array: float32, as large as the first batch's: (batch, images, rows, cols).
    """

    def handle(self, frames: list[bytes]) -> list[bytes]:
        try:
            batches = unpack(frames)
        except FrameError as error:
            raise Refused(str(error)) from error
        for batch in batches:
            log.info("%s", _statement(batch))
        first = batches[0]
        return pack([Batch(NAME, first.meta, np.zeros(first.array.shape, np.float32), who())])


def _statement(batch: Batch) -> str:
    """One line, whatever the sender wrote into its name and meta."""
    said = f"{batch.name} {batch.array.dtype} {batch.array.shape} {batch.meta}"
    line = "".join(c if c.isprintable() else " | " if c == "\n" else "?" for c in said)
    return line if len(line) <= _MAX_LOGGED else line[:_MAX_LOGGED] + "..."
