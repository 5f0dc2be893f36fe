"""Replies of the plane services to events of score images. Refuses answers to anything else.

Pure: no socket, no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lartpc import Event, FrameError, Image, ImageError, unpack
from lartpc.crops import chain
from lartpc.image import all_finite
from services.planes import Origin, answer_name, service_name

from ..errors import AnswerError
from ..flow.prefetcher import Reply
from .crop_requests import CropRequest, EventQuestion

Floats = npt.NDArray[np.floating]

_MAX_INFO = 200  # characters of one entry that is shown


class Scores:
    """Takes the replies, checks them, stitches them; remembers who computed.

    Invariant: all answers of a plane have one origin.
    """

    def __init__(self, origins: Mapping[int, Origin]) -> None:
        """`origins`: what decides the scores of each plane, as its service described itself."""
        self.origins = dict(origins)
        self.workers: set[str] = set()
        self.computed_s = 0.0
        """What the workers say that they took, all together."""
        self._infos: list[Mapping[str, Any]] = []

    def check(self, question: EventQuestion, replies: Sequence[Reply]) -> list[list[Floats]]:
        """The scores of each plane's crops, in the plan's order."""
        self._infos = []
        scores: dict[int, list[Floats]] = {p.plane: [] for p in question.plan.planes}
        crops = [crop for plane in question.plan.planes for crop in plane.crops]
        for request, crop, reply in zip(question.requests, crops, replies, strict=True):
            number = len(scores[request.plane])
            where = f"{question.where} plane {request.plane} crop {number}"
            size = (crop.meta.rows, crop.meta.cols)
            scores[request.plane].append(self._check_one(request, size, reply, where))
        return [scores[plane.plane] for plane in question.plan.planes]

    def _check_one(
        self, request: CropRequest, size: tuple[int, int], reply: Reply, where: str
    ) -> Floats:
        try:
            answer, *more = unpack(reply)
        except FrameError as error:
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
        self._remember(request.plane, answer.info, where)
        scores: Floats = answer.array[0]
        return scores

    def _remember(self, plane: int, info: Mapping[str, Any], where: str) -> None:
        origin, before = Origin.of(info), self.origins[plane]
        if origin != before:
            raise AnswerError(
                f"{where}: want all answers of {service_name(plane)} from one network, {before},"
                f" got one from {origin}"
            )
        self._infos.append(info)
        self.workers.add(str(info.get("worker", ""))[:_MAX_INFO])
        seconds = info.get("seconds")
        self.computed_s += seconds if isinstance(seconds, float) else 0.0

    def take_infos(self) -> list[Mapping[str, Any]]:
        """What each answer that was checked last says of its making; told once."""
        taken, self._infos = self._infos, []
        return taken

    def stitch(self, question: EventQuestion, scores: Sequence[Sequence[Floats]]) -> Event:
        """The event to write: images [shower, track] of each plane, none for one without crops."""
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

    def nothing(self, question: EventQuestion) -> Event:
        """The event without images: it failed."""
        return Event(question.entry.rse, dict.fromkeys(map(answer_name, self.origins), ()))


def nbytes(replies: Sequence[Reply]) -> int:
    """All frames of all replies."""
    return int(np.sum([len(frame) for reply in replies for frame in reply], dtype=np.int64))
