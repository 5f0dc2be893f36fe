"""Turn replies into events: each answer is matched with the images that it answers.

An answer that does not fit the request raises `AnswerError`. Pure: no socket, no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lartpc import RSE, Batch, Event, FrameError, Image, ImageError, unpack
from lartpc.files.names import check_name
from services.planes import Origin

from ..errors import AnswerError
from ..files.entries import Entry
from .questions import Sent, SimpleQuestion

_MAX_ORIGINS = 16


class Answered(NamedTuple):
    """An event to write, and the input entry that it belongs to."""

    entry: Entry
    event: Event


class Answers:
    """Turns replies into events, in the same order.

    All events of a file have the same products. Their names are `names`, or else those of the first
    reply. Events without images get empty products; they are held back until the names are known.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = tuple(names)
        self.origins: list[Origin] = []
        """The networks that the replies name: each once, and at most 16."""
        self._held: list[Entry] = []

    def take(self, question: SimpleQuestion, reply: Sequence[bytes] | None) -> Iterator[Answered]:
        """Yield the events of a question; its reply is None if it was not sent.

        Raises `AnswerError`.
        """
        if reply is None:
            self._held += question.entries
        else:
            images = self._check(question, reply)
            yield from self._release()
            for i, entry in enumerate(question.entries):
                products = {name: images[name][i] if name in images else () for name in self.names}
                yield Answered(entry, Event(entry.rse, products))
        if self.names:
            yield from self._release()

    def finish(self, *, names: Sequence[str]) -> Iterator[Answered]:
        """Yield the events that are still held back, with empty products.

        `names`: their names, if no reply has set any.
        """
        self.names = self.names or tuple(names)
        yield from self._release()

    def _release(self) -> Iterator[Answered]:
        held, self._held = self._held, []
        for entry in held:
            yield Answered(entry, Event(entry.rse, dict.fromkeys(self.names, ())))

    def _check(
        self, question: SimpleQuestion, reply: Sequence[bytes]
    ) -> dict[str, list[tuple[Image, ...]]]:
        """Return the images of each event of the question, by name of the answer."""
        try:
            batches = unpack(reply)
        except FrameError as error:
            raise AnswerError(
                f"{question.where}: want an answer, got other frames: {error}"
            ) from None
        images: dict[str, list[tuple[Image, ...]]] = {}
        seen: set[tuple[str, str]] = set()
        for batch in batches:
            self._remember(Origin.of(batch.info))
            with_name = _Checked(batch, question, seen, batches).images()
            earlier = images.get(batch.name, [()] * len(question.entries))
            images[batch.name] = [a + b for a, b in zip(earlier, with_name, strict=True)]
        self.names = self.names or tuple(images)
        self._check_names(question, set(images))
        return images

    def _remember(self, origin: Origin) -> None:
        stated = origin.network or origin.weights or origin.engine
        if stated and origin not in self.origins and len(self.origins) < _MAX_ORIGINS:
            self.origins.append(origin)

    def _check_names(self, question: SimpleQuestion, got: set[str]) -> None:
        """Require all names; fewer are allowed if some producers of the question have no images."""
        want = set(self.names)
        if got - want or (question.complete and want - got):
            text = f"want answers named {sorted(want)}, got {sorted(got)}"
            raise AnswerError(f"{question.where}: {text} (--answer sets the names)")


class _Checked:
    """A batch of a reply, checked against the question."""

    def __init__(
        self,
        batch: Batch,
        question: SimpleQuestion,
        seen: set[tuple[str, str]],
        batches: Sequence[Batch],
    ) -> None:
        self._batch = batch
        self._question = question
        self._where = f"{question.where} {batch.name!r}"
        try:
            check_name(batch.name)
        except ImageError as error:
            raise AnswerError(f"{self._where}: {error}") from None
        if (batch.name, batch.meta) in seen:
            raise AnswerError(f"{self._where}: want one answer to an image, got two")
        seen.add((batch.name, batch.meta))
        self._sent = self._find_sent([other for other in batches if other.meta == batch.meta])

    def _find_sent(self, answers: Sequence[Batch]) -> Sent:
        """The sent batch that this one answers; `answers`: the batches with its meta text."""
        same = [sent for sent in self._question.sent if sent.text == self._batch.meta]
        if not same:
            raise AnswerError(f"{self._where}: {self._mismatch()}")
        named = {sent.name: sent for sent in same}
        # the text has six digits: images that differ in the seventh are matched by name or order
        if all(sent.metas == same[0].metas for sent in same):
            return named.get(self._batch.name, same[0])
        renamed = [answer for answer in answers if answer.name not in named]
        if not renamed:
            return named[self._batch.name]
        if len(answers) != len(same) or renamed != answers:
            raise AnswerError(
                f"{self._where}: want an answer to each of {list(named)}, whose meta texts are the"
                f" same, in their order or under their names, got {[one.name for one in answers]}"
            )
        return same[answers.index(self._batch)]

    def _mismatch(self) -> str:
        sent_rses = {entry.rse for entry in self._question.entries}
        try:
            other = set(self._batch.rses()) - sent_rses
        except FrameError as error:
            return str(error)
        if other:
            return f"want an answer about event {_names(sent_rses)}, got one about {_names(other)}"
        sent = " or ".join(repr(sent.text[:200]) for sent in self._question.sent)
        return f"want the meta text that was sent, {sent}, got {self._batch.meta[:200]!r}"

    def images(self) -> list[tuple[Image, ...]]:
        """Return the images of each event.

        If the answer has c images for each image sent, its image k answers the sent image k // c.
        Raises `AnswerError` for another shape.
        """
        sent, array = self._sent, self._batch.array
        events, count, *size = array.shape
        if (
            events != len(sent.metas)
            or tuple(size) != sent.size
            or not count
            or count % sent.images
        ):
            rows, cols = sent.size
            want = f"({len(sent.metas)}, a multiple of {sent.images}, {rows}, {cols})"
            raise AnswerError(f"{self._where}: want an array {want}, got {array.shape}")
        channels = count // sent.images
        try:
            with np.errstate(over="ignore"):  # Image refuses what overflows
                pixels = array.astype(np.float32, copy=False)
            return [
                tuple(Image(metas[k // channels], pixels[i, k]) for k in range(count))
                for i, metas in enumerate(sent.metas)
            ]
        except ImageError as error:
            raise AnswerError(f"{self._where}: {error}") from None


def _names(rses: set[RSE]) -> str:
    first, *more = sorted(tuple(rse) for rse in rses)
    return str(first) + (f" and {len(more)} more" if more else "")
