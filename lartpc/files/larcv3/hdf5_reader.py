"""One LArCV3 file (HDF5), read with h5py. Refuses products other than 2D images.

LArCV3 defines the order of rows: the origin is the bottom left corner and row 0 is the smallest
tick. So every image is stored tick-forward, and is turned to the reader's tick order when read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ...errors import LArTPCError, ProductMissing, ReadError
from ...image import ROI, RSE, Image, ImageMeta, TickOrder
from .. import provenance_texts
from ..formats import Format
from ..reader import Product
from .extents import check_apart
from .layout import CACHE_BYTES, DATASETS, EVENTS, MAX_IMAGES, MAX_PIXELS, NO_PLANE, PIXELS

_MAX_ENTRIES_A_BYTE = 64  # an entry has 40 bytes or more; zlib expands a byte to 1032 at most
_IMAGES_ONLY = "of LArCV3 only image2d is read"
_DAMAGE = (OSError, ValueError, TypeError, LookupError, RuntimeError, MemoryError, AttributeError)


class LArCV3File:
    """An open file. Errors name the file, the entry (counted in this file) and the product."""

    def __init__(self, path: Path, tick_order: TickOrder) -> None:
        self.path = path
        self.tick_order = tick_order
        with self._reading(""), _opening():
            self._file = h5py.File(path, "r", rdcc_nbytes=CACHE_BYTES)
        with self._reading(""):
            missing = [name for name in (EVENTS, "Data") if name not in self._file]
        if missing:
            self._file.close()
            raise ReadError(f"{path}: want LArCV3's {EVENTS} and Data, got no {missing}")
        self._open: dict[str, dict[str, Any]] = {}  # datasets, by product

    def close(self) -> None:
        self._open.clear()
        self._file.close()

    @cached_property
    def _events(self) -> Any:
        return self._file[EVENTS]

    def names(self) -> tuple[tuple[str, str], ...]:
        with self._reading(""):
            groups = [name for name in self._file["Data"] if name.endswith("_group")]
            if not groups:
                raise ProductMissing(
                    "want LArCV3 products, as groups Data/image2d_PRODUCER_group,"
                    f" got {list(self._file['Data']) or 'nothing'} in Data"
                )
        parts = (name.removesuffix("_group").partition("_") for name in groups)
        return tuple((kind, producer) for kind, _, producer in parts)

    def format(self, kind: str, producer: str) -> Format:
        return "larcv3"

    def product(self, kind: str, producer: str) -> Product:
        with self._reading(f" {kind}_{producer}"):
            columns = self._datasets(kind, producer, ("extents",))
            stored = sum(dataset.id.get_storage_size() for dataset in columns.values())
            return Product(kind, producer, len(columns["extents"]), stored, "larcv3")

    def entries(self, kind: str, producer: str) -> int:
        with self._reading(f" {kind}_{producer}"):
            columns = self._columns(kind, producer)
            count, events = len(columns["extents"]), len(self._events)
            if count != events:
                raise ReadError(f"want {events} entries, as in {EVENTS}, got {count}")
            self._check_claim(count)
            _check_stored(columns)
            check_apart(columns, max_images=MAX_IMAGES, max_pixels=MAX_PIXELS)
        return count

    def _check_claim(self, entries: int) -> None:
        """Raise `ReadError` for more entries than the file's bytes can hold.

        A file of a few kB can claim any number of entries, which would take years to read.
        """
        size = self.path.stat().st_size
        if entries > size * _MAX_ENTRIES_A_BYTE:
            raise ReadError(f"want no more entries than {size} bytes can hold, got {entries}")

    def rse(self, kind: str, producer: str, entry: int) -> RSE:
        with self._reading(f" entry {entry} {EVENTS}"):
            return RSE(*(int(number) for number in self._events[entry]))

    def rses(self, kind: str, producer: str) -> npt.NDArray[Any]:
        with self._reading(f" {EVENTS}"):
            rows = self._events[:]
            return np.stack([rows[name] for name in rows.dtype.names[:3]], axis=1)

    def metas(self, kind: str, producer: str, entry: int) -> tuple[ImageMeta, ...]:
        with self._reading(f" entry {entry} {kind}_{producer}"):
            columns = self._columns(kind, producer)
            first, count = (int(number) for number in columns["extents"][entry])
            rows = _rows(columns["image_meta"], first, count)
            metas = () if _is_empty(rows) else map(_meta, rows)
            return tuple(meta.in_order(self.tick_order) for meta in metas)

    def images(self, kind: str, producer: str, entry: int) -> tuple[Image, ...]:
        with self._reading(f" entry {entry} {kind}_{producer}"):
            columns = self._columns(kind, producer)
            first, count = (int(number) for number in columns["extents"][entry])
            _check_size(count, 0)
            extents = _rows(columns["image_extents"], first, count)
            metas = _rows(columns["image_meta"], first, count)
            _check_size(count, int(extents["N"].sum(dtype=np.uint64)))
            if _is_empty(metas):
                return ()
            return tuple(
                _image(columns["images"], extent, _meta(meta)).in_order(self.tick_order)
                for extent, meta in zip(extents, metas, strict=True)
            )

    def rois(self, kind: str, producer: str, entry: int) -> tuple[ROI, ...]:
        raise ProductMissing(f"{self.path}: want {kind}_{producer}, got LArCV3: {_IMAGES_ONLY}")

    def provenance(self) -> tuple[str, ...]:
        with self._reading(f" {provenance_texts.NAME}"):
            if provenance_texts.NAME not in self._file:
                return ()
            return tuple(self._file[provenance_texts.NAME].asstr()[:])

    def _columns(self, kind: str, producer: str) -> dict[str, Any]:
        name = f"{kind}_{producer}"
        if kind != "image2d":
            raise ProductMissing(f"want {name}, got LArCV3: {_IMAGES_ONLY}")
        if name not in self._open:
            if f"{name}_group" not in self._file["Data"]:
                others = [other for its_kind, other in self.names() if its_kind == kind]
                raise ProductMissing(f"want {name}, got only {kind} of {others or 'no producer'}")
            self._open[name] = self._all_datasets(kind, producer)
        return self._open[name]

    def _all_datasets(self, kind: str, producer: str) -> dict[str, Any]:
        columns = self._datasets(kind, producer, ("extents",))
        if "images" not in columns and not len(columns.get("image_meta", "?")):
            # larcv3 creates `images` with the first image of a producer, which is never written
            columns["images"] = np.empty(0, PIXELS)
        _check_has(columns, DATASETS)
        return columns

    def _datasets(self, kind: str, producer: str, wanted: Sequence[str]) -> dict[str, Any]:
        """Return a product's datasets by name. Raises `ReadError` if a wanted one is missing."""
        group = self._file["Data"][f"{kind}_{producer}_group"]
        columns = {name: item for name, item in group.items() if isinstance(item, h5py.Dataset)}
        _check_has(columns, wanted)
        return columns

    @contextmanager
    def _reading(self, where: str) -> Iterator[None]:
        try:
            yield
        except ProductMissing as error:
            raise ProductMissing(f"{self.path}: {error}") from None
        except LArTPCError as error:
            raise ReadError(f"{self.path}{where}: {error}") from error
        except _DAMAGE as error:
            raise ReadError(
                f"{self.path}{where}: damaged, or not LArCV3 ({type(error).__name__}: {error})"
            ) from error


