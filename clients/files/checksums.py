"""What tells one input file from another, or from itself changed: its size and a quick checksum.

A file of up to 16 MiB is hashed whole: what `sha256sum` prints. Of a larger one 16 blocks of
1 MiB are, evenly spread, the first and the last included (ROOT and HDF5 change their ends with
every writing), so that a stamp of 20 GB costs milliseconds. Refuses what cannot be read.
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


class Stamp(NamedTuple):
    """A file's size and checksum."""

    bytes: int
    sha256: str
    hashed: str
    """What of the file: `all`, or `16 blocks of 1 MiB`."""

    def of(self, path: Path) -> dict[str, Any]:
        """With the file's name, which a copy elsewhere shares, as JSON has it."""
        return {"name": path.name, **self._asdict()}


def stamp(path: Path) -> Stamp:
    """A file's stamp, as it is now. Raises `ReadError`."""
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
    return Stamp(size, digest.hexdigest(), hashed)


def check_once(paths: Sequence[Path], stamps: Sequence[Stamp]) -> None:
    """Raise `SettingsError` for an input that is given twice, under whatever names."""
    first: dict[Stamp, Path] = {}
    for path, its_stamp in zip(paths, stamps, strict=True):
        if its_stamp in first:
            other = first[its_stamp]
            same = "twice" if other == path else f"and {other}, which have the same checksum"
            raise SettingsError(
                f"want each input once, got {path} {same}: --repeat-inputs reads it again"
            )
        first[its_stamp] = path


def blocks(size: int) -> list[tuple[int, int]]:
    """(start, bytes) of what is hashed of a file of this size."""
    if size <= BLOCKS * BLOCK_BYTES:
        return [(0, size)]
    last = size - BLOCK_BYTES
    return [(last * number // (BLOCKS - 1), BLOCK_BYTES) for number in range(BLOCKS)]
