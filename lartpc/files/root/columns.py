"""The tree of a product in a ROOT file, and its branches, read entry by entry with uproot.

uproot checks little: on damaged bytes its parsers raise any error in `DAMAGE`.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from typing import Any

import cramjam
import numpy as np
import numpy.typing as npt
import uproot

from ...errors import ReadError
from ...image import RSE

_KEPT_BYTES = 1 << 20

DAMAGE = (
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


class Tree:
    """The tree of a product: its columns by the names of the members of its class."""

    def __init__(self, tree: Any) -> None:
        self.entries = int(tree.num_entries)
        top = tree.branches[0]
        self.class_name = str(top.member("fClassName", none_if_missing=True) or top.typename)
        # ROOT puts the branch's name in front of its members' names if the producer has a dot
        self._branches = {
            branch.name.removeprefix(f"{top.name}."): branch
            for branch in top.itervalues(recursive=True)
        }
        self._columns: dict[str, Column] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._branches

    def __getitem__(self, name: str) -> Column:
        if name not in self._columns:
            if name not in self._branches:
                raise ReadError(f"want the branch {name}, got {sorted(self._branches)}")
            self._columns[name] = Column(self._branches[name])
        return self._columns[name]

    def rse(self, entry: int) -> RSE:
        return RSE(*(self[f"_{name}"].numbers(entry, ">u8")[0] for name in RSE._fields))

    def rses(self) -> npt.NDArray[np.uint64]:
        """Return the (run, subrun, event) of all entries: (entries, 3)."""
        columns = [self[f"_{name}"].all_numbers(">u8") for name in RSE._fields]
        return np.stack(columns, axis=1).astype(np.uint64)
