"""Turn events of files into requests for the plane services: one for each crop of each plane.

An entry is bad if it cannot be read, planned or cut, for example because it does not have one image
of each plane. It raises an error, or it becomes a question without requests that holds the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lartpc import Event, ImageError, LArTPCError, Reader, ReadError, pack, stack
from lartpc.crops import chain
from lartpc.files.names import image_key
from mdp import MDPError

from ..files.entries import Entry, check_planes, read_entry
from ..files.failed_report import Failure
from ..flow.stopwatch import Stopwatch
from .job import BadInput
from .output.failures import BAD_INPUT, blamed, shortened

FAIL_OPTION = "--bad-input fail writes an empty event instead and continues"


@dataclass(frozen=True)
class CropRequest:
    """The request for one crop; its answer must repeat `text`."""

    plane: int
    text: str
    frames: tuple[bytes, ...]


@dataclass(frozen=True)
class EventQuestion:
    """The requests for one event, and the plan that puts the answers together."""

    entry: Entry
    plan: chain.CropPlan
    requests: tuple[CropRequest, ...]
    shapes: tuple[tuple[int, int], ...] = ()
    """(rows, cols) of each plane's image, before it is cut."""
    failure: Failure | None = None
    """The reason why there are no requests: the input is bad."""

    @property
    def where(self) -> str:
        return self.entry.where

    @property
    def named(self) -> str:
        rse = self.entry.rse
        return f"{self.where} ({rse.run}, {rse.subrun}, {rse.event})"

    @property
    def nbytes(self) -> int:
        return sum(len(frame) for request in self.requests for frame in request.frames)


@dataclass(frozen=True)
class Cutter:
    """Cuts events into crops. `low_adc` and `high_adc` are in ADC, as in `ScoringJob`."""

    mode: chain.Mode
    producer: str
    planes: tuple[int, ...]
    low_adc: float
    high_adc: float
    bad_input: BadInput = "stop"
    skip_others: bool = False

    def questions(
        self, reader: Reader, order: Iterable[int], watch: Stopwatch
    ) -> Iterator[EventQuestion]:
        """Yield the question for each entry, in this order, with one event in memory at a time.

        Raises `ReadError` and `ImageError` for a bad entry if `bad_input` is `stop`.
        """
        for number in order:
            try:
                question = self._read(reader, number, watch)
            except (ReadError, ImageError) as error:
                if self.bad_input == "stop":
                    raise type(error)(f"{error} ({FAIL_OPTION})") from error
                question = _unusable(reader, number, error)
            yield question

    def _read(self, reader: Reader, number: int, watch: Stopwatch) -> EventQuestion:
        with watch.stage("read"):
            entry, event = read_entry(reader, number)
        try:
            return self._question(entry, event, watch)
        except LArTPCError as error:
            product = "_".join(image_key(self.producer))
            raise type(error)(f"{entry.where} {product}: {error}") from error

    def _question(self, entry: Entry, event: Event, watch: Stopwatch) -> EventQuestion:
        images = event.images[self.producer]
        with watch.stage("chain"):
            present = [image.meta.plane for image in images]
            check_planes(present, self.planes, skip_others=self.skip_others)
            images = tuple(image for image in images if image.meta.plane in self.planes)
            plan = chain.plan(
                event, self.mode, images=self.producer, low=self.low_adc, planes=self.planes
            )
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


def _unusable(reader: Reader, number: int, error: LArTPCError) -> EventQuestion:
    """A question without requests. Raises `ReadError` if the event's name cannot be read either."""
    path, local = reader.locate(number)
    where = f"{path} entry {local}"
    try:
        rse = reader.rse(number)
    except ReadError as nameless:
        raise ReadError(
            f"{nameless}: without its (run, subrun, event) no empty event can be written: repair"
            " the file, or leave out the entry (--start, --end)"
        ) from error
    failure = Failure(
        entry=number,
        where=where,
        run=rse.run,
        subrun=rse.subrun,
        event=rse.event,
        plane=None,
        crop=None,
        code=BAD_INPUT,
        reason=shortened(error).removeprefix(where).lstrip(": "),
    )
    return EventQuestion(Entry(number, rse, where), chain.CropPlan(rse, ()), (), failure=failure)


def failures_of(question: EventQuestion, outcomes: Sequence[object]) -> list[Failure]:
    """Return a failure for each outcome that is an `MDPError`.

    If the input of the event is bad, that is the only failure.
    """
    if question.failure:
        return [question.failure]
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
