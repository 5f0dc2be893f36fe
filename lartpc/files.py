"""Files of events, whatever their format: opened to read, opened to write.

Content says how a file is read, the suffix how it is written; nothing else in the project knows
which of the two it has. Several files are read as one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from .errors import ProductMissing, ReadError, WriteError
from .formats import format_of, module
from .image import TickOrder, check_tick_order
from .names import check_name
from .reader import OneFile, Product, Reader
from .ticks import AskedOrder
from .whole_file import WholeFile, check_free
from .writer import Sink, Writer, writing

PathLike = str | os.PathLike[str]

_SUFFIXES = {".root": "larcv1", ".h5": "larcv3", ".hdf5": "larcv3"}


def _open_one(path: Path, tick_order: TickOrder) -> OneFile:
    opened: OneFile = module(format_of(path)).open_file(path, tick_order)
    return opened


def products(path: PathLike) -> tuple[Product, ...]:
    """All products of one file, in its order. Raises `ReadError`."""
    file = _open_one(Path(path), "backward")
    try:
        return file.products()
    finally:
        file.close()


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
    `tick_order`: how the rows of LArCV1 files are ordered; "auto": as `lartpc.ticks` tells from
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
        images = producers(files[0])
    if not images and not rois:
        raise ProductMissing(f"want images or ROIs to read, got none of either in {files[0]}")
    return Reader(files, _open_one, tick_order=tick_order, images=images, rois=rois, trust=trust)


def check_output(path: PathLike, *, force: bool, inputs: Iterable[PathLike]) -> ModuleType:
    """The format's module; raises `WriteError`, `FileExists` where `open_writer` would."""
    target = Path(path)
    if target.suffix not in _SUFFIXES:
        raise WriteError(f"want a suffix of {sorted(_SUFFIXES)} to write, got {target}")
    check_free(target, force=force, inputs=map(Path, inputs))
    return module(_SUFFIXES[target.suffix])


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
    return Writer(whole, sink, copy_input)
