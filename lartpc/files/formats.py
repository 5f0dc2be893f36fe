"""Find the format of a file, LArCV1 (ROOT) or LArCV3 (HDF5), from its first bytes.

All other formats are refused, and so is anything that is not a local, regular file: opening a FIFO
would wait for its writer.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from ..errors import ReadError

_MAGIC = {b"root": "larcv1", b"\x89HDF": "larcv3"}
# a Path has one slash where the URL had two
_URL = re.compile(r"((?:x?root|xrootd|https?|davs?|ftp|gsiftp|srm|s3)s?):/+(.+)", re.IGNORECASE)
_KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def format_of(path: Path) -> str:
    """Return "larcv1" or "larcv3", from the first bytes of the file. Raises `ReadError`."""
    with open_regular(path) as file:
        magic = file.read(4)
    if magic not in _MAGIC:
        got = f"which starts with {magic!r}" if magic else "which is empty"
        raise ReadError(f"want a ROOT or HDF5 file, got {path}, {got}")
    return _MAGIC[magic]


def open_regular(path: Path) -> BinaryIO:
    """Open a local, regular file to read, without blocking. Raises `ReadError`."""
    try:
        # without O_NONBLOCK, opening a FIFO blocks until a writer opens it
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_read(path, error) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _not_regular(path, mode)
    return os.fdopen(descriptor, "rb")


def _cannot_read(path: Path, error: OSError) -> ReadError:
    url = _URL.fullmatch(str(path))
    if url and error.errno == errno.ENOENT:
        copier = "xrdcp" if "root" in url[1].lower() else "curl -O"
        whole = f"{url[1]}://{url[2]}"
        return ReadError(f"want a local path ({copier} first), got the URL {whole}")
    if error.errno == errno.ENXIO:  # Linux gives this for a socket in the file system
        return _not_regular(path, stat.S_IFSOCK)
    return ReadError(f"cannot read {path}: {error.strerror}")


def _not_regular(path: Path, mode: int) -> ReadError:
    kind = _KINDS.get(stat.S_IFMT(mode), "special file")
    return ReadError(f"want a regular file, got the {kind} {path}")
