"""Checks from a ROOT file's first bytes that it is complete and was closed by its writer.

The file's record holds the end of the file (fEND) and the place of the list of free bytes
(fSeekFree); the top directory's record holds the place of the list of keys (fSeekKeys). ROOT writes
all three when it closes a file. `TTree::AutoSave` writes none of them or, with "SaveSelf", all but
the list of free bytes. A file in that state has only the events up to that moment. It is refused
here, because ROOT's `TFile::Init` would silently "recover" it.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ...errors import ReadError

_HEAD_BYTES = 1 << 16  # the file's name comes before the directory's record
_LARGE_FILE = 1_000_000  # from this version on, places have 8 bytes instead of 4
_LARGE_DIRECTORY = 1000


class RootHead(NamedTuple):
    """Byte offsets in a file, under ROOT's names."""

    begin: int
    end: int
    seek_free: int
    seek_keys: int


def check_closed(file: BinaryIO, path: Path) -> None:
    """Raise `ReadError` unless the file is complete and was closed by its writer."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = _head(file.read(_HEAD_BYTES), size)
    file.seek(0)
    if head.end > size:
        raise ReadError(f"want {head.end} bytes, as in its header, got {size}: it was cut short")
    if head.seek_free <= head.begin or not head.begin < head.seek_keys < head.end:
        raise ReadError(
            "was not closed by its writer (or is still being written);"
            f" ROOT may recover it: hadd fixed.root {path}"
        )


def _head(raw: bytes, size: int) -> RootHead:
    try:
        version, begin = struct.unpack_from(">ii", raw, 4)
        places = ">qqiii" if version >= _LARGE_FILE else ">iiiii"
        end, seek_free, _, _, name_bytes = struct.unpack_from(places, raw, 12)
        return RootHead(begin, end, seek_free, _seek_keys(raw, begin + name_bytes))
    except struct.error as error:
        raise ReadError(
            f"want a ROOT file's header, got {size} bytes: cut short or damaged"
        ) from error


def _seek_keys(raw: bytes, at: int) -> int:
    """Return the place of the top directory's keys; the directory's record begins at `at`."""
    if at < 0:
        raise struct.error("a place before the start of the file")
    (version,) = struct.unpack_from(">h", raw, at)
    # after the version: two dates, two sizes, the places of the directory and of its parent
    places = ">8x8xqqq" if version > _LARGE_DIRECTORY else ">8x8xiii"
    return int(struct.unpack_from(places, raw, at + 2)[2])
