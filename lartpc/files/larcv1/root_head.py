"""What a ROOT file's first bytes say of its end: whole, cut short, or never closed by its writer.

The file's record gives the file's end (fEND) and the list of free bytes (fSeekFree), the top
directory's gives the list of keys (fSeekKeys). ROOT writes all three when it closes a file;
`TTree::AutoSave` writes none of them, or, with "SaveSelf", no list of free bytes. Such a file has
the events up to that moment only. Refuses it, as ROOT's own `TFile::Init` would "recover" it.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ...errors import ReadError

_HEAD_BYTES = 1 << 16  # the file's name lies before the directory's record
_LARGE_FILE = 1_000_000  # versions from here on have 8 bytes where the others have 4
_LARGE_DIRECTORY = 1000


class RootHead(NamedTuple):
    """Byte offsets in a file, by ROOT's names."""

    begin: int
    end: int
    seek_free: int
    seek_keys: int


def check_closed(file: BinaryIO, path: Path) -> None:
    """Raise `ReadError` unless the file has all its bytes and was closed by its writer."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = _head(file.read(_HEAD_BYTES), size)
    file.seek(0)
    if head.end > size:
        raise ReadError(f"want {head.end} bytes, as its head says, got {size}: it was cut short")
    if head.seek_free <= head.begin or not head.begin < head.seek_keys < head.end:
        raise ReadError(
            "was not closed by its writer (or is being written still);"
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
            f"want a ROOT file's head, got {size} bytes: cut short or damaged"
        ) from error


def _seek_keys(raw: bytes, at: int) -> int:
    """The place of the top directory's keys; its record begins at `at`."""
    if at < 0:
        raise struct.error("a place before the file's begin")
    (version,) = struct.unpack_from(">h", raw, at)
    # behind the version: two dates, two sizes, the directory's place and its parent's
    places = ">8x8xqqq" if version > _LARGE_DIRECTORY else ">8x8xiii"
    return int(struct.unpack_from(places, raw, at + 2)[2])
