"""Opens files of events, to read or to write, in either format.

The first bytes of a file decide how it is read, and its suffix how it is written; no other part of
the project depends on the format. Several files are read as one sequence of events.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, LArTPCError, LibraryMissing, ProductMissing, ReadError, WriteError
from ..image import TickOrder, check_tick_order
from .format_modules import module
from .formats import CONTAINERS, SUFFIXES, Format, container_of
from .names import check_name
from .reader import (
    OneFile,
    Product,
    Reader,
    all_products,
    listed_products,
    raise_together,
)
from .ticks import AskedOrder, TickChoice
from .whole_file import WholeFile, check_free
from .writer import Sink, Writer, writing

PathLike = str | os.PathLike[str]


def _open_one(path: Path, tick_order: TickOrder, overrules: bool = False) -> OneFile:
    opened: OneFile = module(container_of(path)).open_file(path, tick_order, overrules)
    return opened


def products(path: PathLike) -> tuple[Product, ...]:
    """Return all products of a file, in its order.

    Raises `ReadError`, and `ProductMissing` if the file has no product.
    """
    file = _open_one(Path(path), "backward")
    try:
        return all_products(file)
    finally:
        file.close()


def listing(path: PathLike) -> list[Product | LArTPCError]:
    """Return all products of a file; an error stands in place of a product that is unreadable."""
    file = _open_one(Path(path), "backward")
    try:
        return listed_products(file)
    finally:
        file.close()


def readable_products(path: PathLike) -> tuple[Product, ...]:
    """Return the products that can be read; raises the first error if none can."""
    every = listing(path)
    readable = tuple(product for product in every if isinstance(product, Product))
    return readable or products(path)


def format_of(path: PathLike) -> Format:
    """Return the format of a file: that of its first product. Raises as `products` does."""
    file = _open_one(Path(path), "backward")
    try:
        return file.format(*file.names()[0])
    finally:
        file.close()


def producers(path: PathLike) -> tuple[str, ...]:
    """Return the producers of images in a file, in its order. Raises `ReadError`."""
    return tuple(product.producer for product in products(path) if product.kind == "image2d")


def open_reader(
    paths: PathLike | Iterable[PathLike],
    *,
    tick_order: AskedOrder | TickChoice,
    images: Sequence[str] | None = None,
    rois: Sequence[str] = (),
    trust: bool = False,
) -> Reader:
    """Open files as one sequence of events.

    `images`: the producers to read, `wire` or `sparse2d:wire` (None: all of image2d in the first
    file); `rois`: producers of ROIs, `croi` or `particle:mcst`.
    `tick_order`: how the rows of LArCV1 files are ordered; with "auto", `ticks.py` finds the
    order from the files. LArCV2 and LArCV3 define the order, and images are turned to `tick_order`;
    but "backward" overrules LArCV2: row 0 of its images is taken for the largest tick, with a
    warning. A `TickChoice` (`reader.tick_choice`) reads in an order that was chosen before, without
    checks; it overrules LArCV2 only if the user had asked for it.
    Every image has the order `reader.tick_order`; `reader.tick_choice` gives the reason for it.
    `trust`: use `tick_order` even if the files contradict it.
    Raises `ReadError`, `ProductMissing` if a file lacks a producer, and `TickOrderError` if the
    files contradict `tick_order` or each other.
    """
    if isinstance(tick_order, str) and tick_order != "auto":
        check_tick_order(tick_order)
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    files = [Path(path) for path in several]
    if not files:
        raise ReadError("want at least one file to read, got none")
    if images is None:
        images = _producers_of_first(files)
    if not images and not rois:
        raise ProductMissing(f"want images or ROIs to read, got neither in {files[0]}")
    return Reader(files, _open_one, tick_order=tick_order, images=images, rois=rois, trust=trust)


def _producers_of_first(files: Sequence[Path]) -> tuple[str, ...]:
    """Return the first file's producers; an error names all files that cannot be read."""
    try:
        return producers(files[0])
    except LibraryMissing:
        raise
    except LArTPCError as error:
        errors = [error]
    for path in files[1:]:
        try:
            producers(path)
        except LArTPCError as error:
            errors.append(error)
    raise_together(errors, files=len(files))
    raise errors[0]  # not reached: there is at least one error


