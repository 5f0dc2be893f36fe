"""The products of the input that are copied into an output, entry by entry.

Refuses inputs of another format than the output's: ROOT ends the process when it copies a tree of
LArCV2 where LArCV1's classes are declared.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from ....errors import ReadError, WriteError
from ...formats import LARCV_NAMES, Format, container_of
from ...reader import Product, Reader, all_products
from ..root_file import ROOTFile
from .declared import EVENTS, declared_classes


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


def products_to_copy(source: Reader, format: Format) -> Copied:
    """Return the products of a reader's files: those of the first file, which every file must have.

    Raises `WriteError` for files of another format, and `ReadError` if the files differ.
    """
    if format == "larcv2" and source.overrules:
        raise WriteError(
            f"--tick-order {source.tick_order} overrules the rows of LArCV2 for {source.paths[0]}:"
            " its images would be copied with their rows the other way round than the new ones;"
            " leave --copy-input out"
        )
    names: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    first: dict[str, int] = {}
    every: dict[str, int] = {}
    for path, size in zip(source.paths, source.sizes, strict=True):
        _check_container(path, format)
        with closing(ROOTFile(path, "backward")) as file:
            products, classes = all_products(file), file.class_checksums()
            maps = maps or tuple(
                product.name
                for product in products
                if product.kind not in EVENTS[format] and file.has_maps(*product[:2])
            )
        names, first = names or tuple(product.name for product in products), first or classes
        _check_formats(path, products, format)
        every |= classes
        _check_classes(path, classes, source.paths[0], first)
        counts = {product.name: product.entries for product in products}
        if set(counts) != set(names):
            odd = sorted(set(counts) ^ set(names))
            raise ReadError(f"want the same products in all inputs, {odd} are not in all: {path}")
        wrong = {name: count for name, count in counts.items() if count != size}
        if wrong:
            raise ReadError(f"want {size} entries of each product in {path}, got {wrong}")
    known = declared_classes(format)
    foreign = [name for name in every.keys() & known.keys() if every[name] != known[name]]
    return Copied(source.paths, source.sizes, names, tuple(sorted(foreign)), maps, every)


def check_chosen(copied: Copied) -> None:
    """Raise `WriteError` if chosen entries of the products cannot be copied, but only all."""
    if copied.maps:
        raise WriteError(
            f"ROOT cannot copy chosen entries of {', '.join(_few(copied.maps))} of"
            f" {copied.paths[0]}, which have maps, but only all entries: leave out --start and"
            " --end, or --copy-input"
        )
    if copied.foreign:
        raise WriteError(
            f"{copied.paths[0]} was written by another version of LArCV: its"
            f" {', '.join(_few(copied.foreign))} has other members, so its products can be copied"
            " for all entries only: leave out --start and --end, or --copy-input"
        )


def _check_container(path: Path, format: Format) -> None:
    if container_of(path) != "root":
        want = LARCV_NAMES[format]
        raise WriteError(
            f"want only {want} files to copy into a {want} file, got {path}: leave --copy-input out"
        )


def _check_classes(
    path: Path, classes: dict[str, int], first_path: Path, first: dict[str, int]
) -> None:
    """Refuse classes of one name and version with different members, which ROOT mixes up."""
    odd = sorted(name for name in classes.keys() & first.keys() if classes[name] != first[name])
    if odd:
        raise WriteError(
            f"want inputs of one version of LArCV to copy, but {', '.join(_few(odd))} have other"
            f" members in {path} than in {first_path}: leave --copy-input out, or write one output"
            " for each version"
        )


def _check_formats(path: Path, products: Sequence[Product], format: Format) -> None:
    for product in products:
        if product.format not in (None, format):
            got, want = LARCV_NAMES[product.format], LARCV_NAMES[format]
            raise WriteError(
                f"want only products of {want} to copy into a {want} file, got {product.name} of"
                f" {path}, which is {got}: leave --copy-input out, or write {got} (--format)"
            )


def _few(names: Sequence[str]) -> list[str]:
    return [*names[:3], f"and {len(names) - 3} more"] if len(names) > 3 else list(names)
