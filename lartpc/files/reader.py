"""Reads several files as one sequence of events. Refuses products that do not match each other.

A format module reads one file (`OneFile`); the rules that hold for every format are here.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from ..errors import LArTPCError, LibraryMissing, ProductMissing, ReadError
from ..image import ROI, RSE, Event, Image, ImageMeta, TickOrder
from .formats import LARCV_NAMES, Format
from .names import (
    Key,
    image_key,
    image_names,
    region_key,
    region_names,
    regions_for_crops,
)
from .provenance_texts import tick_orders
from .ticks import (
    AskedOrder,
    Survey,
    TickChoice,
    TickSpan,
    choose,
    overruling,
    regions_of,
    spans_of,
)

log = logging.getLogger(__name__)

_LEVELS = {"assumed": logging.WARNING, "regions": logging.INFO, "ticks": logging.INFO}
"""The log levels for tick orders that files do not state, by the basis of the choice."""
_SURVEYED = 8  # entries with images that are read to find a file's tick order
_SEARCHED = 1000  # the first entries of a file, which are searched for them


class Product(NamedTuple):
    """One product of a file: its kind, its producer and its size."""

    kind: str
    """`image2d`, `partroi`, `sparse2d` or another kind, as in the name of the tree."""
    producer: str
    entries: int
    bytes: int
    """The compressed size in the file."""
    format: Format | None = None
    """The format of the product; None if it is not one of LArCV's."""

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

    def metas(self, kind: str, producer: str, entry: int) -> tuple[ImageMeta, ...]:
        """Return the metas of an entry's images, without reading their pixels."""

    def images(self, kind: str, producer: str, entry: int) -> tuple[Image, ...]:
        """Return the images of an entry."""

    def rois(self, kind: str, producer: str, entry: int) -> tuple[ROI, ...]:
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


def images_in(listed: Iterable[Product]) -> tuple[str, ...]:
    """Return the names of the products that are read as images: `wire`, `sparse2d:wire`."""
    return image_names(_keys(listed))


def regions_in(listed: Iterable[Product]) -> tuple[str, ...]:
    """Return the names of the products that are read as regions: `croi`, `particle:mcst`."""
    return region_names(_keys(listed))


def _keys(listed: Iterable[Product]) -> list[Key]:
    """Return the products that are read; of LArCV3, that is image2d."""
    return [one[:2] for one in listed if one.format != "larcv3" or one.kind == "image2d"]


