"""The format LArCV3 (HDF5): read and written with h5py."""

from __future__ import annotations

from pathlib import Path

from ...errors import WriteError
from ...image import TickOrder
from ..formats import Format
from ..reader import Reader
from ..writer import Sink
from .hdf5_reader import LArCV3File
from .hdf5_writer import HDF5Sink, all_images, append_provenance
from .layout import MAX_NUMBER

__all__ = (
    "COPIES_AT_END",
    "MAX_NUMBER",
    "append_provenance",
    "check_copied",
    "open_file",
    "open_sink",
)

COPIES_AT_END = False
"""False: the other products of an input are copied with each event."""


def open_file(path: Path, tick_order: TickOrder, overrules: bool = False) -> LArCV3File:
    """Open a file to read; nothing overrules the order of its rows."""
    return LArCV3File(path, tick_order)


def open_sink(
    part: Path,
    format: Format,
    copy_input: Reader | None,
    images: tuple[str, ...],
    rois: tuple[str, ...],
) -> Sink:
    """Open a file to write. Raises `WriteError` for ROIs, which LArCV3 files cannot hold."""
    if rois:
        raise WriteError(
            f"want a LArCV1 or LArCV2 file (.root) for ROIs, LArCV3 holds none: {rois}"
        )
    return HDF5Sink(part, copy_input, images)


def check_copied(source: Reader, format: Format) -> None:
    """Raise `WriteError` unless all other products of the inputs can be copied."""
    all_images(source)
