"""Events of files to requests for the plane services: one for each crop of each plane.

Refuses entries whose images are not one of each plane.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lartpc import Event, ImageError, LArTPCError, Reader, chain, pack, stack
from mdp import MDPError

from .entries import Entry, read_entry
from .output.failures import Failure, blamed, shortened
from .stopwatch import Stopwatch


@dataclass(frozen=True)
class CropRequest:
    """One crop, as it is sent; its answer repeats `text`."""

    plane: int
    text: str
    frames: tuple[bytes, ...]


@dataclass(frozen=True)
class EventQuestion:
    """What is asked about one event, and how the answers go together."""

    entry: Entry
    plan: chain.Plan
    requests: tuple[CropRequest, ...]
    shapes: tuple[tuple[int, int], ...] = ()
    """(rows, cols) of each plane's image, before it is cut."""

    @property
    def where(self) -> str:
        return self.entry.where

    @property
    def nbytes(self) -> int:
        return sum(len(frame) for request in self.requests for frame in request.frames)


@dataclass(frozen=True)
class Cutter:
    """How events are cut into crops."""

    mode: chain.Mode
    producer: str
    planes: tuple[int, ...]
    low_adc: float
    high_adc: float

    def questions(
        self, reader: Reader, order: Iterable[int], watch: Stopwatch
    ) -> Iterator[EventQuestion]:
        """What to ask about each entry, in this order; one event in memory at a time."""
        for number in order:
            with watch.stage("read"):
                entry, event = read_entry(reader, number)
            try:
                yield self._question(entry, event, watch)
            except LArTPCError as error:
                raise type(error)(f"{entry.where} image2d_{self.producer}: {error}") from error

    def _question(self, entry: Entry, event: Event, watch: Stopwatch) -> EventQuestion:
        images = event.images[self.producer]
        with watch.stage("chain"):
            check_planes([image.meta.plane for image in images], self.planes)
            plan = chain.plan(event, self.mode, images=self.producer, low=self.low_adc)
        requests = []
        for image, of_plane in zip(images, plan.planes, strict=True):
            for crop in of_plane.crops:
                with watch.stage("chain"):
                    cut = chain.cut(image, crop, low=self.low_adc, high=self.high_adc)
                with watch.stage("pack"):
                    batch = stack(self.producer, [(event.rse, [cut])])
                    frames = tuple(pack([batch]))
                requests.append(CropRequest(of_plane.plane, batch.meta, frames))
        shapes = tuple((image.meta.rows, image.meta.cols) for image in images)
        return EventQuestion(entry, plan, tuple(requests), shapes)


def failures_of(question: EventQuestion, outcomes: Sequence[object]) -> list[Failure]:
    """The crops for which an error came: what is in its place is an `MDPError`."""
    rse = question.entry.rse
    crops: Counter[int] = Counter()
    failures = []
    for request, outcome in zip(question.requests, outcomes, strict=True):
        if isinstance(outcome, MDPError):
            failures.append(
                Failure(
                    entry=question.entry.number,
                    where=question.where,
                    run=rse.run,
                    subrun=rse.subrun,
                    event=rse.event,
                    plane=request.plane,
                    crop=crops[request.plane],
                    code=outcome.code,
                    reason=shortened(outcome),
                    **blamed(outcome),
                )
            )
        crops[request.plane] += 1
    return failures


def check_planes(got: Sequence[int], want: Sequence[int]) -> None:
    """Raise `ImageError` unless there is one image of each plane, or none at all."""
    if got and sorted(got) != sorted(want):
        raise ImageError(f"want one image of each plane {list(want)} or none, got {list(got)}")
