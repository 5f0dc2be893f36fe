"""Import the module that reads and writes a file format, when it is needed.

Each module has `open_file` to read, `open_sink` to write, `check_copied` and `append_provenance`.
"""

from __future__ import annotations

from types import ModuleType

from ..errors import LibraryMissing

_NEEDED = {"larcv1": "'uproot>=5.3' 'awkward>=2.4'", "larcv3": "'h5py>=3.8'"}
"""The libraries that each format needs, as arguments of pip."""


def module(name: str) -> ModuleType:
    """Return the module of the format with this name; raises `LibraryMissing`."""
    # imported when needed: a worker reads no files and does not need the libraries
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
