"""Import the module that reads and writes the files of a container, when it is needed.

Each module has `open_file` to read, `open_sink` to write, `check_copied` and `append_provenance`.
"""

from __future__ import annotations

from types import ModuleType

from ..errors import LibraryMissing
from .formats import Container

_NEEDED = {"root": "'uproot>=5.3' 'awkward>=2.4'", "hdf5": "'h5py>=3.8'"}
"""The libraries that each container needs, as arguments of pip."""
_NAMES = {"root": "ROOT (LArCV1 and LArCV2)", "hdf5": "HDF5 (LArCV3)"}


def module(container: Container) -> ModuleType:
    """Return the module of the files in this container; raises `LibraryMissing`."""
    # imported when needed: a worker reads no files and does not need the libraries
    try:
        if container == "root":
            from . import root

            return root
        from . import larcv3
    except ImportError as error:
        raise LibraryMissing(
            f"{_NAMES[container]} files need {error.name}: pip install {_NEEDED[container]}"
            " (extra [client])"
        ) from error
    return larcv3
