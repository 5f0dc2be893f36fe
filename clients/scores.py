"""Replies of the plane services to events of score images. Refuses answers to anything else.

Pure: no socket, no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lartpc import Event, FrameError, Image, ImageError, chain, unpack
from lartpc.image import all_finite
from services.ssnet import answer_name

from .asker import Reply
from .crops import CropRequest, EventQuestion
from .errors import AnswerError

Floats = npt.NDArray[np.floating]

_MAX_INFO = 200  # characters of one entry that is shown


class Scores:
    """Takes the replies, checks them, stitches them; remembers who computed.

    Invariant: all answers of a plane come from one network with one set of weights.
    """

    def __init__(self, planes: Sequence[int]) -> None:
        self.planes = tuple(planes)
        self.workers: set[str] = set()
        self.computed_s = 0.0
        """What the workers say that they took, all together."""
        self._networks: dict[int, tuple[str, str]] = {}

    @property
    def networks(self) -> Mapping[int, tuple[str, str]]:
        """By plane the sha256 of the network and of its weights, as far as answers told."""
        return self._networks

    def check(self, question: EventQuestion, replies: Sequence[Reply]) -> list[list[Floats]]:
        """The scores of each plane's crops, in the plan's order."""
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
        network = (
            str(info.get("network", ""))[:_MAX_INFO],
            str(info.get("weights", ""))[:_MAX_INFO],
        )
        before = self._networks.setdefault(plane, network)
        if network != before:
            raise AnswerError(
                f"{where}: want one network for all of plane {plane}, {before} as before,"
                f" got {network}: its workers serve different ones"
            )
        self.workers.add(_text(info, "worker"))
        seconds = info.get("seconds")
        self.computed_s += seconds if isinstance(seconds, float) else 0.0

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
        images = {answer_name(plane): by_plane.get(plane, ()) for plane in self.planes}
        return Event(question.entry.rse, images)


def _text(info: Mapping[str, Any], key: str) -> str:
    return str(info.get(key, ""))[:_MAX_INFO]


def nbytes(replies: Sequence[Reply]) -> int:
    """All frames of all replies."""
    return int(np.sum([len(frame) for reply in replies for frame in reply], dtype=np.int64))
