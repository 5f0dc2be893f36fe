"""One LArCV3 file (HDF5), read and written with h5py. Refuses products other than 2D images.

LArCV3 defines the order of rows: the origin is the bottom left corner and row 0 is the smallest
tick. So every image is stored tick-forward, and is turned to the reader's tick order when read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from . import provenance
from .errors import ImageError, LArTPCError, ProductMissing, ReadError, WriteError
from .files import products
from .image import ROI, RSE, Event, Image, ImageMeta, TickOrder
from .larcv3_extents import check_apart
from .quiet_file import QuietFile
from .reader import Product, Reader
from .writer import Sink, writing

# larcv3's C++ structs, with their padding; axis 0 is the rows
EXTENTS = np.dtype([("first", "<u8"), ("N", "<u4")], align=True)
IMAGE_EXTENTS = np.dtype([("first", "<u8"), ("N", "<u4"), ("ID", "<u4")], align=True)
IMAGE_META = np.dtype(
    {
        "names": ["valid", "projection_id", "image_sizes", "number_of_voxels", "origin"],
        "formats": ["u1", "<u8", ("<f8", (2,)), ("<u8", (2,)), ("<f8", (2,))],  # ticks, wires
        "offsets": [0, 8, 16, 32, 48],
        "itemsize": 72,
    }
)
EVENT_ID = np.dtype([("run", "<i8"), ("subrun", "<i8"), ("event", "<i8")])
PIXELS = np.dtype("<f4")

_EVENTS = "Events/event_id"
_DATASETS = ("extents", "image_extents", "image_meta", "images")
_CACHE_BYTES = 32 << 20  # several compressed chunks: an event rarely ends where a chunk ends
_MAX_CHUNK = 1 << 22  # pixels
_BLOCK = 1 << 22  # rows that are copied at once when parts are joined
_MAX_ENTRIES_A_BYTE = 64  # an entry has 40 bytes or more; zlib expands a byte to 1032 at most
COPIES_AT_END = False  # an input's other products are written with each event
MAX_IMAGES = 1 << 16
"""The most images of a product in one entry; a file of a few kB can claim any number."""
MAX_PIXELS = 1 << 28
"""The most pixels of a product in one entry: 1 GiB. ROOT cannot hold as many in one."""
MAX_NUMBER = (1 << 63) - 1
"""The largest run, subrun or event: larcv3's numbers are signed."""
_USHORT_MAX = 65535
_DAMAGE = (OSError, ValueError, TypeError, LookupError, RuntimeError, MemoryError, AttributeError)


def open_file(path: Path, tick_order: TickOrder) -> LArCV3File:
    """Open a file to read, for `lartpc.files`."""
    return LArCV3File(path, tick_order)


def open_sink(
    part: Path, copy_input: Reader | None, images: tuple[str, ...], rois: tuple[str, ...]
) -> Sink:
    """Open a file to write, for `lartpc.files`. Raises `WriteError` for ROIs."""
    if rois:
        raise WriteError(f"want a LArCV1 file (.root) for ROIs, LArCV3 holds none: {rois}")
    return HDF5Sink(part, copy_input, images)


def check_copied(source: Reader) -> None:
    """Raise `WriteError` unless all other products of the inputs can be copied."""
    _all_images(source)


def append_provenance(path: Path, records: Sequence[str]) -> None:
    """Add records, for `lartpc.provenance`. Raises `WriteError`."""
    if any("\0" in record for record in records):
        raise WriteError(f"want provenance without NUL characters in {path}: HDF5 holds none")
    part = QuietFile(path)
    with writing(str(path)):
        with part.first_error(), h5py.File(part, "r+") as file:
            dataset = _provenance_dataset(file)
            count = len(dataset)
            dataset.resize(count + len(records), axis=0)
            dataset[count:] = list(records)
        part.close()
        part.check()


