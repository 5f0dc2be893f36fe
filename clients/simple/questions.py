"""Turn events of files into requests of several events each.

Images of different sizes in one batch are refused, and so are requests of more pixels than the
limit of a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lartpc import Event, ImageError, ImageMeta, Limits, Reader, pack, stack
from lartpc.files.names import as_producer, image_key
from mdp import SettingsError

from ..files.entries import Entry, read_entry
from ..flow.stopwatch import Stopwatch


@dataclass(frozen=True)
class Sent:
    """One batch of a request, with the metas that its answer must have."""

    name: str
    text: str
    """The text of the meta frame; an answer must repeat it exactly."""
    metas: tuple[tuple[ImageMeta, ...], ...]
    """The metas of each event's images. They are exact, but the text has six digits only."""

    @property
    def images(self) -> int:
        """The number of images of each event."""
        return len(self.metas[0])

    @property
    def size(self) -> tuple[int, int]:
        """Rows and cols of all images."""
        return self.metas[0][0].rows, self.metas[0][0].cols


@dataclass(frozen=True)
class SimpleQuestion:
    """One request. If its events have no images, it has no frames and is not sent."""

    entries: tuple[Entry, ...]
    sent: tuple[Sent, ...]
    frames: tuple[bytes, ...]
    complete: bool
    """Every producer has images, so that an answer under every name is required."""

    @property
    def where(self) -> str:
        more = len(self.entries) - 1
        return self.entries[0].where + (f" and {more} more of its batch" if more else "")

    @property
    def named(self) -> str:
        first = self.entries[0]
        more = len(self.entries) - 1
        rse = f" ({first.rse.run}, {first.rse.subrun}, {first.rse.event})"
        return first.where + rse + (f" and {more} more of its batch" if more else "")

    @property
    def nbytes(self) -> int:
        return sum(len(frame) for frame in self.frames)


def questions(
    reader: Reader, order: Iterable[int], *, batch: int, watch: Stopwatch
) -> Iterator[SimpleQuestion]:
    """Yield requests of up to `batch` events, in the order of the entry numbers.

    Events share a request only if they have the same number of images of each producer, so that
    each answer covers all of them. Raises `LArTPCError`, and `SettingsError` for too many pixels.
    """
    waiting: list[tuple[Entry, Event]] = []
    pixel_bytes = 0
    for number in order:
        with watch.stage("read"):
            entry, event = read_entry(reader, number)
        if waiting and (len(waiting) == batch or _counts(event) != _counts(waiting[0][1])):
            yield _ask(waiting, watch)
            waiting, pixel_bytes = [], 0
        waiting.append((entry, event))
        pixel_bytes += _pixel_bytes(event)
        _check_size(pixel_bytes, len(waiting), entry)
    if waiting:
        yield _ask(waiting, watch)


def _counts(event: Event) -> list[int]:
    return [len(images) for images in event.images.values()]


def _pixel_bytes(event: Event) -> int:
    return sum(image.pixels.nbytes for images in event.images.values() for image in images)


def _check_size(pixel_bytes: int, events: int, entry: Entry) -> None:
    limit = Limits().array_bytes
    if pixel_bytes > limit:
        raise SettingsError(
            f"want at most {limit >> 20} MiB of pixels in a request, got {pixel_bytes >> 20} MiB"
            f" in {events} events up to {entry.where}: lower --batch-size, or send fewer producers"
        )


def _ask(events: list[tuple[Entry, Event]], watch: Stopwatch) -> SimpleQuestion:
    entries = tuple(entry for entry, _ in events)
    frames: list[bytes] = []
    sent = []
    with watch.stage("pack"):
        for name, first in events[0][1].images.items():
            if not first:
                continue
            rows = [(event.rse, event.images[name]) for _, event in events]
            try:
                stacked = stack(as_producer(name), rows)
            except ImageError as error:
                product = "_".join(image_key(name))
                raise ImageError(f"{entries[0].where} {product}: {error}") from None
            metas = tuple(tuple(image.meta for image in images) for _, images in rows)
            sent.append(Sent(stacked.name, stacked.meta, metas))
            frames += pack([stacked])
    complete = len(sent) == len(events[0][1].images)
    return SimpleQuestion(entries, tuple(sent), tuple(frames), complete)
