"""The format LArCV1 (ROOT): read with uproot, written with ROOT itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...image import TickOrder
from ..reader import Reader
from ..writer import Sink
from .root_file import ROOTFile

# root_writer is imported when it is needed: ROOT takes seconds to start, and readers do without it

COPIES_AT_END = True
"""True: the other products of an input are copied when the file is closed."""
MAX_NUMBER = (1 << 64) - 1
"""The largest run, subrun or event."""


def open_file(path: Path, tick_order: TickOrder) -> ROOTFile:
    """Open a file to read."""
    return ROOTFile(path, tick_order)


def open_sink(
    part: Path, copy_input: Reader | None, images: tuple[str, ...], rois: tuple[str, ...]
) -> Sink:
    """Open a file to write; raises `LibraryMissing` without ROOT."""
    from .root_writer import ROOTSink

    return ROOTSink(part, copy_input, images, rois)


def check_copied(source: Reader) -> None:
    """Raise `WriteError` or `ReadError` unless all other products of the inputs can be copied."""
    from .root_writer import common_products

    common_products(source)


def append_provenance(path: Path, records: Sequence[str]) -> None:
    """Add provenance texts to a closed file; raises `LibraryMissing` without ROOT."""
    from . import root_writer

    root_writer.append_provenance(path, records)