def format_to_write(
    path: PathLike, asked: Format | None = None, inputs: Sequence[Format] = ()
) -> Format:
    """Return the format of an output.

    `asked`: the format that it shall have; None: LArCV3 for .h5, and for .root the format of the
    inputs, which must be of one; LArCV1 if there are none. Raises `WriteError` if the suffix is
    another format's.
    """
    target = Path(path)
    if target.suffix not in SUFFIXES:
        raise WriteError(f"want a suffix of {sorted(SUFFIXES)} to write, got {target}")
    container = SUFFIXES[target.suffix]
    if asked:
        if CONTAINERS[asked] != container:
            right = [suffix for suffix, its in SUFFIXES.items() if its == CONTAINERS[asked]]
            raise WriteError(
                f"want a name that ends with {' or '.join(right)} for --format {asked},"
                f" got {target}"
            )
        return asked
    if container == "hdf5":
        return "larcv3"
    of_root = sorted({format for format in inputs if CONTAINERS[format] == "root"})
    if len(of_root) > 1:
        raise WriteError(
            f"want --format larcv1 or larcv2 for {target}: the inputs have files of both"
        )
    return of_root[0] if of_root else "larcv1"


def check_fits(path: PathLike, reader: Reader, entries: Sequence[int]) -> None:
    """Raise `ImageError` for an event whose numbers the format of `path` cannot hold.

    `entries`: entries of the reader; their pixels are not read. A file whose numbers cannot be
    read is skipped here: its entries are refused when they are read.
    """
    largest: int = _format_to_write(Path(path)).MAX_NUMBER
    chosen, start = np.asarray(entries, dtype=np.int64), 0
    for file, size in enumerate(reader.sizes):
        local = chosen[(chosen >= start) & (chosen < start + size)] - start
        rows = np.empty((0, 3), np.int64)
        with suppress(ReadError):  # reading the entry raises the error later, and names it
            rows = reader.rses(file)[local] if len(local) else rows
        for row in np.flatnonzero(_misfits(rows, largest))[:1]:
            got = tuple(rows[row].tolist())
            raise ImageError(
                f"{reader.paths[file]} entry {local[row]}: want (run, subrun, event) from 0 to"
                f" {largest}, for {path}, got {got}"
            )
        start += size


def _misfits(rows: npt.NDArray[Any], largest: int) -> npt.NDArray[np.bool_]:
    # every format can hold the largest signed 64-bit number
    bad = rows < 0 if rows.dtype.kind == "i" else rows > np.uint64(largest)
    return np.asarray(bad.any(axis=1))


def check_target(path: PathLike, format: Format | None = None) -> None:
    """Raise `WriteError` if no file can be written under this name, whatever its content."""
    target = Path(path)
    if target.is_dir():  # checked first: a folder has no suffix
        raise WriteError(f"want a file to write, got the directory {target}")
    format_to_write(target, format)
    if not target.parent.is_dir():
        raise WriteError(f"cannot write {target}: no directory {target.parent}")


def _format_to_write(target: Path) -> ModuleType:
    return module(CONTAINERS[format_to_write(target)])


def check_output(path: PathLike, *, force: bool, inputs: Iterable[PathLike]) -> ModuleType:
    """Return the format's module. Raises `WriteError` and `FileExists` as `open_writer` does."""
    target = Path(path)
    format_module = _format_to_write(target)
    check_free(target, force=force, inputs=map(Path, inputs))
    return format_module


def open_writer(
    path: PathLike,
    *,
    format: Format | None = None,
    force: bool = False,
    copy_input: Reader | None = None,
    copy_later: bool = False,
    inputs: Iterable[PathLike] = (),
    images: Sequence[str] = (),
    rois: Sequence[str] = (),
) -> Writer:
    """Open a file for writing.

    `format`: its suffix must fit (.root for LArCV1 and LArCV2, .h5 for LArCV3); None: as
    `format_to_write` chooses for `copy_input`.
    `copy_input`: copy all other products of this reader, entry by entry. `copy_later`: this file is
    a part; if its format copies products when a file is closed, the joined file copies them.
    `inputs`: files that the output must not replace, even with `force`. `images`, `rois`: producers
    that the file has even if no event is written. Raises `WriteError`, `FileExists` and
    `LibraryMissing`.
    """
    target = Path(path)
    for name in (*images, *rois):
        check_name(name)
    forbidden = [*(copy_input.paths if copy_input else ()), *map(Path, inputs)]
    format_module = check_output(target, force=force, inputs=forbidden)
    chosen = format_to_write(target, format, copy_input.formats if copy_input else ())
    copied = None if copy_later and format_module.COPIES_AT_END else copy_input
    whole = WholeFile(target, force=force, inputs=forbidden)
    try:
        with writing(str(target)):
            sink: Sink = format_module.open_sink(
                whole.part, chosen, copied, tuple(images), tuple(rois)
            )
    except BaseException:
        whole.discard()
        raise
    return Writer(whole, sink, copy_input, format_module.append_provenance)