class Reader:
    """Events of one or several files as one sequence, with one entry in memory at a time.

    `len(reader)`, `reader[17]`, `for event in reader.events(10, 20)`. Only one file is open at a
    time.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        open_one: Callable[[Path, TickOrder, bool], OneFile],
        *,
        tick_order: AskedOrder | TickChoice,
        images: Sequence[str],
        rois: Sequence[str],
        trust: bool = False,
    ) -> None:
        self.paths = tuple(paths)
        given = tick_order if isinstance(tick_order, TickChoice) else None
        asked = tick_order if not isinstance(tick_order, TickChoice) else tick_order.order
        self.tick_order: TickOrder = "backward" if asked == "auto" else asked
        """The tick order of every image that the reader returns."""
        self._overrules = given.overrules if given else asked == "backward"
        self._open_one = open_one
        self.images, self.rois = tuple(images), tuple(rois)
        self._image_keys: tuple[Key, ...] = ()
        self._region_keys: tuple[Key, ...] = ()  # a plain name is another kind in another file
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
        self.tick_choice = given or choose(asked, self.surveys, trust=trust)
        """The tick order, and the reason for it."""
        if given is None:
            self._take_order(asked)

    @property
    def overrules(self) -> bool:
        """Whether the user's tick order overrules the definition of LArCV2 for any file."""
        return bool(overruling(self.tick_choice, self.surveys))

    def _take_order(self, asked: AskedOrder) -> None:
        if self.tick_choice.order != self.tick_order:
            self.close()  # the open file turns images to another order
            self.tick_order = self.tick_choice.order
        if self.overrules:
            log.warning("%s", overruling(self.tick_choice, self.surveys))
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
        keys = zip(self.images, self._image_keys, strict=True)
        return {name: file.images(*key, local) for name, key in keys if name not in without}

    def metas_at(self, entry: int) -> dict[str, tuple[ImageMeta, ...]]:
        """Return the metas of an entry's images by producer, without reading their pixels."""
        file, local = self._at(entry)
        keys = zip(self.images, self._image_keys, strict=True)
        return {name: file.metas(*key, local) for name, key in keys}

    def rois_at(self, entry: int) -> dict[str, tuple[ROI, ...]]:
        """Return an entry's regions of interest by producer."""
        file, local = self._at(entry)
        keys = zip(self.rois, self._region_keys, strict=True)
        return {name: file.rois(*key, local) for name, key in keys}

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
        opened = self._switch(file)
        return opened.rses(*self._names[0])

    def locate(self, entry: int) -> tuple[Path, int]:
        """Return the file that holds `entry`, and the entry's number in that file."""
        if not 0 <= entry < len(self):
            raise IndexError(f"want an entry below {len(self)}, got {entry}")
        index = bisect_right(self._ends, entry)
        return self.paths[index], entry - (self._ends[index] - self.sizes[index])

    def products(self, file: int) -> tuple[Product, ...]:
        """Return all products of a file by its number, also those that are not read here."""
        opened = self._open_one(self.paths[file], self.tick_order, self._overrules)
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
        other.images = self.images if images is None else tuple(images)
        other.rois = self.rois if rois is None else tuple(rois)
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

    @property
    def _names(self) -> tuple[Key, ...]:
        """The kinds and producers that are read from the open file."""
        return (*self._image_keys, *self._region_keys)

    def _switch(self, index: int) -> OneFile:
        if self._file is None or index != self._open_index:
            self.close()
            self._file = self._open_one(self.paths[index], self.tick_order, self._overrules)
            self._find_keys(self._file, self.paths[index])
            self._open_index = index
        return self._file

    def _find_keys(self, file: OneFile, path: Path) -> None:
        present = file.names() if self.rois else ()
        try:
            self._image_keys = tuple(image_key(name) for name in self.images)
            self._region_keys = tuple(region_key(name, present) for name in self.rois)
        except ProductMissing as error:
            raise ProductMissing(f"{path}: {error}") from None

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
        larcv2 = format == "larcv2" and bool(self.images)
        crops: tuple[str, ...] = ()
        present: tuple[Key, ...] = ()
        with suppress(LArTPCError):
            present = file.names()
            crops = regions_for_crops(present)
        if format != "larcv1":
            return Survey(path, stored=True, rois=crops, larcv2=larcv2)
        recorded: tuple[TickOrder, ...] = ()
        with suppress(LArTPCError):
            recorded = tick_orders(file.provenance())
        images = self._image_keys
        spans, regions = set[TickSpan](), set[tuple[TickSpan, TickSpan, float]]()
        for entry in _entries_with_images(file, images):
            metas = [m for key in images for m in file.metas(*key, entry)]
            spans |= spans_of(metas)
            for key in (key for key in present if key[0] == "partroi"):
                with suppress(LArTPCError):
                    regions |= regions_of(file.rois(*key, entry), metas)
        return Survey(path, False, recorded, frozenset(spans), frozenset(regions), crops)

    def _rse(self, file: OneFile, local: int) -> RSE:
        rses = {f"{kind}_{name}": file.rse(kind, name, local) for kind, name in self._names}
        if len(set(rses.values())) != 1:
            path = self.paths[self._open_index]
            raise ReadError(f"want one (run, subrun, event) in {path} entry {local}, got {rses}")
        return next(iter(rses.values()))


def _entries_with_images(file: OneFile, images: Sequence[Key]) -> Iterator[int]:
    """Yield the first few entries that have readable images."""
    entries = min((file.entries(*key) for key in images), default=0)
    seen = 0
    for entry in range(min(entries, _SEARCHED)):
        with suppress(LArTPCError):
            metas = [file.metas(*key, entry) for key in images]
            if any(metas):
                seen += 1
                yield entry
        if seen == _SURVEYED:
            return


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
