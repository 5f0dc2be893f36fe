"""One ROOT file of LArCV1 or LArCV2, read with uproot, entry by entry.

Trees `KIND_PRODUCER_tree` with one fully split branch. Each tree tells by its members which of the
two wrote it: LArCV1 and LArCV2 use the same names of trees and classes. Refuses files that neither
can have written. Writing is in `root_sink.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt
import uproot

from ...errors import LArTPCError, ProductMissing, ReadError
from ...image import ROI, RSE, Image, ImageMeta, TickOrder
from .. import provenance_texts
from ..formats import Format, open_regular
from ..reader import Product
from . import larcv1_trees
from .columns import DAMAGE, Tree
from .root_head import check_closed

_TREE = re.compile(r"([^_]+)_(.+)_tree")
_LARCV2 = "_image_v._meta._p1.x"  # a branch that only LArCV2 writes
_SHOWN_KEYS = 10


class ROOTFile:
    """An open file. Errors name the file, the entry (counted in this file) and the product."""

    def __init__(self, path: Path, tick_order: TickOrder) -> None:
        self.path = path
        self.tick_order = tick_order
        self._file = open_regular(path)
        self._trees: dict[str, Tree] = {}
        try:
            with self._reading(""):
                check_closed(self._file, path)
                # not a path: uproot would map the file, and truncating it then kills the process
                self._root = uproot.open(self._file)
                classes = self._root.classnames(recursive=False, cycle=False)
        except BaseException:
            self._file.close()
            raise
        self._keys = {
            (match[1], match[2]): key
            for key, name in classes.items()
            if name == "TTree" and (match := _TREE.fullmatch(key))
        }

    def close(self) -> None:
        self._trees.clear()
        self._root.close()
        self._file.close()

    def names(self) -> tuple[tuple[str, str], ...]:
        with self._reading(""):
            self._check_any()
        return tuple(self._keys)

    def format(self, kind: str, producer: str) -> Format:
        with self._reading(f" {kind}_{producer}"):
            return _format(self._tree(kind, producer), kind)

    def product(self, kind: str, producer: str) -> Product:
        with self._reading(f" {kind}_{producer}"):
            tree = self._root[self._keys[kind, producer]]
            return Product(kind, producer, int(tree.num_entries), int(tree.compressed_bytes))

    def _check_any(self) -> None:
        """Raise `ProductMissing`, with what the file holds instead, if it has no product."""
        if self._keys:
            return
        classes = self._root.classnames(recursive=True, cycle=False)
        trees = [key for key, name in classes.items() if name == "TTree"]
        others = [f"{key} ({name})" for key, name in classes.items()]
        got = f"only the trees {_shown(trees)}" if trees else f"only {_shown(others)}"
        raise ProductMissing(
            "want LArCV products, as trees image2d_PRODUCER_tree at the top of the file,"
            f" got {got if others else 'an empty file'}"
        )

    def entries(self, kind: str, producer: str) -> int:
        with self._reading(f" {kind}_{producer}"):
            return self._tree(kind, producer).entries

    def rse(self, kind: str, producer: str, entry: int) -> RSE:
        with self._reading(f" entry {entry} {kind}_{producer}"):
            return self._tree(kind, producer).rse(entry)

    def rses(self, kind: str, producer: str) -> npt.NDArray[Any]:
        with self._reading(f" {kind}_{producer} events"):
            return self._tree(kind, producer).rses()

    def metas(self, producer: str, entry: int) -> tuple[ImageMeta, ...]:
        with self._reading(f" entry {entry} image2d_{producer}"):
            tree = self._tree("image2d", producer)
            return tuple(larcv1_trees.metas(tree, entry, self.tick_order))

    def images(self, producer: str, entry: int) -> tuple[Image, ...]:
        with self._reading(f" entry {entry} image2d_{producer}"):
            return larcv1_trees.images(self._tree("image2d", producer), entry, self.tick_order)

    def rois(self, producer: str, entry: int) -> tuple[ROI, ...]:
        with self._reading(f" entry {entry} partroi_{producer}"):
            return larcv1_trees.rois(self._tree("partroi", producer), entry, self.tick_order)

    def provenance(self) -> tuple[str, ...]:
        with self._reading(f" {provenance_texts.NAME}"):
            if provenance_texts.NAME not in self._root:
                return ()
            texts = self._root[provenance_texts.NAME][provenance_texts.RECORD].array(library="np")
            return tuple(str(text) for text in texts)

    def _tree(self, kind: str, producer: str) -> Tree:
        name = f"{kind}_{producer}"
        if name not in self._trees:
            self._check_any()
            key = self._keys.get((kind, producer))
            if key is None:
                others = [p for k, p in self._keys if k == kind]
                raise ProductMissing(f"want {name}, got only {kind} of {others or 'no producer'}")
            self._trees[name] = _checked(Tree(self._root[key]), kind)
        return self._trees[name]

    @contextmanager
    def _reading(self, where: str) -> Iterator[None]:
        try:
            yield
        except ProductMissing as error:
            raise ProductMissing(f"{self.path}: {error}") from None
        except LArTPCError as error:
            raise ReadError(f"{self.path}{where}: {error}") from error
        except DAMAGE as error:
            reason = (str(error).strip().splitlines() or [""])[0]
            raise ReadError(
                f"{self.path}{where}: damaged, or not LArCV ({type(error).__name__}: {reason})"
            ) from error


def _shown(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_KEYS
    return ", ".join(names[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")


def _format(tree: Tree, kind: str) -> Format:
    if kind not in larcv1_trees.CLASSES or _LARCV2 in tree:
        return "larcv2"
    return "larcv1"


def _checked(tree: Tree, kind: str) -> Tree:
    """Return the tree if it has the class of this kind. Raises `ReadError`."""
    want = larcv1_trees.CLASSES.get(kind)
    if want and tree.class_name != want:
        raise ReadError(f"want the class {want}, got {tree.class_name}")
    return tree
