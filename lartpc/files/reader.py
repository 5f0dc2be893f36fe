"""Several files read as one sequence of events. Refuses products that do not line up.

A format module reads one file (`OneFile`); what holds of all formats is here.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from copy import copy
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from ..errors import LArTPCError, LibraryMissing, ReadError
from ..image import ROI, RSE, Event, Image, ImageMeta, TickOrder
from .provenance_texts import tick_orders
from .ticks import AskedOrder, Span, Survey, choose, regions_of, spans_of

log = logging.getLogger(__name__)

_LEVELS = {"assumed": logging.WARNING, "regions": logging.INFO, "ticks": logging.INFO}
"""How loudly a tick order is reported that nobody stated."""
_SURVEYED = 8  # entries with images that show where the images of a file lie
_SEARCHED = 1000  # entries in which such are looked for


class Product(NamedTuple):
    """One product of a file: what it is, who made it, how much of it there is."""

    kind: str
    """`image2d`, `partroi` and others, as in the tree's name."""
    producer: str
    entries: int
    bytes: int
    """In the file, compressed."""

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.producer}"


class OneFile(Protocol):
    """What a format module gives for one file. Raises `ReadError` naming file, entry, product."""

    STORES_TICK_ORDER: bool
    """Whether the format says which tick row 0 is."""

    def names(self) -> tuple[tuple[str, str], ...]: ...
    def product(self, kind: str, producer: str) -> Product: ...
    def entries(self, kind: str, producer: str) -> int: ...
    def rse(self, kind: str, producer: str, entry: int) -> RSE: ...
    def rses(self, kind: str, producer: str) -> npt.NDArray[Any]: ...
    def metas(self, producer: str, entry: int) -> tuple[ImageMeta, ...]: ...
    def images(self, producer: str, entry: int) -> tuple[Image, ...]: ...
    def rois(self, producer: str, entry: int) -> tuple[ROI, ...]: ...
    def provenance(self) -> tuple[str, ...]: ...
    def close(self) -> None: ...


def listed_products(file: OneFile) -> list[Product | LArTPCError]:
    """All products of an open file, in its order; the error of one that cannot be read."""
    products: list[Product | LArTPCError] = []
    for kind, producer in file.names():
        try:
            products.append(file.product(kind, producer))
        except LArTPCError as error:
            products.append(error)
    return products


def all_products(file: OneFile) -> tuple[Product, ...]:
    """All products of an open file; raises the error of the first that cannot be read."""
    products = listed_products(file)
    for product in products:
        if isinstance(product, LArTPCError):
            raise product
    return tuple(product for product in products if isinstance(product, Product))


