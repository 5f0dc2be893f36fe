"""The size and a quick checksum of a file, which show that two files differ or that one changed.

A file of up to 16 MiB is hashed whole, so that its checksum is what `sha256sum` prints. Of a
larger file 16 blocks of 1 MiB are hashed. They are evenly spread and include the first and the
last MiB, because ROOT and HDF5 change the ends of a file in every write. So the checksum of a file
of 20 GB takes milliseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lartpc import ReadError
from lartpc.files.formats import open_regular
from mdp import SettingsError

BLOCK_BYTES = 1 << 20
BLOCKS = 16
WHOLE = "all"
SPREAD = f"{BLOCKS} blocks of {BLOCK_BYTES >> 20} MiB"


class FileChecksum(NamedTuple):
    """A file's size and checksum."""

    bytes: int
    sha256: str
    hashed: str
    """Which bytes were hashed: `all`, or `16 blocks of 1 MiB`."""

    def of(self, path: Path) -> dict[str, Any]:
        """Return the fields and the name of `path`, without its folder, as a JSON object."""
        return {"name": path.name, **self._asdict()}


def checksum(path: Path) -> FileChecksum:
    """Return the checksum of a file as it is now. Raises `ReadError`."""
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            for start, count in blocks(size):
                file.seek(start)
                digest.update(file.read(count))
    except OSError as error:
        raise ReadError(f"cannot read {path}: {error.strerror}") from error
    hashed = WHOLE if size <= BLOCKS * BLOCK_BYTES else SPREAD
    return FileChecksum(size, digest.hexdigest(), hashed)


def check_once(paths: Sequence[Path], checksums: Sequence[FileChecksum]) -> None:
    """Raise `SettingsError` if an input is given twice, under the same name or another."""
    first: dict[FileChecksum, Path] = {}
    for path, its_checksum in zip(paths, checksums, strict=True):
        if its_checksum in first:
            other = first[its_checksum]
            same = "twice" if other == path else f"and {other}, which have the same checksum"
            raise SettingsError(
                f"want each input once, got {path} {same}: --repeat-inputs allows it"
            )
        first[its_checksum] = path


def blocks(size: int) -> list[tuple[int, int]]:
    """Return (start, bytes) of each block that is hashed, for a file of `size` bytes."""
    if size <= BLOCKS * BLOCK_BYTES:
        return [(0, size)]
    last = size - BLOCK_BYTES
    return [(last * number // (BLOCKS - 1), BLOCK_BYTES) for number in range(BLOCKS)]
