"""The formats of files, and the container of a file, ROOT or HDF5, from its first bytes.

A ROOT file may be of LArCV1 or of LArCV2: its trees tell (`OneFile.format`).

All other formats are refused, and so is anything that is not a local, regular file: opening a FIFO
would wait for its writer.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO, Literal

from ..errors import ReadError

Format = Literal["larcv1", "larcv2", "larcv3"]
"""The formats, by the version of LArCV whose classes or datasets the file holds."""

LARCV_NAMES: dict[Format, str] = {"larcv1": "LArCV1", "larcv2": "LArCV2", "larcv3": "LArCV3"}
"""The names of the formats for people."""

Container = Literal["root", "hdf5"]

CONTAINERS: dict[Format, Container] = {"larcv1": "root", "larcv2": "root", "larcv3": "hdf5"}
SUFFIXES: dict[str, Container] = {".root": "root", ".h5": "hdf5", ".hdf5": "hdf5"}
"""The container of a file to write, by the file's suffix."""

_MAGIC: dict[bytes, Container] = {b"root": "root", b"\x89HDF": "hdf5"}
# a Path has one slash where the URL had two
_URL = re.compile(r"((?:x?root|xrootd|https?|davs?|ftp|gsiftp|srm|s3)s?):/+(.+)", re.IGNORECASE)
_KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def container_of(path: Path) -> Container:
    """Return the container, from the first bytes of the file. Raises `ReadError`."""
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
