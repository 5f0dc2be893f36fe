"""Read a LArCV1 file with uproot, entry by entry. Refuses files that LArCV1 cannot have written.

Trees `image2d_<producer>_tree` (`larcv::EventImage2D`) and `partroi_<producer>_tree`
(`larcv::EventROI`), fully split. Writing is in `root_writer.py`.
"""

from __future__ import annotations

import lzma
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import numpy.typing as npt
import uproot

from ...errors import LArTPCError, ProductMissing, ReadError
from ...image import ROI, RSE, Image, ImageMeta, TickOrder
from .. import provenance_texts
from ..formats import open_regular
from ..reader import Product
from . import vectors
from .root_head import check_closed

_TREE = re.compile(r"([^_]+)_(.+)_tree")
_CLASSES = {"image2d": "larcv::EventImage2D", "partroi": "larcv::EventROI"}
_META = "_image_v._meta."
_LARCV2 = "_image_v._meta._p1.x"  # a branch that only LArCV2 writes
_KEPT_BYTES = 1 << 20
_SHOWN_KEYS = 10

# uproot checks little: on damaged bytes its parsers raise any of these
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    MemoryError,
    EOFError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    cramjam.DecompressionError,
    uproot.DeserializationError,
)


class Column:
    """One branch, read entry by entry as raw bytes; it holds at most one decompressed basket."""

    def __init__(self, branch: Any) -> None:
        self._branch = branch
        self._starts: list[int] = [int(start) for start in branch.entry_offsets]
        self._index = -1
        self._basket: Any = None

    def entry(self, entry: int) -> npt.NDArray[np.uint8]:
        index = int(np.searchsorted(self._starts, entry, side="right")) - 1
        if self._basket is None or index != self._index:
            self._basket, self._index = self._branch.basket(index), index
        basket = self._basket
        local = entry - self._starts[index]
        data = np.asarray(basket.data).view(np.uint8)
        if entry + 1 == self._starts[index + 1] and data.nbytes > _KEPT_BYTES:
            self._basket = None  # read to its end, and pixels are seldom needed twice
        offsets = basket.byte_offsets
        if offsets is None:
            size = len(data) // basket.num_entries
            return data[local * size : (local + 1) * size]
        return data[offsets[local] : offsets[local + 1]]

    def all_numbers(self, dtype: str) -> npt.NDArray[Any]:
        """Return the numbers of all entries, one per entry."""
        baskets = [self._branch.basket(index) for index in range(len(self._starts) - 1)]
        parts = [np.asarray(basket.data).view(np.uint8).view(dtype) for basket in baskets]
        return np.concatenate([np.empty(0, dtype), *parts])

    def numbers(self, entry: int, dtype: str) -> list[Any]:
        """Return the entry as a list of Python numbers."""
        values: list[Any] = self.entry(entry).view(dtype).tolist()
        return values


class _Tree:
    """The tree of a product: its columns by the names of LArCV1's members."""

    def __init__(self, tree: Any, kind: str) -> None:
        self.entries = int(tree.num_entries)
        top = tree.branches[0]
        got = top.member("fClassName", none_if_missing=True) or top.typename
        if got != _CLASSES[kind]:
            raise ReadError(f"want the class {_CLASSES[kind]}, got {got}")
        # ROOT puts the branch's name in front of its members' names if the producer has a dot
        self._branches = {
            branch.name.removeprefix(f"{top.name}."): branch
            for branch in top.itervalues(recursive=True)
        }
        self._columns: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._columns:
            if name not in self._branches:
                if _LARCV2 in self._branches:
                    raise ReadError("want LArCV1 or LArCV3, got LArCV2, which is not read yet")
                raise ReadError(f"want LArCV1's branch {name}, got {sorted(self._branches)}")
            self._columns[name] = Column(self._branches[name])
        return self._columns[name]


