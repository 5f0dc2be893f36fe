"""Finds the products of inputs that can be copied into an output. Refuses what ROOT would spoil.

ROOT ends the process when it copies a tree of LArCV2 where LArCV1's classes are declared, and mixes
up classes of one name with different members.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ...errors import ReadError, WriteError
from ..formats import LARCV_NAMES, Format, container_of
from ..reader import Product, Reader, all_products
from ..root_writing.copied import Copied, few
from ..root_writing.declared import EVENTS, declared_classes
from .root_file import ROOTFile


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
            f"want inputs of one version of LArCV to copy, but {', '.join(few(odd))} have other"
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