@contextmanager
def _opening() -> Iterator[None]:
    """Raise a `ReadError` with the reason if the file is being written or was not closed."""
    try:
        yield
    except OSError as error:
        reason = _why_not_opened(error)
        if reason is None:
            raise
        raise ReadError(reason) from error


def _why_not_opened(error: OSError) -> str | None:
    if isinstance(error, BlockingIOError):
        return "another process holds it open for writing: wait until it has closed the file"
    if "already open for write" in str(error):
        return (
            "is open for writing, or was not closed by its writer; if no process writes it,"
            " HDF5 may recover it: h5clear -s FILE"
        )
    if "truncated file" in str(error):
        return f"was cut short, or not closed by its writer ({error})"
    return None


def _check_size(images: int, pixels: int) -> None:
    if images > MAX_IMAGES or pixels > MAX_PIXELS:
        raise ReadError(
            f"want at most {MAX_IMAGES} images of {MAX_PIXELS} pixels together in an entry,"
            f" got {images} of {pixels}"
        )


def _check_has(columns: Mapping[str, Any], wanted: Sequence[str]) -> None:
    if any(name not in columns for name in wanted):
        got = sorted(columns) or "none"
        raise ReadError(f"want LArCV3's datasets {list(wanted)} in its group, got {got}")


def _check_stored(columns: Mapping[str, Any]) -> None:
    """Raise `ReadError` if larcv3 lost all pixels of the product."""
    if len(columns["images"]) or not len(columns["image_extents"]):
        return
    pixels = int(columns["image_extents"][:MAX_IMAGES]["N"].sum(dtype=np.uint64))
    if pixels:
        raise ReadError(
            f"want {pixels} pixels or more in images, got none: larcv3 loses all pixels of a"
            " product whose first entry has no images, so write the file again from an entry"
            " with images on"
        )


def _is_empty(metas: npt.NDArray[Any]) -> bool:
    """Return whether the only image of an entry stands for "no images" (`NO_PLANE`)."""
    return len(metas) == 1 and int(metas[0]["projection_id"]) == NO_PLANE


def _image(pixels: Any, extent: Any, meta: ImageMeta) -> Image:
    first, count = int(extent["first"]), int(extent["N"])
    if count != meta.rows * meta.cols:
        raise ReadError(f"want {meta.rows} x {meta.cols} pixels, as in the meta, got {count}")
    if pixels.dtype.newbyteorder("=") != np.float32:
        raise ReadError(f"want float32 pixels, as larcv3 writes, got {pixels.dtype}")
    flat = _rows(pixels, first, count).astype(np.float32, copy=False)
    return Image(meta, flat.reshape(meta.rows, meta.cols))


def _rows(dataset: Any, first: int, count: int) -> npt.NDArray[Any]:
    if first + count > len(dataset):  # h5py would return fewer rows without an error
        raise ReadError(f"want {first + count} rows in {dataset.name}, got {len(dataset)}")
    rows: npt.NDArray[Any] = dataset[first : first + count]
    return rows


def _meta(row: Any) -> ImageMeta:
    if not row["valid"]:  # larcv3 cannot read it: ImageMeta::total_voxels throws
        raise ReadError("want image_meta.valid = 1, got 0: LArCV3 refuses such an image too")
    (height, width), (rows, cols) = row["image_sizes"].tolist(), row["number_of_voxels"].tolist()
    y, x = row["origin"].tolist()
    return ImageMeta(width, height, rows, cols, x, y, int(row["projection_id"]), "forward")