class LArCV1File:
    """An open file. Errors name the file, the entry (counted in this file) and the product."""

    STORES_TICK_ORDER = False

    def __init__(self, path: Path, tick_order: TickOrder) -> None:
        self.path = path
        self.tick_order = tick_order
        self._file = open_regular(path)
        self._trees: dict[str, _Tree] = {}
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
            tree = self._tree(kind, producer)
            return RSE(*(tree[f"_{name}"].numbers(entry, ">u8")[0] for name in RSE._fields))

    def rses(self, kind: str, producer: str) -> npt.NDArray[Any]:
        with self._reading(f" {kind}_{producer} events"):
            tree = self._tree(kind, producer)
            columns = [tree[f"_{name}"].all_numbers(">u8") for name in RSE._fields]
            return np.stack(columns, axis=1).astype(np.uint64)

    def metas(self, producer: str, entry: int) -> tuple[ImageMeta, ...]:
        with self._reading(f" entry {entry} image2d_{producer}"):
            return tuple(self._metas(self._tree("image2d", producer), entry))

    def images(self, producer: str, entry: int) -> tuple[Image, ...]:
        with self._reading(f" entry {entry} image2d_{producer}"):
            tree = self._tree("image2d", producer)
            metas = self._metas(tree, entry)
            sizes = [meta.rows * meta.cols for meta in metas]
            pixels = vectors.float_vectors(tree["_image_v._img"].entry(entry), sizes)
            # the pixels are column-major in the file and stay so in memory: to convert them takes
            # longer than to read them, and half of the callers do not need it
            return tuple(
                Image(meta, flat.reshape(meta.cols, meta.rows).T)
                for meta, flat in zip(metas, pixels, strict=True)
            )

    def rois(self, producer: str, entry: int) -> tuple[ROI, ...]:
        with self._reading(f" entry {entry} partroi_{producer}"):
            tree = self._tree("partroi", producer)
            indices = tree["_part_v._index"].numbers(entry, ">u2")
            mcsts = tree["_part_v._mcst_index"].numbers(entry, ">u2")
            boxes = vectors.boxes(tree["_part_v._bb_v"].entry(entry), len(indices))
            return tuple(
                ROI(tuple(ImageMeta(*box, tick_order=self.tick_order) for box in its), index, mcst)
                for its, index, mcst in zip(boxes, indices, mcsts, strict=True)
            )

    def provenance(self) -> tuple[str, ...]:
        with self._reading(f" {provenance_texts.NAME}"):
            if provenance_texts.NAME not in self._root:
                return ()
            texts = self._root[provenance_texts.NAME][provenance_texts.RECORD].array(library="np")
            return tuple(str(text) for text in texts)

    def _tree(self, kind: str, producer: str) -> _Tree:
        name = f"{kind}_{producer}"
        if name not in self._trees:
            self._check_any()
            key = self._keys.get((kind, producer))
            if key is None:
                others = [p for k, p in self._keys if k == kind]
                raise ProductMissing(f"want {name}, got only {kind} of {others or 'no producer'}")
            self._trees[name] = _Tree(self._root[key], kind)
        return self._trees[name]

    def _metas(self, tree: _Tree, entry: int) -> list[ImageMeta]:
        columns: list[list[Any]] = [
            tree[_META + name].numbers(entry, dtype)
            for name, dtype in (
                ("_width", ">f8"),
                ("_height", ">f8"),
                ("_row_count", ">u8"),
                ("_col_count", ">u8"),
                ("_origin.x", ">f8"),
                ("_origin.y", ">f8"),
                ("_plane", ">u2"),
            )
        ]
        return [
            ImageMeta(*vectors.Box(*numbers), self.tick_order)
            for numbers in zip(*columns, strict=True)
        ]

    @contextmanager
    def _reading(self, where: str) -> Iterator[None]:
        try:
            yield
        except ProductMissing as error:
            raise ProductMissing(f"{self.path}: {error}") from None
        except LArTPCError as error:
            raise ReadError(f"{self.path}{where}: {error}") from error
        except _DAMAGE as error:
            reason = (str(error).strip().splitlines() or [""])[0]
            raise ReadError(
                f"{self.path}{where}: damaged, or not LArCV1 ({type(error).__name__}: {reason})"
            ) from error


def _shown(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_KEYS
    return ", ".join(names[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")