def _provenance_dataset(file: Any) -> Any:
    dataset = file.get(provenance.NAME)
    if dataset is None:
        text = h5py.string_dtype()
        return file.create_dataset(provenance.NAME, (0,), text, maxshape=(None,), chunks=(16,))
    is_dataset = isinstance(dataset, h5py.Dataset) and dataset.maxshape == (None,)
    if not is_dataset or h5py.check_string_dtype(dataset.dtype) is None:
        raise WriteError(f"want a dataset of texts as {provenance.NAME}, got {dataset}")
    return dataset


class LArCV3File:
    """An open file. Errors name the file, the entry (counted in this file) and the product."""

    STORES_TICK_ORDER = True

    def __init__(self, path: Path, tick_order: TickOrder) -> None:
        self.path = path
        self.tick_order = tick_order
        with self._reading(""), _opening():
            self._file = h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES)
        with self._reading(""):
            missing = [name for name in (_EVENTS, "Data") if name not in self._file]
        if missing:
            self._file.close()
            raise ReadError(f"{path}: want LArCV3's {_EVENTS} and Data, got no {missing}")
        self._open: dict[str, dict[str, Any]] = {}  # datasets, by product

    def close(self) -> None:
        self._open.clear()
        self._file.close()

    @cached_property
    def _events(self) -> Any:
        return self._file[_EVENTS]

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

    def product(self, kind: str, producer: str) -> Product:
        with self._reading(f" {kind}_{producer}"):
            columns = self._datasets(kind, producer, ("extents",))
            stored = sum(dataset.id.get_storage_size() for dataset in columns.values())
            return Product(kind, producer, len(columns["extents"]), stored)

    def entries(self, kind: str, producer: str) -> int:
        with self._reading(f" {kind}_{producer}"):
            columns = self._columns(kind, producer)
            count, events = len(columns["extents"]), len(self._events)
            if count != events:
                raise ReadError(f"want {events} entries, as in {_EVENTS}, got {count}")
            self._check_claim(count)
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
        with self._reading(f" entry {entry} {_EVENTS}"):
            return RSE(*(int(number) for number in self._events[entry]))

    def rses(self, kind: str, producer: str) -> npt.NDArray[Any]:
        with self._reading(f" {_EVENTS}"):
            rows = self._events[:]
            return np.stack([rows[name] for name in rows.dtype.names[:3]], axis=1)

    def metas(self, producer: str, entry: int) -> tuple[ImageMeta, ...]:
        with self._reading(f" entry {entry} image2d_{producer}"):
            columns = self._columns("image2d", producer)
            first, count = (int(number) for number in columns["extents"][entry])
            rows = _rows(columns["image_meta"], first, count)
            return tuple(_meta(row).in_order(self.tick_order) for row in rows)

    def images(self, producer: str, entry: int) -> tuple[Image, ...]:
        with self._reading(f" entry {entry} image2d_{producer}"):
            columns = self._columns("image2d", producer)
            first, count = (int(number) for number in columns["extents"][entry])
            _check_size(count, 0)
            extents = _rows(columns["image_extents"], first, count)
            metas = _rows(columns["image_meta"], first, count)
            _check_size(count, int(extents["N"].sum(dtype=np.uint64)))
            return tuple(
                _image(columns["images"], extent, _meta(meta)).in_order(self.tick_order)
                for extent, meta in zip(extents, metas, strict=True)
            )

    def rois(self, producer: str, entry: int) -> tuple[ROI, ...]:
        raise ProductMissing(f"{self.path}: want partroi_{producer}, LArCV3 files hold no ROIs")

    def provenance(self) -> tuple[str, ...]:
        with self._reading(f" {provenance.NAME}"):
            if provenance.NAME not in self._file:
                return ()
            return tuple(self._file[provenance.NAME].asstr()[:])

    def _columns(self, kind: str, producer: str) -> dict[str, Any]:
        name = f"{kind}_{producer}"
        if name not in self._open:
            if f"{name}_group" not in self._file["Data"]:
                others = [other for its_kind, other in self.names() if its_kind == kind]
                raise ProductMissing(f"want {name}, got only {kind} of {others or 'no producer'}")
            self._open[name] = self._datasets(kind, producer, _DATASETS)
        return self._open[name]

    def _datasets(self, kind: str, producer: str, wanted: Sequence[str]) -> dict[str, Any]:
        """Return a product's datasets by name. Raises `ReadError` if a wanted one is missing."""
        group = self._file["Data"][f"{kind}_{producer}_group"]
        columns = {name: item for name, item in group.items() if isinstance(item, h5py.Dataset)}
        missing = [name for name in wanted if name not in columns]
        if missing:
            got = sorted(columns) or "none"
            raise ReadError(f"want LArCV3's datasets {list(wanted)} in its group, got {got}")
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


