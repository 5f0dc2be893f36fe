"""Turn the replies of the plane services into events of score images.

A reply that does not fit its request raises `AnswerError`. Pure: no socket, no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lartpc import Batch, Event, FrameError, Image, ImageError, unpack
from lartpc.crops import chain
from lartpc.image import all_finite
from services.planes import Origin, answer_name, service_name

from ..errors import AnswerError
from ..flow.prefetcher import Reply
from .crop_requests import CropRequest, EventQuestion

Floats = npt.NDArray[np.floating]
Info = Mapping[str, Any]
"""What a worker reports with an answer: its name, its network, its seconds."""

_MAX_INFO = 200  # characters of a worker's name


class CheckedScores(NamedTuple):
    """The scores of an event's crops, and what the workers reported with them."""

    scores: list[list[Floats]]
    """By plane and crop, in the plan's order: (2, rows, cols) each."""
    infos: list[Info]
    """One per request."""


class Scores:
    """Checks replies, stitches the scores, and records which workers computed them.

    Invariant: all answers of a plane have one origin.
    """

    def __init__(self, origins: Mapping[int, Origin]) -> None:
        """`origins`: the network and settings of each plane, as its service described them."""
        self.origins = dict(origins)
        self.workers: set[str] = set()
        self.computed_s = 0.0
        """Seconds that all workers together report for the computation."""

    def check(self, question: EventQuestion, replies: Sequence[Reply]) -> CheckedScores:
        """Check the replies to all crops of an event. Raises `AnswerError`."""
        infos: list[Info] = []
        scores: dict[int, list[Floats]] = {p.plane: [] for p in question.plan.planes}
        crops = [crop for plane in question.plan.planes for crop in plane.crops]
        for request, crop, reply in zip(question.requests, crops, replies, strict=True):
            number = len(scores[request.plane])
            where = f"{question.where} plane {request.plane} crop {number}"
            size = (crop.meta.rows, crop.meta.cols)
            answer = checked_answer(request, size, reply, where)
            self._remember(request.plane, answer.info, where)
            scores[request.plane].append(answer.array[0])
            infos.append(answer.info)
        return CheckedScores([scores[plane.plane] for plane in question.plan.planes], infos)

    def _remember(self, plane: int, info: Info, where: str) -> None:
        origin, expected = Origin.of(info), self.origins[plane]
        if origin != expected:
            raise AnswerError(
                f"{where}: want all answers of {service_name(plane)} from one network, {expected},"
                f" got one from {origin}"
            )
        self.workers.add(str(info.get("worker", ""))[:_MAX_INFO])
        seconds = info.get("seconds")
        self.computed_s += seconds if isinstance(seconds, float) else 0.0

    def stitch(self, question: EventQuestion, scores: Sequence[Sequence[Floats]]) -> Event:
        """Return the event to write: images [shower, track] of each plane that has crops."""
        try:
            stitched = chain.stitch(question.plan, scores)
        except ImageError as error:
            raise AnswerError(f"{question.where}: {error}") from None
        by_plane: dict[int, tuple[Image, ...]] = {
            plane.plane: images
            for plane, images in zip(question.plan.planes, stitched, strict=True)
        }
        images = {answer_name(plane): by_plane.get(plane, ()) for plane in self.origins}
        return Event(question.entry.rse, images)

    def empty_event(self, question: EventQuestion) -> Event:
        """Return the event without images, for an event that failed."""
        return Event(question.entry.rse, dict.fromkeys(map(answer_name, self.origins), ()))


def checked_answer(request: CropRequest, size: tuple[int, int], reply: Reply, where: str) -> Batch:
    """Return the scores, (1, 2, rows, cols), that answer a request for a crop.

    size: (rows, cols) of the crop; where: its name, for errors. Raises `AnswerError`.
    """
    try:
        answer, *more = unpack(reply)
    except (FrameError, ValueError) as error:
        raise AnswerError(f"{where}: want scores, got other frames: {error}") from None
    name, shape = answer_name(request.plane), (1, len(chain.CLASSES), *size)
    if more or answer.name != name:
        names = [answer.name, *(batch.name for batch in more)]
        raise AnswerError(f"{where}: want one answer named {name}, got {names}")
    if answer.meta != request.text:
        raise AnswerError(f"{where}: want an answer to {request.text}, got {answer.meta[:200]}")
    if answer.array.shape != shape or answer.array.dtype.kind != "f":
        got = f"{answer.array.dtype} {answer.array.shape}"
        raise AnswerError(f"{where}: want scores {shape}, got {got}")
    if not all_finite(answer.array):
        raise AnswerError(f"{where}: want finite scores, got NaN or Inf")
    return answer


def nbytes(replies: Sequence[Reply]) -> int:
    """Return the bytes of all frames of all replies."""
    return int(np.sum([len(frame) for reply in replies for frame in reply], dtype=np.int64))
