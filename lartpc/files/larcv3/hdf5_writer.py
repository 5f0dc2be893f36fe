"""One LArCV3 file (HDF5), written with h5py. Refuses ROIs and numbers that LArCV3 cannot hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ...errors import ImageError, ReadError, WriteError
from ...image import Event, Image, ImageMeta
from .. import provenance_texts
from ..reader import Reader
from ..writer import OnPart, writing
from .layout import (
    CACHE_BYTES,
    DATASETS,
    EVENT_ID,
    EVENTS,
    EXTENTS,
    IMAGE_EXTENTS,
    IMAGE_META,
    MAX_IMAGES,
    MAX_NUMBER,
    MAX_PIXELS,
    NO_PLANE,
    PIXELS,
)
from .quiet_file import QuietFile

_MAX_CHUNK = 1 << 22  # pixels
_BLOCK = 1 << 22  # rows that are copied at once when parts are joined
_USHORT_MAX = 65535
_NO_IMAGE = Image(ImageMeta(0, 0, 0, 0, 0, 0, NO_PLANE, "forward"), np.empty((0, 0), np.float32))


def _meta_row(meta: ImageMeta) -> tuple[Any, ...]:
    sizes, voxels = (meta.height, meta.width), (meta.rows, meta.cols)
    return (1, meta.plane, sizes, voxels, (meta.origin_y, meta.origin_x))


class HDF5Sink:
    """Writes events to `part`. A producer's group is created at its first event."""

    def __init__(self, part: Path, copy_input: Reader | None, images: tuple[str, ...]) -> None:
        # the input's other images are read and written like the event's images, entry by entry
        self._copied = all_images(copy_input) if copy_input else None
        self._part = QuietFile(part)
        self._groups: dict[str, _Group] = {}
        self._joined: dict[str, _Group] = {}  # the groups that `append` created
        with self._part.first_error():
            self._file = h5py.File(self._part, "w", rdcc_nbytes=CACHE_BYTES)
            self._file.create_group("Data")
            self._events = _Column(self._file, EVENTS, EVENT_ID, 1000)
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

    def append(self, parts: Sequence[Path], entries: Sequence[int], on_part: OnPart) -> int:
        """Append all datasets of complete part files; returns the number of entries."""
        for number, part in enumerate(parts):
            on_part(number)
            with (
                self._part.first_error(),
                h5py.File(part, "r", rdcc_nbytes=CACHE_BYTES) as source,
            ):
                _check_part(source, part)
                self._events.extend(source[EVENTS])
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
    wanted = [EVENTS, *(f"{group}/{name}" for group in groups for name in DATASETS)]
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
        images = images or (_NO_IMAGE,)  # larcv3 would show the images of the entry before
        self.extents.append(np.array([(self.image_meta.length, len(images))], EXTENTS))
        sizes = [image.pixels.size for image in images]
        starts = self.images.length + np.cumsum([0, *sizes])[:-1]
        rows = list(zip(starts.tolist(), sizes, range(len(images)), strict=True))
        self.image_extents.append(np.array(rows, IMAGE_EXTENTS))
        self.image_meta.append(np.array([_meta_row(image.meta) for image in images], IMAGE_META))
        for image in images:
            self.images.append(np.ascontiguousarray(image.pixels).reshape(-1))

    def extend(self, group: Any) -> None:
        """Append another file's group; its extents are shifted by the number of rows before it."""
        extents, image_extents = group["extents"][:], group["image_extents"][:]
        self.images.align(group["images"])
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

    def align(self, source: Any) -> None:
        """Let the next row begin a chunk, if whole chunks of `source` can be copied then.

        The unused rows before it cost less than a chunk of zeros; no extent refers to them.
        """
        if len(source) >= self._chunk and source.chunks == (self._chunk,):
            self._grow(-self.length % self._chunk)

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


def all_images(source: Reader) -> Reader:
    present = source.products(0)
    other = sorted({product.name for product in present if product.kind != "image2d"})
    if other:
        raise WriteError(f"want only images to copy into LArCV3, got {other} too")
    return source.again(images=[product.producer for product in present], rois=())


def append_provenance(path: Path, records: Sequence[str]) -> None:
    """Add provenance records to a closed file. Raises `WriteError`."""
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
    dataset = file.get(provenance_texts.NAME)
    if dataset is None:
        text = h5py.string_dtype()
        return file.create_dataset(
            provenance_texts.NAME, (0,), text, maxshape=(None,), chunks=(16,)
        )
    is_dataset = isinstance(dataset, h5py.Dataset) and dataset.maxshape == (None,)
    if not is_dataset or h5py.check_string_dtype(dataset.dtype) is None:
        raise WriteError(f"want a dataset of texts as {provenance_texts.NAME}, got {dataset}")
    return dataset
