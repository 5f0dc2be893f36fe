"""The two formats of files. Refuses what is neither LArCV1's ROOT nor LArCV3's HDF5.

A format is a module: `open_file` to read, `open_sink` to write, `append_provenance`.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from .errors import LibraryMissing, ReadError

_NEEDED = {"larcv1": "'uproot>=5.3' 'awkward>=2.4'", "larcv3": "'h5py>=3.8'"}
"""What reads each format, as pip takes it."""

_MAGIC = {b"root": "larcv1", b"\x89HDF": "larcv3"}


def module(name: str) -> ModuleType:
    """The format of that name; raises `LibraryMissing`."""
    # imported when needed: a worker reads no files and need not have what does
    try:
        if name == "larcv1":
            from . import larcv1

            return larcv1
        from . import larcv3
    except ImportError as error:
        raise LibraryMissing(
            f"{name} files need {error.name}: pip install {_NEEDED[name]} (extra [client])"
        ) from error
    return larcv3


def format_of(path: Path) -> str:
    """`larcv1` or `larcv3`, as the first bytes say. Raises `ReadError`."""
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ReadError(f"cannot read {path}: {error.strerror}") from error
    if magic not in _MAGIC:
        raise ReadError(f"want a ROOT or HDF5 file, got {path}, which starts with {magic!r}")
    return _MAGIC[magic]
