"""ROOT files of LArCV1 and LArCV2: read with uproot, written with ROOT in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ...image import TickOrder
from ..formats import Format
from ..reader import Reader
from ..root_writing import writer_process
from ..root_writing.copied import check_chosen
from ..root_writing.writer_process import RemoteSink
from ..writer import Sink
from .copying import products_to_copy
from .root_file import ROOTFile

COPIES_AT_END = True
"""True: the other products of an input are copied when the file is closed."""
MAX_NUMBER = (1 << 64) - 1
"""The largest run, subrun or event."""


def open_file(path: Path, tick_order: TickOrder, overrules: bool = False) -> ROOTFile:
    """Open a file to read; `overrules`: LArCV2's rows have this order in the file."""
    return ROOTFile(path, tick_order, overrules)


def open_sink(
    part: Path,
    format: Format,
    copy_input: Reader | None,
    images: tuple[str, ...],
    rois: tuple[str, ...],
) -> Sink:
    """Open a file to write; raises `LibraryMissing` without ROOT."""
    copied = products_to_copy(copy_input, format) if copy_input else None
    return RemoteSink(format, part, copied, images, rois)


def check_copied(source: Reader, format: Format, *, whole: bool) -> None:
    """Raise `WriteError` or `ReadError` unless all other products of the inputs can be copied.

    `whole`: all entries will be copied, in order.
    """
    copied = products_to_copy(source, format)
    if not whole:
        check_chosen(copied)


def append_provenance(path: Path, records: Sequence[str]) -> None:
    """Add provenance texts to a closed file; raises `LibraryMissing` without ROOT."""
    with closing(ROOTFile(path, "backward")) as file:
        format = file.format(*file.names()[0])
    writer_process.append_provenance(format, path, records)
