"""Events written to a file that is whole or absent. Refuses what would not line up.

A format module writes one file (`Sink`); what holds of all formats is here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

from ..errors import ImageError, LArTPCError, WriteError
from ..image import Event, TickOrder
from .names import check_name
from .reader import Reader
from .whole_file import WholeFile

log = logging.getLogger(__name__)

# what h5py, ROOT and numpy raise when they cannot write: a full disk shows in any of these ways
_TROUBLE = (
    OSError,
    RuntimeError,
    ReferenceError,
    OverflowError,
    ValueError,
    TypeError,
    LookupError,
    MemoryError,
)


@contextmanager
def writing(what: str) -> Iterator[None]:
    """All calls of a `Sink` are made in here: whatever a library raises becomes a `WriteError`."""
    try:
        yield
    except LArTPCError:
        raise
    except _TROUBLE as error:
        said = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise WriteError(f"cannot write {what}: {said}") from error


class Sink(Protocol):
    """What a format module gives to write one file."""

    def write(self, event: Event, entry: int | None) -> None: ...
    def append(self, parts: Sequence[Path], entries: Sequence[int]) -> int: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class Writer:
    """Writes events, in the order given, to a file that appears when `close()` has succeeded.

    As a context manager it closes on success and discards on any exception. All events must have
    the same producers and one tick order; an event without images keeps its (empty) entry.
    """

    def __init__(
        self,
        whole: WholeFile,
        sink: Sink,
        source: Reader | None,
        append_provenance: Callable[[Path, Sequence[str]], None],
    ) -> None:
        self.path = whole.path
        self.entries = 0
        self.provenance: tuple[str, ...] = ()
        """What the file is to say of its making (`files/provenance.py`); set before `finish()`."""
        self._source = source.again() if source else None
        self._whole = whole
        self._sink = sink
        self._append_provenance = append_provenance
        self._state: Literal["open", "finished", "over"] = "open"
        self._producers: tuple[set[str], set[str]] | None = None
        self._tick_order: TickOrder | None = None

    def write(self, event: Event, *, entry: int | None = None) -> None:
        """Append an event; with `copy_input`, `entry` names the input entry it was made of."""
        if self._state != "open":
            raise WriteError(f"want an open file to write to, got {self.path}, which is closed")
        with self._named(f"entry {self.entries}"):
            self._check(event)
            self._check_entry(event, entry)
            self._sink.write(event, entry)
        self.entries += 1

    def append(self, parts: Sequence[Path], entries: Sequence[int]) -> None:
        """Take over whole files that were written here, one after the other, into an empty one.

        `entries`: of the input, one for each event in them; raises `WriteError` for another number.
        """
        if self._state != "open" or self.entries:
            raise WriteError(f"want an empty file to join parts in, got {self.path}")
        with self._named("joined"):
            got = self._sink.append(parts, entries)
            if got != len(entries):
                raise WriteError(f"want {len(entries)} entries in {len(parts)} parts, got {got}")
        self.entries = got

    def _check_entry(self, event: Event, entry: int | None) -> None:
        if (entry is None) != (self._source is None):
            raise WriteError(f"want an input entry with copy_input, and only then, got {entry}")
        if self._source is not None and entry is not None:
            there = self._source.rse(entry)
            if there != event.rse:
                raise ImageError(f"want the event {there} of input entry {entry}, got {event.rse}")

    def _check(self, event: Event) -> None:
        got = (set(event.images), set(event.rois))
        if self._producers is None:
            for name in (*event.images, *event.rois):
                check_name(name)
        self._producers = self._producers or got
        if got != self._producers:
            raise ImageError(f"want the first event's producers {self._producers}, got {got}")
        for producer, images in event.images.items():
            for image in images:
                self._tick_order = self._tick_order or image.meta.tick_order
                if image.meta.tick_order != self._tick_order:
                    raise ImageError(
                        f"want {self._tick_order} rows, as the images before had,"
                        f" got {image.meta.tick_order} in {producer}"
                    )

    @contextmanager
    def _named(self, where: str) -> Iterator[None]:
        try:
            with writing("it"):
                yield
        except LArTPCError as error:
            raise type(error)(f"{self.path} {where}: {error}") from error

    def finish(self) -> None:
        """Write all that is left; then `close()` has only to give the file its name."""
        if self._state != "open":
            return
        self._state = "over"
        self._close_source()
        try:
            with self._named("at its end"):
                self._sink.close()
                if self.provenance:
                    self._append_provenance(self._whole.part, self.provenance)
        except BaseException:
            self._whole.discard()
            raise
        self._state = "finished"

    def close(self) -> None:
        """Finish the file and give it its name; on failure nothing is left."""
        self.finish()
        if self._state == "finished":
            self._state = "over"
            self._whole.publish()

    def discard(self) -> None:
        """Give up: nothing appears, unless it has its name already."""
        state, self._state = self._state, "over"
        if state == "over":
            return
        self._whole.discard()  # first: whatever the library does with its open file
        if state == "finished":
            return
        self._close_source()
        try:
            with writing(str(self.path)):
                self._sink.abort()
        except WriteError as error:  # of a file that is gone; what led here is being raised
            log.debug("%s", error)

    def _close_source(self) -> None:
        if self._source is not None:
            self._source.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()
