"""The module that reads and writes a format, imported when it is needed.

Each has `open_file` to read, `open_sink` to write, `check_copied` and `append_provenance`.
"""

from __future__ import annotations

from types import ModuleType

from ..errors import LibraryMissing

_NEEDED = {"larcv1": "'uproot>=5.3' 'awkward>=2.4'", "larcv3": "'h5py>=3.8'"}
"""What reads each format, as pip takes it."""


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
