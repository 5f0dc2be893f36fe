"""The products of the input that are copied into an output, entry by entry.

Refuses inputs of another format than the output's: ROOT ends the process when it copies a tree of
LArCV2 where LArCV1's classes are declared.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from ....errors import ReadError, WriteError
from ...formats import LARCV_NAMES, Format
from ...reader import Reader


class Copied(NamedTuple):
    """Products of several files, as one sequence of entries."""

    paths: tuple[Path, ...]
    sizes: tuple[int, ...]
    """The number of entries of each file."""
    names: tuple[str, ...]
    """The products to copy: `partroi_croi`."""

    @property
    def entries(self) -> int:
        return sum(self.sizes)

    def locate(self, entry: int) -> tuple[Path, int]:
        """Return the file that holds an entry, and the entry's number in that file."""
        ends = list(accumulate(self.sizes))
        index = bisect_right(ends, entry)
        return self.paths[index], entry - (ends[index] - self.sizes[index])


def products_to_copy(source: Reader, format: Format) -> Copied:
    """Return the products of a reader's files: those of the first file, which every file must have.

    Raises `WriteError` for files of another format, and `ReadError` if the files differ.
    """
    _check_format(source, format)
    names = tuple(product.name for product in source.products(0))
    for number, (path, size) in enumerate(zip(source.paths, source.sizes, strict=True)):
        counts = {product.name: product.entries for product in source.products(number)}
        if set(counts) != set(names):
            odd = sorted(set(counts) ^ set(names))
            raise ReadError(f"want the same products in all inputs, {odd} are not in all: {path}")
        wrong = {name: count for name, count in counts.items() if count != size}
        if wrong:
            raise ReadError(f"want {size} entries of each product in {path}, got {wrong}")
    return Copied(source.paths, source.sizes, names)


def _check_format(source: Reader, format: Format) -> None:
    other = [
        f"{path} ({LARCV_NAMES[its]})"
        for path, its in zip(source.paths, source.formats, strict=True)
        if its != format
    ]
    if other:
        want = LARCV_NAMES[format]
        raise WriteError(
            f"want only {want} files to copy into a {want} file, got {', '.join(_few(other))}:"
            " leave --copy-input out, or write that format (--format)"
        )


def _few(names: Sequence[str]) -> list[str]:
    return [*names[:3], f"and {len(names) - 3} more"] if len(names) > 3 else list(names)