class Reader:
    """Events of one or several files as one sequence; one entry in memory at a time.

    `len(reader)`, `reader[17]`, `for event in reader.events(10, 20)`. A file at a time is open.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        open_one: Callable[[Path, TickOrder], OneFile],
        *,
        tick_order: AskedOrder,
        images: Sequence[str],
        rois: Sequence[str],
        trust: bool = False,
    ) -> None:
        self.paths = tuple(paths)
        self.tick_order: TickOrder = "backward" if tick_order == "auto" else tick_order
        """Of every image that comes."""
        self._open_one = open_one
        self._choose(images, rois)
        self._file: OneFile | None = None
        self._open_index = -1
        looked = self._look_at_all()
        self.sizes = tuple(count for count, _ in looked)
        """Entries of each file."""
        self._ends = list(accumulate(self.sizes))
        self.surveys = tuple(survey for _, survey in looked)
        """What each file tells about its tick order."""
        self.tick_choice = choose(tick_order, self.surveys, trust=trust)
        """The tick order, and why it was taken."""
        self._take_order(tick_order)

    def _take_order(self, asked: AskedOrder) -> None:
        if self.tick_choice.order != self.tick_order:
            self.close()  # the open file turns images to another order
            self.tick_order = self.tick_choice.order
        if asked == "auto":
            shows = any(survey.images for survey in self.surveys)
            level = _LEVELS.get(self.tick_choice.basis, logging.DEBUG) if shows else logging.DEBUG
            more = "; --tick-order says it" if self.tick_choice.basis == "assumed" else ""
            log.log(level, "tick order %s: %s%s", self.tick_order, self.tick_choice.reason, more)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, entry: int) -> Event:
        """The event at `entry`, counted over all files; raises `IndexError` and `ReadError`."""
        rse = self._rse(*self._at(entry))
        return Event(rse, self.images_at(entry), self.rois_at(entry))

    def images_at(
        self, entry: int, *, without: Container[str] = ()
    ) -> dict[str, tuple[Image, ...]]:
        """An entry's images by producer, but for those in `without`."""
        file, local = self._at(entry)
        return {name: file.images(name, local) for name in self.images if name not in without}

    def metas_at(self, entry: int) -> dict[str, tuple[ImageMeta, ...]]:
        """The metas of an entry's images by producer, without reading their pixels."""
        file, local = self._at(entry)
        return {name: file.metas(name, local) for name in self.images}

    def rois_at(self, entry: int) -> dict[str, tuple[ROI, ...]]:
        """An entry's regions of interest by producer."""
        file, local = self._at(entry)
        return {name: file.rois(name, local) for name in self.rois}

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def events(self, start: int = 0, stop: int | None = None) -> Iterator[Event]:
        """The events of a range, as a slice would name them."""
        for entry in range(*slice(start, stop).indices(len(self))):
            yield self[entry]

    def rse(self, entry: int) -> RSE:
        """An entry's (run, subrun, event), without reading its pixels."""
        return self._rse(*self._at(entry))

    def rses(self, file: int) -> npt.NDArray[Any]:
        """(run, subrun, event) of all entries of a file by its number: (entries, 3), integers.

        They are those of the first product. Raises `ReadError`.
        """
        return self._switch(file).rses(*self._names[0])

    def locate(self, entry: int) -> tuple[Path, int]:
        """The file that holds `entry`, and the entry's number there."""
        if not 0 <= entry < len(self):
            raise IndexError(f"want an entry below {len(self)}, got {entry}")
        index = bisect_right(self._ends, entry)
        return self.paths[index], entry - (self._ends[index] - self.sizes[index])

    def products(self, file: int) -> tuple[Product, ...]:
        """All products of a file by its number, also those that are not read here."""
        opened = self._open_one(self.paths[file], self.tick_order)
        try:
            return all_products(opened)
        finally:
            opened.close()

    @property
    def provenance(self) -> tuple[str, ...]:
        """What the files say of their making (`lartpc.files.provenance`), file after file."""
        each = (self._switch(index).provenance() for index in range(len(self.paths)))
        return tuple(text for texts in each for text in texts)

    def again(
        self, *, images: Sequence[str] | None = None, rois: Sequence[str] | None = None
    ) -> Reader:
        """A second reader of the same files, which are not counted anew; maybe of other producers.

        It has a place of its own, and is to be closed like the first.
        """
        other = copy(self)
        other._file, other._open_index = None, -1
        other._choose(
            self.images if images is None else images, self.rois if rois is None else rois
        )
        return other

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._open_index = None, -1

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _choose(self, images: Sequence[str], rois: Sequence[str]) -> None:
        self.images = tuple(images)
        self.rois = tuple(rois)
        self._names = [("image2d", name) for name in images] + [("partroi", name) for name in rois]

    def _switch(self, index: int) -> OneFile:
        if self._file is None or index != self._open_index:
            self.close()
            self._file = self._open_one(self.paths[index], self.tick_order)
            self._open_index = index
        return self._file

    def _at(self, entry: int) -> tuple[OneFile, int]:
        _, local = self.locate(entry)
        return self._switch(bisect_right(self._ends, entry)), local

    def _look_at_all(self) -> list[tuple[int, Survey]]:
        """Each file's entries and tick order; raises for all that cannot be read together."""
        looked: list[tuple[int, Survey]] = []
        errors: list[LArTPCError] = []
        for index in range(len(self.paths)):
            try:
                looked.append((self._count(index), self._survey(index)))
            except LibraryMissing:
                raise
            except LArTPCError as error:
                self.close()
                errors.append(error)
        raise_together(errors, files=len(self.paths))
        return looked

    def _count(self, index: int) -> int:
        file = self._switch(index)
        counts = {f"{kind}_{name}": file.entries(kind, name) for kind, name in self._names}
        if len(set(counts.values())) != 1:
            raise ReadError(f"want products of one length in {self.paths[index]}, got {counts}")
        return next(iter(counts.values()))

    def _survey(self, index: int) -> Survey:
        """What a file tells about its tick order; what cannot be read tells nothing."""
        file, path = self._switch(index), self.paths[index]
        if file.STORES_TICK_ORDER:
            return Survey(path, stored=True)
        recorded: tuple[TickOrder, ...] = ()
        rois: tuple[str, ...] = ()
        with suppress(LArTPCError):
            recorded = tick_orders(file.provenance())
            rois = tuple(producer for kind, producer in file.names() if kind == "partroi")
        spans, regions = set[Span](), set[tuple[Span, Span, float]]()
        for entry in self._entries_with_images(file):
            metas = [m for name in self.images for m in file.metas(name, entry)]
            spans |= spans_of(metas)
            for name in rois:
                with suppress(LArTPCError):
                    regions |= regions_of(file.rois(name, entry), metas)
        return Survey(path, False, recorded, frozenset(spans), frozenset(regions), rois)

    def _entries_with_images(self, file: OneFile) -> Iterator[int]:
        """The first few entries that have images which can be read."""
        entries = min((file.entries("image2d", name) for name in self.images), default=0)
        seen = 0
        for entry in range(min(entries, _SEARCHED)):
            with suppress(LArTPCError):
                metas = [file.metas(name, entry) for name in self.images]
                if any(metas):
                    seen += 1
                    yield entry
            if seen == _SURVEYED:
                return

    def _rse(self, file: OneFile, local: int) -> RSE:
        said = {f"{kind}_{name}": file.rse(kind, name, local) for kind, name in self._names}
        if len(set(said.values())) != 1:
            path = self.paths[self._open_index]
            raise ReadError(f"want one (run, subrun, event) in {path} entry {local}, got {said}")
        return next(iter(said.values()))


MAX_NAMED = 10
"""Files that one error names."""


def raise_together(errors: Sequence[LArTPCError], *, files: int) -> None:
    """Raise what is wrong with several of `files` files as one error, a line for each."""
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    lines = [f"{len(errors)} of {files} files cannot be read:", *map(str, errors[:MAX_NAMED])]
    if len(errors) > MAX_NAMED:
        lines.append(f"and {len(errors) - MAX_NAMED} more")
    same = len({type(error) for error in errors}) == 1
    kind = type(errors[0]) if same else ReadError
    raise kind("\n  ".join(lines))
