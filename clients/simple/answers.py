"""Replies to events: each answer goes to the image it answers. Refuses answers to anything else.

Pure: no socket, no file.
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
from .questions import Question, Sent

_MAX_ORIGINS = 16


class Answered(NamedTuple):
    """An event to write, and the input entry that it answers."""

    entry: Entry
    event: Event


class Answers:
    """Replies in, events out, in the same order.

    All events of a file have the same products, so the first reply's names are those of all,
    unless `names` says them beforehand. Events without images get empty products; they are held
    back while no name is known.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = tuple(names)
        self.origins: list[Origin] = []
        """What the replies say of the networks that computed them: each once, the first few."""
        self._held: list[Entry] = []

    def take(self, question: Question, reply: Sequence[bytes] | None) -> Iterator[Answered]:
        """The events of a question that was answered; None: it was not sent."""
        if reply is None:
            self._held += question.entries
        else:
            images = self._check(question, reply)
            yield from self._release()
            for i, entry in enumerate(question.entries):
                there = {name: images[name][i] if name in images else () for name in self.names}
                yield Answered(entry, Event(entry.rse, there))
        if self.names:
            yield from self._release()

    def finish(self, *, names: Sequence[str]) -> Iterator[Answered]:
        """What is still held, as nobody ever answered: empty products of these names."""
        self.names = self.names or tuple(names)
        yield from self._release()

    def _release(self) -> Iterator[Answered]:
        held, self._held = self._held, []
        for entry in held:
            yield Answered(entry, Event(entry.rse, dict.fromkeys(self.names, ())))

    def _check(
        self, question: Question, reply: Sequence[bytes]
    ) -> dict[str, list[tuple[Image, ...]]]:
        """By name, the images of each of the question's events."""
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
            before = images.get(batch.name, [()] * len(question.entries))
            images[batch.name] = [a + b for a, b in zip(before, with_name, strict=True)]
        self.names = self.names or tuple(images)
        self._check_names(question, set(images))
        return images

    def _remember(self, origin: Origin) -> None:
        said = origin.network or origin.weights or origin.engine
        if said and origin not in self.origins and len(self.origins) < _MAX_ORIGINS:
            self.origins.append(origin)

    def _check_names(self, question: Question, got: set[str]) -> None:
        """All of the names; fewer only if the question was about fewer producers."""
        want = set(self.names)
        if got - want or (question.complete and want - got):
            text = f"want answers named {sorted(want)}, got {sorted(got)}"
            raise AnswerError(f"{question.where}: {text} (--answer says the names beforehand)")


class _Checked:
    """A batch of a reply, held against the question."""

    def __init__(
        self,
        batch: Batch,
        question: Question,
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
        self._sent = self._find_sent([each for each in batches if each.meta == batch.meta])

    def _find_sent(self, answers: Sequence[Batch]) -> Sent:
        """Which batch this answers; `answers`: all of the reply that have its meta text."""
        same = [sent for sent in self._question.sent if sent.text == self._batch.meta]
        if not same:
            raise AnswerError(f"{self._where}: {self._mismatch()}")
        named = {sent.name: sent for sent in same}
        # the text has six digits: images that differ in the seventh are told by name, or by order
        if all(sent.metas == same[0].metas for sent in same):
            return named.get(self._batch.name, same[0])
        own_names = [answer for answer in answers if answer.name not in named]
        if not own_names:
            return named[self._batch.name]
        if len(answers) != len(same) or own_names != answers:
            raise AnswerError(
                f"{self._where}: want an answer to each of {list(named)}, whose meta text is one,"
                f" in their order or under their names, got {[each.name for each in answers]}"
            )
        return same[answers.index(self._batch)]

    def _mismatch(self) -> str:
        asked = {entry.rse for entry in self._question.entries}
        try:
            other = set(self._batch.rses()) - asked
        except FrameError as error:
            return str(error)
        if other:
            return f"want an answer about event {_names(asked)}, got one about {_names(other)}"
        sent = " or ".join(repr(sent.text[:200]) for sent in self._question.sent)
        return f"want the meta text that was sent, {sent}, got {self._batch.meta[:200]!r}"

    def images(self) -> list[tuple[Image, ...]]:
        """Of each event: image k of an answer with c of them for each one asked answers k // c."""
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
