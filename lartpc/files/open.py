"""Files of events, whatever their format: opened to read, opened to write.

Content says how a file is read, the suffix how it is written; nothing else in the project knows
which of the two it has. Several files are read as one.
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
from .formats import format_of
from .names import check_name
from .reader import (
    OneFile,
    Product,
    Reader,
    all_products,
    listed_products,
    raise_together,
)
from .ticks import AskedOrder
from .whole_file import WholeFile, check_free
from .writer import Sink, Writer, writing

PathLike = str | os.PathLike[str]

_SUFFIXES = {".root": "larcv1", ".h5": "larcv3", ".hdf5": "larcv3"}


def _open_one(path: Path, tick_order: TickOrder) -> OneFile:
    opened: OneFile = module(format_of(path)).open_file(path, tick_order)
    return opened


def products(path: PathLike) -> tuple[Product, ...]:
    """All products of one file, in its order. Raises `ReadError`, and `ProductMissing` for none."""
    file = _open_one(Path(path), "backward")
    try:
        return all_products(file)
    finally:
        file.close()


def listing(path: PathLike) -> list[Product | LArTPCError]:
    """As `products`, but with the error of a product that cannot be read in its place."""
    file = _open_one(Path(path), "backward")
    try:
        return listed_products(file)
    finally:
        file.close()


def readable_products(path: PathLike) -> tuple[Product, ...]:
    """The products that can be read; raises the first error of a file that has none such."""
    every = listing(path)
    readable = tuple(product for product in every if isinstance(product, Product))
    return readable or products(path)


def producers(path: PathLike) -> tuple[str, ...]:
    """The producers of images in one file, in its order. Raises `ReadError`."""
    return tuple(product.producer for product in products(path) if product.kind == "image2d")


def open_reader(
    paths: PathLike | Iterable[PathLike],
    *,
    tick_order: AskedOrder,
    images: Sequence[str] | None = None,
    rois: Sequence[str] = (),
    trust: bool = False,
) -> Reader:
    """Open files as one sequence of events.

    `images`: producers to read (None: all of the first file); `rois`: producers of ROIs.
    `tick_order`: how the rows of LArCV1 files are ordered; "auto": as `files/ticks.py` tells from
    what they hold. LArCV3 files store their order; there the images are turned to `tick_order`.
    Every image that comes has the order `reader.tick_order`; `reader.tick_choice` says why.
    `trust`: take `tick_order` even where the files contradict it.
    Raises `ReadError`, `ProductMissing` where a file lacks a producer, and `TickOrderError` where
    the files contradict `tick_order` or each other.
    """
    if tick_order != "auto":
        check_tick_order(tick_order)
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    files = [Path(path) for path in several]
    if not files:
        raise ReadError("want at least one file to read, got none")
    if images is None:
        images = _producers_of_first(files)
    if not images and not rois:
        raise ProductMissing(f"want images or ROIs to read, got none of either in {files[0]}")
    return Reader(files, _open_one, tick_order=tick_order, images=images, rois=rois, trust=trust)


def _producers_of_first(files: Sequence[Path]) -> tuple[str, ...]:
    """Raises for the first file with all others that cannot be read."""
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
    raise errors[0]  # not reached: there is one at least


def check_fits(path: PathLike, reader: Reader, entries: Sequence[int]) -> None:
    """Raise `ImageError` for an event whose numbers the format of `path` cannot hold.

    `entries`: of the reader; no pixels are read. A file whose numbers cannot be read is passed
    over: its entries are refused when they are read.
    """
    largest: int = _format_to_write(Path(path)).MAX_NUMBER
    chosen, start = np.asarray(entries, dtype=np.int64), 0
    for file, size in enumerate(reader.sizes):
        local = chosen[(chosen >= start) & (chosen < start + size)] - start
        rows = np.empty((0, 3), np.int64)
        with suppress(ReadError):  # the entry that cannot be read is named when it is read
            rows = reader.rses(file)[local] if len(local) else rows
        for row in np.flatnonzero(_misfits(rows, largest))[:1]:
            got = tuple(rows[row].tolist())
            raise ImageError(
                f"{reader.paths[file]} entry {local[row]}: want (run, subrun, event) from 0 to"
                f" {largest}, for {path}, got {got}"
            )
        start += size


def _misfits(rows: npt.NDArray[Any], largest: int) -> npt.NDArray[np.bool_]:
    # no signed number of 64 bits is above what any format holds
    bad = rows < 0 if rows.dtype.kind == "i" else rows > np.uint64(largest)
    return np.asarray(bad.any(axis=1))


def check_target(path: PathLike) -> None:
    """Raise `WriteError` for a name under which no file can be written, whatever is in it."""
    target = Path(path)
    if target.is_dir():  # before the suffix, which no folder has
        raise WriteError(f"want a file to write, got the directory {target}")
    _format_to_write(target)
    if not target.parent.is_dir():
        raise WriteError(f"cannot write {target}: no directory {target.parent}")


def _format_to_write(target: Path) -> ModuleType:
    if target.suffix not in _SUFFIXES:
        raise WriteError(f"want a suffix of {sorted(_SUFFIXES)} to write, got {target}")
    return module(_SUFFIXES[target.suffix])


def check_output(path: PathLike, *, force: bool, inputs: Iterable[PathLike]) -> ModuleType:
    """The format's module; raises `WriteError`, `FileExists` where `open_writer` would."""
    target = Path(path)
    format_module = _format_to_write(target)
    check_free(target, force=force, inputs=map(Path, inputs))
    return format_module


def open_writer(
    path: PathLike,
    *,
    force: bool = False,
    copy_input: Reader | None = None,
    copy_later: bool = False,
    inputs: Iterable[PathLike] = (),
    images: Sequence[str] = (),
    rois: Sequence[str] = (),
) -> Writer:
    """Open a file for writing; its suffix (.root, .h5) says the format.

    `copy_input`: all of this reader's other products come along, entry by entry; `copy_later`: a
    format that copies them at a file's end leaves that to the file that parts are joined in.
    `inputs`: files that the output must not replace, even with `force`. `images`, `rois`: producers
    that the file has even if no event is ever written. Raises `WriteError`, `FileExists`,
    `LibraryMissing`.
    """
    target = Path(path)
    for name in (*images, *rois):
        check_name(name)
    forbidden = [*(copy_input.paths if copy_input else ()), *map(Path, inputs)]
    format_module = check_output(target, force=force, inputs=forbidden)
    copied = None if copy_later and format_module.COPIES_AT_END else copy_input
    whole = WholeFile(target, force=force, inputs=forbidden)
    try:
        with writing(str(target)):
            sink: Sink = format_module.open_sink(whole.part, copied, tuple(images), tuple(rois))
    except BaseException:
        whole.discard()
        raise
    return Writer(whole, sink, copy_input, format_module.append_provenance)
