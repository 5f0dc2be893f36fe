"""Writes events to a file that appears only when it is complete.

A format module writes one file (`Sink`); the rules that hold for every format are here. Refuses
events whose producers, tick order or input entry do not fit the file.
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
from .provenance_texts import check_encodable
from .reader import Reader
from .whole_file import WholeFile

log = logging.getLogger(__name__)

# What a file, a full disk or a library can raise: HDF5's own failures are OSError and RuntimeError,
# a null pointer from ROOT is a ReferenceError. ValueError, TypeError, LookupError and the like are
# not here, because our own mistakes raise them too, and a mistake must not look like a full disk.
_TROUBLE = (OSError, RuntimeError, ReferenceError, MemoryError)
_MISTAKES = (NotImplementedError, RecursionError)  # they are RuntimeErrors


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Raise `WriteError` for an error of a file or a library. All calls of a `Sink` run in here.

    A programming error (`TypeError`, `KeyError`, ...) is raised as it is.
    """
    try:
        yield
    except (LArTPCError, *_MISTAKES):
        raise
    except _TROUBLE as error:
        reason = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise WriteError(f"cannot write {what}: {reason}") from error


OnPart = Callable[[int], object]
"""A function that is called with the number of a part, counted from 0."""


class Sink(Protocol):
    """Writes one file. Each format module has one such class."""

    def write(self, event: Event, entry: int | None) -> None:
        """Append an event; `entry`: the input entry whose other products are copied."""

    def append(self, parts: Sequence[Path], entries: Sequence[int], on_part: OnPart) -> int:
        """Append the events of complete part files; returns the number of entries.

        Calls `on_part` before each part.
        """

    def close(self) -> None:
        """Write everything that is left, and close the file."""

    def abort(self) -> None:
        """Close the file without writing what is left; the file is removed afterwards."""


class Writer:
    """Writes events in the given order; the file appears when `close()` has succeeded.

    As a context manager it closes the file on success and discards it on any exception. All events
    must have the same producers and one tick order. An event without images gets an empty entry.
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
        """The file's provenance records (`lartpc.provenance`); set them before `finish()`."""
        self._source = source.again() if source else None
        self._whole = whole
        self._sink = sink
        self._append_provenance = append_provenance
        self._state: Literal["open", "finished", "over"] = "open"
        self._producers: tuple[set[str], set[str]] | None = None
        self._tick_order: TickOrder | None = None

    def write(self, event: Event, *, entry: int | None = None) -> None:
        """Append an event. With `copy_input`, `entry` is the input entry that it was made from."""
        if self._state != "open":
            raise WriteError(f"want an open file to write to, got {self.path}, which is closed")
        with self._named(f"entry {self.entries}"):
            self._check(event)
            self._check_entry(event, entry)
            self._sink.write(event, entry)
        self.entries += 1

    def append(
        self, parts: Sequence[Path], entries: Sequence[int], on_part: OnPart = lambda part: None
    ) -> None:
        """Append the events of complete part files, in order, to a file that is still empty.

        `entries`: the input entry of every event; raises `WriteError` for a wrong number of them.
        `on_part` is called with the number of each part before it is appended.
        """
        if self._state != "open" or self.entries:
            raise WriteError(f"want an empty file to join parts into, got {self.path}")
        with self._named("joined"):
            got = self._sink.append(parts, entries, on_part)
            if got != len(entries):
                raise WriteError(f"want {len(entries)} entries in {len(parts)} parts, got {got}")
        self.entries = got

    def _check_entry(self, event: Event, entry: int | None) -> None:
        if (entry is None) != (self._source is None):
            raise WriteError(f"want an input entry with copy_input and none without, got {entry}")
        if self._source is not None and entry is not None:
            rse = self._source.rse(entry)
            if rse != event.rse:
                raise ImageError(f"want the event {rse} of input entry {entry}, got {event.rse}")

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
                        f"want {self._tick_order} rows, as the earlier images have,"
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
        """Write everything that is left. After that, `close()` only renames the file."""
        if self._state != "open":
            return
        self._state = "over"
        self._close_source()
        try:
            with self._named("at its end"):
                self._sink.close()
                if self.provenance:
                    check_encodable(self.provenance)
                    self._append_provenance(self._whole.part, self.provenance)
        except BaseException:
            self._whole.discard()
            raise
        self._state = "finished"

    def close(self) -> None:
        """Finish the file and rename it into place. A failure leaves no file."""
        self.finish()
        if self._state == "finished":
            self._state = "over"
            self._whole.publish()

    def discard(self) -> None:
        """Give up and remove the part file. A file that is already renamed into place stays."""
        state, self._state = self._state, "over"
        if state == "over":
            return
        self._whole.discard()  # first, because the library may fail to close its file
        if state == "finished":
            return
        self._close_source()
        try:
            with writing(str(self.path)):
                self._sink.abort()
        except WriteError as error:  # the file is gone, and an earlier error is being raised
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
