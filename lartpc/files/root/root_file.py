"""One ROOT file of LArCV1 or LArCV2, read with uproot, entry by entry.

Trees `KIND_PRODUCER_tree` with one fully split branch. Each tree tells by its members which of the
two wrote it: LArCV1 and LArCV2 use the same names of trees and classes. Refuses files that neither
can have written.
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
from ..formats import LARCV_NAMES, Format, open_regular
from ..names import region_names
from ..reader import Product
from . import larcv1_trees, larcv2_trees
from .columns import DAMAGE, Tree
from .root_head import check_closed

_TREE = re.compile(r"([^_]+)_(.+)_tree")
_LARCV2_MEMBER = "_image_v._meta._p1.x"  # a branch that only LArCV2 writes
_LARCV2_KINDS = {
    *(kind for kind in larcv2_trees.CLASSES if kind != "image2d"),
    *("sparse3d", "cluster3d", "neutrino", "bbox3d", "meta", "trigger", "opflash", "crthit"),
}
_SHOWN_KEYS = 10


class ROOTFile:
    """An open file. Errors name the file, the entry (counted in this file) and the product."""

    def __init__(self, path: Path, tick_order: TickOrder, overrules: bool = False) -> None:
        """`overrules`: LArCV2's rows have this order too, against the format's definition."""
        self.path = path
        self.tick_order = tick_order
        self._overrules = overrules
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
            return self._format(self._tree(kind, producer), kind)

    def product(self, kind: str, producer: str) -> Product:
        with self._reading(f" {kind}_{producer}"):
            tree = self._root[self._keys[kind, producer]]
            sizes = int(tree.num_entries), int(tree.compressed_bytes)
            its_format = self._format(Tree(tree), kind) if tree.branches else None
            return Product(kind, producer, *sizes, its_format)

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

    def metas(self, kind: str, producer: str, entry: int) -> tuple[ImageMeta, ...]:
        with self._reading(f" entry {entry} {kind}_{producer}"):
            tree = self._tree(kind, producer)
            if self._format(tree, kind) == "larcv1":
                return tuple(larcv1_trees.metas(tree, entry, self.tick_order))
            return tuple(larcv2_trees.metas(tree, kind, entry, self.tick_order))

    def images(self, kind: str, producer: str, entry: int) -> tuple[Image, ...]:
        with self._reading(f" entry {entry} {kind}_{producer}"):
            tree = self._tree(kind, producer)
            if self._format(tree, kind) == "larcv1":
                return larcv1_trees.images(tree, entry, self.tick_order)
            order, overruled = self.tick_order, self._overrules
            return larcv2_trees.images(tree, kind, entry, order, overruled=overruled)

    def rois(self, kind: str, producer: str, entry: int) -> tuple[ROI, ...]:
        with self._reading(f" entry {entry} {kind}_{producer}"):
            tree = self._tree(kind, producer)
            if self._format(tree, kind) == "larcv1":
                return larcv1_trees.rois(tree, entry, self.tick_order)
            return larcv2_trees.rois(tree, kind, entry, self.tick_order)

    def class_checksums(self) -> dict[str, int]:
        """Return the checksums of LArCV's classes in this file, by name and version.

        LArCV2 never raises a class's version, so only the checksums tell its layouts apart.
        """
        with self._reading(" classes"):
            return {
                f"{name} {version}": int(described.member("fCheckSum")) & 0xFFFFFFFF
                for name, versions in self._root.file.streamers.items()
                if name.startswith("larcv::")
                for version, described in versions.items()
            }

    def has_maps(self, kind: str, producer: str) -> bool:
        """Whether a product has a std::map that is split into branches."""
        with self._reading(f" {kind}_{producer}"):
            branches = self._root[self._keys[kind, producer]].itervalues(recursive=True)
            return any("map<" in branch.typename and branch.branches for branch in branches)

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
                got = f"{kind} of {others or 'no producer'}{self._regions(kind)}"
                raise ProductMissing(f"want {name}, got only {got}")
            tree = Tree(self._root[key])
            _check_class(tree, kind, self._format(tree, kind))
            self._trees[name] = tree
        return self._trees[name]

    def _format(self, tree: Tree, kind: str) -> Format:
        """Return the format of a tree; both formats have products like chstatus, which the other
        classes of the file decide."""
        if kind == "image2d":
            return "larcv2" if _LARCV2_MEMBER in tree else "larcv1"
        if kind in larcv1_trees.CLASSES or kind in _LARCV2_KINDS:
            return "larcv2" if kind in _LARCV2_KINDS else "larcv1"
        metas = self._root.file.streamers.get("larcv::ImageMeta", {})
        members = {member.name for described in metas.values() for member in described.elements}
        return "larcv2" if "larcv::BBox2D" in members else "larcv1"

    def _regions(self, kind: str) -> str:
        """Return the regions of LArCV2 that a file has, if those of LArCV1 are missing."""
        names = region_names(self._keys) if kind == "partroi" else ()
        return f"; regions of LArCV2: {', '.join(names)}" if names else ""

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


def _check_class(tree: Tree, kind: str, its_format: Format) -> None:
    """Raise `ReadError` unless the tree has the class of this kind."""
    classes = larcv1_trees.CLASSES if its_format == "larcv1" else larcv2_trees.CLASSES
    want = classes.get(kind)
    if want and tree.class_name != want:
        raise ReadError(f"want {LARCV_NAMES[its_format]}'s class {want}, got {tree.class_name}")
