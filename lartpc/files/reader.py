"""Reads several files as one sequence of events. Refuses products that do not match each other.

A format module reads one file (`OneFile`); the rules that hold for every format are here.
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
from .formats import LARCV_NAMES, Format
from .provenance_texts import tick_orders
from .ticks import AskedOrder, Survey, TickSpan, choose, regions_of, spans_of

log = logging.getLogger(__name__)

_LEVELS = {"assumed": logging.WARNING, "regions": logging.INFO, "ticks": logging.INFO}
"""The log levels for tick orders that files do not state, by the basis of the choice."""
_SURVEYED = 8  # entries with images that are read to find a file's tick order
_SEARCHED = 1000  # the first entries of a file, which are searched for them


class Product(NamedTuple):
    """One product of a file: its kind, its producer and its size."""

    kind: str
    """`image2d`, `partroi` or another kind, as in the name of the tree."""
    producer: str
    entries: int
    bytes: int
    """The compressed size in the file."""

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.producer}"


class OneFile(Protocol):
    """One open file, as a format module gives it. Its errors name file, entry and product."""

    def names(self) -> tuple[tuple[str, str], ...]:
        """Return (kind, producer) of all products, in the file's order."""

    def format(self, kind: str, producer: str) -> Format:
        """Return the format of a product. LArCV2 and LArCV3 define which tick row 0 holds."""

    def product(self, kind: str, producer: str) -> Product:
        """Return the size of a product; its entries are not checked."""

    def entries(self, kind: str, producer: str) -> int:
        """Check a product, and return its number of entries."""

    def rse(self, kind: str, producer: str, entry: int) -> RSE:
        """Return the (run, subrun, event) of an entry."""

    def rses(self, kind: str, producer: str) -> npt.NDArray[Any]:
        """Return the (run, subrun, event) of all entries: (entries, 3), integers."""

    def metas(self, producer: str, entry: int) -> tuple[ImageMeta, ...]:
        """Return the metas of an entry's images, without reading their pixels."""

    def images(self, producer: str, entry: int) -> tuple[Image, ...]:
        """Return the images of an entry."""

    def rois(self, producer: str, entry: int) -> tuple[ROI, ...]:
        """Return the regions of interest of an entry."""

    def provenance(self) -> tuple[str, ...]:
        """Return the provenance records of the file."""

    def close(self) -> None:
        """Close the file."""


def listed_products(file: OneFile) -> list[Product | LArTPCError]:
    """Return all products of an open file; an error stands in place of one that is unreadable."""
    products: list[Product | LArTPCError] = []
    for kind, producer in file.names():
        try:
            products.append(file.product(kind, producer))
        except LArTPCError as error:
            products.append(error)
    return products


def all_products(file: OneFile) -> tuple[Product, ...]:
    """Return all products of an open file. Raises the first error of a product."""
    products = listed_products(file)
    for product in products:
        if isinstance(product, LArTPCError):
            raise product
    return tuple(product for product in products if isinstance(product, Product))