def _meta_row(meta: ImageMeta) -> tuple[Any, ...]:
    sizes, voxels = (meta.height, meta.width), (meta.rows, meta.cols)
    return (1, meta.plane, sizes, voxels, (meta.origin_y, meta.origin_x))


class HDF5Sink:
    """Writes events to `part`. A producer's group is created at its first event."""

    def __init__(self, part: Path, copy_input: Reader | None, images: tuple[str, ...]) -> None:
        # the input's other images are read and written like the event's images, entry by entry
        self._copied = _all_images(copy_input) if copy_input else None
        self._part = QuietFile(part)
        self._groups: dict[str, _Group] = {}
        self._joined: dict[str, _Group] = {}  # the groups that `append` created
        with self._part.first_error():
            self._file = h5py.File(self._part, "w", rdcc_nbytes=_CACHE_BYTES)
            self._file.create_group("Data")
            self._events = _Column(self._file, _EVENTS, EVENT_ID, 1000)
            for producer in images:
                self._group(producer, ())
            self._file.flush()  # so that a disk that is full already raises here
        if self._part.failed:
            self.close()

    def write(self, event: Event, entry: int | None) -> None:
        _check(event)
        images = dict(event.images)
        if self._copied is not None and entry is not None:
            images = {**self._copied.images_at(entry, without=images), **images}
        with self._part.first_error():
            for producer, several in images.items():
                forward = [image.in_order("forward") for image in several]
                self._group(producer, forward).append(forward)
            self._events.append(np.array([tuple(event.rse)], EVENT_ID))
        self._part.check()

    def append(self, parts: Sequence[Path], entries: Sequence[int]) -> int:
        """Append all datasets of complete part files; returns the number of entries."""
        for part in parts:
            with (
                self._part.first_error(),
                h5py.File(part, "r", rdcc_nbytes=_CACHE_BYTES) as source,
            ):
                _check_part(source, part)
                self._events.extend(source[_EVENTS])
                for name, group in source["Data"].items():
                    if name not in self._joined:
                        target = self._file["Data"].create_group(name)
                        self._joined[name] = _Group(target, group["images"].chunks[0])
                    self._joined[name].extend(group)
            self._part.check()
        return self._events.length

    def close(self) -> None:
        self.abort()
        self._part.check()

    def abort(self) -> None:
        if self._copied is not None:
            self._copied.close()
        try:
            with self._part.first_error():
                self._file.close()
        finally:
            self._part.close()

    def _group(self, producer: str, images: Sequence[Image]) -> _Group:
        if producer not in self._groups:
            group = self._file["Data"].create_group(f"image2d_{producer}_group")
            pixels = max((image.pixels.size for image in images), default=1 << 16)
            self._groups[producer] = _Group(group, min(max(pixels, 1024), _MAX_CHUNK))
        return self._groups[producer]


def _check_part(source: Any, part: Path) -> None:
    """Raise `ReadError` unless a part has every dataset that `HDF5Sink.append` reads."""
    groups = [f"Data/{name}" for name in source.get("Data", ())]
    wanted = [_EVENTS, *(f"{group}/{name}" for group in groups for name in _DATASETS)]
    missing = [name for name in wanted if not isinstance(source.get(name), h5py.Dataset)]
    if missing:
        raise ReadError(f"want every dataset in the part {part}, got no {missing}")


