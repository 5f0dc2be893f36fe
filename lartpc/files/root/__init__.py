"""ROOT files of LArCV1 and LArCV2: read with uproot, written with ROOT in a process of its own."""

from __future__ import annotations

from pathlib import Path

from ...image import TickOrder
from ..formats import Format
from ..reader import Reader
from ..writer import Sink
from .root_file import ROOTFile
from .writing.copied import products_to_copy
from .writing.writer_process import RemoteSink, append_provenance

__all__ = (
    "COPIES_AT_END",
    "MAX_NUMBER",
    "append_provenance",
    "check_copied",
    "open_file",
    "open_sink",
)

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


def check_copied(source: Reader, format: Format) -> None:
    """Raise `WriteError` or `ReadError` unless all other products of the inputs can be copied."""
    products_to_copy(source, format)