class Reader:
    """Events of one or several files as one sequence, with one entry in memory at a time.

    `len(reader)`, `reader[17]`, `for event in reader.events(10, 20)`. Only one file is open at a
    time.
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
        """The tick order of every image that the reader returns."""
        self._open_one = open_one
        self._choose(images, rois)
        self._file: OneFile | None = None
        self._open_index = -1
        surveyed = self._survey_all()
        self.sizes = tuple(count for count, _, _ in surveyed)
        """The number of entries of each file."""
        self._ends = list(accumulate(self.sizes))
        self.formats = tuple(format for _, format, _ in surveyed)
        """The format of each file."""
        self.surveys = tuple(survey for _, _, survey in surveyed)
        """What each file shows about its tick order."""
        self.tick_choice = choose(tick_order, self.surveys, trust=trust)
        """The tick order, and the reason for it."""
        self._take_order(tick_order)

    def _take_order(self, asked: AskedOrder) -> None:
        if self.tick_choice.order != self.tick_order:
            self.close()  # the open file turns images to another order
            self.tick_order = self.tick_choice.order
        if asked == "auto":
            shows = any(survey.images for survey in self.surveys)
            level = _LEVELS.get(self.tick_choice.basis, logging.DEBUG) if shows else logging.DEBUG
            more = "; set it with --tick-order" if self.tick_choice.basis == "assumed" else ""
            log.log(level, "tick order %s: %s%s", self.tick_order, self.tick_choice.reason, more)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, entry: int) -> Event:
        """Return the event at `entry`, counted over all files. Raises `IndexError`, `ReadError`."""
        rse = self._rse(*self._at(entry))
        return Event(rse, self.images_at(entry), self.rois_at(entry))

    def images_at(
        self, entry: int, *, without: Container[str] = ()
    ) -> dict[str, tuple[Image, ...]]:
        """Return an entry's images by producer, except the producers in `without`."""
        file, local = self._at(entry)
        return {name: file.images(name, local) for name in self.images if name not in without}

    def metas_at(self, entry: int) -> dict[str, tuple[ImageMeta, ...]]:
        """Return the metas of an entry's images by producer, without reading their pixels."""
        file, local = self._at(entry)
        return {name: file.metas(name, local) for name in self.images}

    def rois_at(self, entry: int) -> dict[str, tuple[ROI, ...]]:
        """Return an entry's regions of interest by producer."""
        file, local = self._at(entry)
        return {name: file.rois(name, local) for name in self.rois}

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def events(self, start: int = 0, stop: int | None = None) -> Iterator[Event]:
        """Yield the events of a range; `start` and `stop` mean the same as in a slice."""
        for entry in range(*slice(start, stop).indices(len(self))):
            yield self[entry]

    def rse(self, entry: int) -> RSE:
        """Return an entry's (run, subrun, event), without reading its pixels."""
        return self._rse(*self._at(entry))

    def rses(self, file: int) -> npt.NDArray[Any]:
        """Return (run, subrun, event) of all entries of file number `file`: (entries, 3), integers.

        They are read from the first product. Raises `ReadError`.
        """
        return self._switch(file).rses(*self._names[0])

    def locate(self, entry: int) -> tuple[Path, int]:
        """Return the file that holds `entry`, and the entry's number in that file."""
        if not 0 <= entry < len(self):
            raise IndexError(f"want an entry below {len(self)}, got {entry}")
        index = bisect_right(self._ends, entry)
        return self.paths[index], entry - (self._ends[index] - self.sizes[index])

    def products(self, file: int) -> tuple[Product, ...]:
        """Return all products of a file by its number, also those that are not read here."""
        opened = self._open_one(self.paths[file], self.tick_order)
        try:
            return all_products(opened)
        finally:
            opened.close()

    @property
    def provenance(self) -> tuple[str, ...]:
        """The provenance records (`lartpc.provenance`) of all files, file after file."""
        by_file = (self._switch(index).provenance() for index in range(len(self.paths)))
        return tuple(record for records in by_file for record in records)

    def again(
        self, *, images: Sequence[str] | None = None, rois: Sequence[str] | None = None
    ) -> Reader:
        """Return a second reader of the same files, perhaps with other producers.

        The entries are not counted again. The new reader opens files independently of the first,
        and must be closed too.
        """
        other = copy(self)
        other._file, other._open_index = None, -1
        other._choose(
            self.images if images is None else images, self.rois if rois is None else rois
        )
        return other

    def close(self) -> None:
        """Close the open file; reading another event opens it again."""
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

    def _survey_all(self) -> list[tuple[int, Format, Survey]]:
        """Return each file's entries, format and survey; an error names all unreadable files."""
        surveyed: list[tuple[int, Format, Survey]] = []
        errors: list[LArTPCError] = []
        for index in range(len(self.paths)):
            try:
                count, format = self._count(index), self._format(index)
                surveyed.append((count, format, self._survey(index, format)))
            except LibraryMissing:
                raise
            except LArTPCError as error:
                self.close()
                errors.append(error)
        raise_together(errors, files=len(self.paths))
        return surveyed

    def _count(self, index: int) -> int:
        file = self._switch(index)
        counts = {f"{kind}_{name}": file.entries(kind, name) for kind, name in self._names}
        if len(set(counts.values())) != 1:
            raise ReadError(f"want products of one length in {self.paths[index]}, got {counts}")
        return next(iter(counts.values()))

    def _format(self, index: int) -> Format:
        file = self._switch(index)
        formats = {file.format(*name) for name in self._names}
        if len(formats) != 1:
            names = " and ".join(LARCV_NAMES[format] for format in sorted(formats))
            raise ReadError(f"want products of one format, got {names} in {self.paths[index]}")
        return next(iter(formats))

    def _survey(self, index: int, format: Format) -> Survey:
        """Collect what a file shows about its tick order; unreadable products are skipped."""
        file, path = self._switch(index), self.paths[index]
        if format != "larcv1":
            return Survey(path, stored=True)
        recorded: tuple[TickOrder, ...] = ()
        rois: tuple[str, ...] = ()
        with suppress(LArTPCError):
            recorded = tick_orders(file.provenance())
            rois = tuple(producer for kind, producer in file.names() if kind == "partroi")
        spans, regions = set[TickSpan](), set[tuple[TickSpan, TickSpan, float]]()
        for entry in self._entries_with_images(file):
            metas = [m for name in self.images for m in file.metas(name, entry)]
            spans |= spans_of(metas)
            for name in rois:
                with suppress(LArTPCError):
                    regions |= regions_of(file.rois(name, entry), metas)
        return Survey(path, False, recorded, frozenset(spans), frozenset(regions), rois)

    def _entries_with_images(self, file: OneFile) -> Iterator[int]:
        """Yield the first few entries that have readable images."""
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
        rses = {f"{kind}_{name}": file.rse(kind, name, local) for kind, name in self._names}
        if len(set(rses.values())) != 1:
            path = self.paths[self._open_index]
            raise ReadError(f"want one (run, subrun, event) in {path} entry {local}, got {rses}")
        return next(iter(rses.values()))


MAX_NAMED = 10
"""The most files that one error names."""


def raise_together(errors: Sequence[LArTPCError], *, files: int) -> None:
    """Raise the files' errors as one error, with a line for each; files: how many were tried."""
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