def _check(event: Event) -> None:
    """Raise `ImageError` for an event that LArCV3 cannot hold, or that we could not read again."""
    if any(event.rois.values()):
        raise ImageError(f"want a LArCV1 file (.root) for ROIs, got {list(event.rois)}")
    if not all(0 <= number <= MAX_NUMBER for number in event.rse):
        raise ImageError(
            f"want (run, subrun, event) from 0 to {MAX_NUMBER}, got {tuple(event.rse)}"
        )
    for producer, images in event.images.items():
        planes = [image.meta.plane for image in images]
        if max(planes, default=0) > _USHORT_MAX:
            raise ImageError(
                f"want planes from 0 to {_USHORT_MAX}, got {max(planes)} in {producer}"
            )
        pixels = sum(image.pixels.size for image in images)
        if len(images) > MAX_IMAGES or pixels > MAX_PIXELS:
            raise ImageError(
                f"want at most {MAX_IMAGES} images of {MAX_PIXELS} pixels together,"
                f" got {len(images)} of {pixels} in {producer}"
            )


class _Group:
    """The four datasets of a producer."""

    def __init__(self, group: Any, chunk: int) -> None:
        """`chunk`: the number of pixels that are compressed together."""
        self.extents = _Column(group, "extents", EXTENTS, 1000)
        self.image_extents = _Column(group, "image_extents", IMAGE_EXTENTS, 1000)
        self.image_meta = _Column(group, "image_meta", IMAGE_META, 1000)
        self.images = _Column(group, "images", PIXELS, chunk)

    def append(self, images: Sequence[Image]) -> None:
        self.extents.append(np.array([(self.image_meta.length, len(images))], EXTENTS))
        sizes = [image.pixels.size for image in images]
        starts = self.images.length + np.cumsum([0, *sizes])[:-1]
        rows = list(zip(starts.tolist(), sizes, range(len(images)), strict=True))
        self.image_extents.append(np.array(rows, IMAGE_EXTENTS))
        self.image_meta.append(np.array([_meta_row(image.meta) for image in images], IMAGE_META))
        for image in images:
            self.images.append(np.ascontiguousarray(image.pixels).reshape(-1))

    def extend(self, group: Any) -> None:
        """Append another file's group; the starts in its extents are moved behind our rows."""
        extents, image_extents = group["extents"][:], group["image_extents"][:]
        extents["first"] += self.image_meta.length
        image_extents["first"] += self.images.length
        self.extents.append(extents)
        self.image_extents.append(image_extents)
        self.image_meta.extend(group["image_meta"])
        self.images.extend(group["images"])


class _Column:
    """A dataset that grows. `length` is stored here because asking HDF5 for it is slow."""

    def __init__(self, group: Any, name: str, dtype: npt.DTypeLike, chunk: int) -> None:
        self.length = 0
        self._chunk = chunk
        self._dataset = group.create_dataset(
            name,
            (0,),
            dtype,
            maxshape=(None,),
            chunks=(chunk,),
            compression="gzip",
            compression_opts=1,
        )

    def append(self, rows: npt.NDArray[Any]) -> None:
        if len(rows):
            start = self._grow(len(rows))
            self._dataset[start : self.length] = rows

    def extend(self, source: Any) -> None:
        """Append another file's dataset. Chunks that fit are copied without decompressing them."""
        start, rows = self._grow(len(source)), len(source)
        fits = start % self._chunk == 0 and source.chunks == (self._chunk,)
        whole = rows - rows % self._chunk if fits else 0
        for at in range(0, whole, self._chunk):
            mask, packed = source.id.read_direct_chunk((at,))
            self._dataset.id.write_direct_chunk((start + at,), packed, mask)
        for at in range(whole, rows, _BLOCK):
            block = source[at : at + _BLOCK]
            self._dataset[start + at : start + at + len(block)] = block

    def _grow(self, rows: int) -> int:
        """Add rows at the end; returns the number of the first one."""
        start, self.length = self.length, self.length + rows
        self._dataset.resize(self.length, axis=0)
        return start


def _all_images(source: Reader) -> Reader:
    present = products(source.paths[0])
    other = sorted({product.name for product in present if product.kind != "image2d"})
    if other:
        raise WriteError(f"want only images to copy into LArCV3, got {other} too")
    return source.again(images=[product.producer for product in present], rois=())
