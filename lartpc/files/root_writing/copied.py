"""The products of the input that are copied into an output, entry by entry."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from ...errors import WriteError


class Copied(NamedTuple):
    """Products of several files, as one sequence of entries."""

    paths: tuple[Path, ...]
    sizes: tuple[int, ...]
    """The number of entries of each file."""
    names: tuple[str, ...]
    """The products to copy: `partroi_croi`."""
    foreign: tuple[str, ...] = ()
    """Classes whose members differ from those that are declared here, as in files of an older
    LArCV2. Their products can only be copied whole."""
    maps: tuple[str, ...] = ()
    """Products whose class is not declared here and has a split std::map: ROOT loses its elements
    when it copies them entry by entry."""
    classes: Mapping[str, int] = {}
    """The checksums of the files' classes, by name and version."""

    @property
    def entries(self) -> int:
        return sum(self.sizes)

    def locate(self, entry: int) -> tuple[Path, int]:
        """Return the file that holds an entry, and the entry's number in that file."""
        ends = list(accumulate(self.sizes))
        index = bisect_right(ends, entry)
        return self.paths[index], entry - (ends[index] - self.sizes[index])


def check_chosen(copied: Copied) -> None:
    """Raise `WriteError` if chosen entries of the products cannot be copied, but only all."""
    if copied.maps:
        raise WriteError(
            f"ROOT cannot copy chosen entries of {', '.join(few(copied.maps))} of"
            f" {copied.paths[0]}, which have maps, but only all entries: leave out --start and"
            " --end, or --copy-input"
        )
    if copied.foreign:
        raise WriteError(
            f"{copied.paths[0]} was written by another version of LArCV: its"
            f" {', '.join(few(copied.foreign))} has other members, so its products can be copied"
            " for all entries only: leave out --start and --end, or --copy-input"
        )


def few(names: Sequence[str]) -> list[str]:
    """Return the first names, and how many more there are."""
    return [*names[:3], f"and {len(names) - 3} more"] if len(names) > 3 else list(names)
