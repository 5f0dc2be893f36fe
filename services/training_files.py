"""Make training batches from files of images and labels. Files that do not match are refused.

The events and their sizes are read at the start, from the metas only. Pixels are read on request
and cached in sparse form, up to a limit.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from lartpc import (
    RSE,
    AskedOrder,
    Batch,
    BatchError,
    ImageError,
    ImageMeta,
    ParameterError,
    Reader,
    ReadError,
    meta_text,
    open_reader,
)
from lartpc.files.ticks import TickChoice
from lartpc.training.batches import BatchName, Dice, chosen
from lartpc.training.sparse import SparseImage, sparse
from lartpc.training.training_crops import draw, empty

WEIGHTS = "weights"
"""The name of the weights in a batch's frames; images and labels have their producers' names."""
_OPEN_FILES = 32


@dataclass(frozen=True)
class TrainingSettings:
    """The files that batches are made of, and how they are read. Raises `SettingsError`."""

    files: tuple[Path, ...]
    image: str = "wire"
    """The producer of the images, one image per plane."""
    label: str = "segment"
    """The producer of their labels: 0 background, 1 shower, 2 track."""
    tick_order: AskedOrder = "auto"
    trust_tick_order: bool = False
    """Use `tick_order` even if the files contradict it."""
    cache_bytes: int = 512 << 20
    """The cache's limit; in sparse form a toy event takes 0.1 MB, a whole real event 1 MB."""

    def __post_init__(self) -> None:
        if self.image == self.label:
            raise ParameterError(
                f"want different producers for images and labels, got {self.label} for both"
            )


class _Entry(NamedTuple):
    number: int  # over all files
    rse: RSE
    sizes: tuple[tuple[int, int, int], ...]  # plane, rows, cols


class TrainingFiles:
    """The files as a sequence of events; `batch(name)` makes a batch. Raises `LArTPCError`.

    Entries without images do not count as events. All events must have the same planes.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings
        self._readers: OrderedDict[Path, Reader] = OrderedDict()
        self._cache: OrderedDict[int, tuple[SparseImage, ...]] = OrderedDict()
        self._cache_bytes = 0
        self._tick_order: AskedOrder | TickChoice = settings.tick_order
        with self._open(settings.files) as reader:
            self._tick_order = reader.tick_choice
            self._places = [reader.locate(number) for number in range(len(reader))]
            entries = [_entry(reader, number, settings) for number in range(len(reader))]
            self.fingerprint = _fingerprint(reader, entries, settings)
            self.parts = dict(zip(reader.paths, _parts(reader, entries), strict=True))
            """Each file's own fingerprint, which does not depend on its path or the other files."""
        self._events = [entry for entry in entries if entry.sizes]
        if not self._events:
            raise ReadError(f"want events with images, got none in {_names(settings)}")
        self.planes = self._same_planes()
        sizes = [size for event in self._events for size in event.sizes]
        self.smallest = min(rows for _, rows, _ in sizes), min(cols for _, _, cols in sizes)
        """The least number of rows and the least number of columns of all images."""

    def __len__(self) -> int:
        return len(self._events)

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def check(self, name: BatchName) -> list[int]:
        """Return a batch's events; raises `BatchError` if these files cannot provide it."""
        recipe = name.recipe
        if name.fingerprint != self.fingerprint:
            raise BatchError(
                f"want a batch of this worker's files, {self.fingerprint},"
                f" got one of {name.fingerprint}"
            )
        if not set(recipe.planes) <= set(self.planes):
            raise BatchError(f"want planes of {self.planes}, got {recipe.planes}")
        rows, cols = self.smallest
        if recipe.rows > rows or recipe.cols > cols:
            want = f"a crop of at most {rows} x {cols} pixels, the size of the smallest image"
            raise BatchError(f"want {want}, got {recipe.rows} x {recipe.cols}")
        return chosen(name, len(self))

    def batch(self, name: BatchName) -> list[Batch]:
        """Return images, labels and weights, each (batch, planes, rows, cols), with their metas."""
        events = self.check(name)
        recipe = name.recipe
        arrays = empty(recipe, len(events))
        lines = [""] * len(events)
        for at, event in sorted(enumerate(events), key=itemgetter(1)):  # in the files' order
            by_plane = {image.meta.plane: image for image in self.images(event)}
            dice = Dice(recipe.seed, name.epoch, event)
            metas = draw([by_plane[p] for p in recipe.planes], recipe, dice, arrays.of(at))
            lines[at] = "\n".join(meta_text(meta, self._events[event].rse) for meta in metas)
        text = "\n".join(lines)
        return [
            Batch(self.settings.image, text, arrays.images),
            Batch(self.settings.label, text, arrays.labels),
            Batch(WEIGHTS, text, arrays.weights),
        ]

    def images(self, event: int) -> tuple[SparseImage, ...]:
        """Return the planes of an event, 0 to below `len(self)`; rows are tick-backward."""
        cached = self._cache.get(event)
        if cached is not None:
            self._cache.move_to_end(event)
            return cached
        images = self._read(self._events[event])
        self._cache[event] = images
        self._cache_bytes += _nbytes(images)
        while self._cache_bytes > self.settings.cache_bytes:
            self._cache_bytes -= _nbytes(self._cache.popitem(last=False)[1])
        return images

    def _read(self, entry: _Entry) -> tuple[SparseImage, ...]:
        path, local = self._places[entry.number]
        reader = self._reader(path)
        if reader.rse(local) != entry.rse:
            raise ReadError(f"{path} entry {local} has changed since this worker started")
        # networks get tick-backward rows in production, so they do here, for any file's order
        wire, segment = (
            {image.meta.plane: image.in_order("backward") for image in several}
            for several in reader.images_at(local).values()
        )
        try:
            return tuple(sparse(image, segment[plane]) for plane, image in wire.items())
        except (ImageError, KeyError) as error:
            raise ReadError(f"{path} entry {local} {self.settings.label}: {error}") from error

    def _reader(self, path: Path) -> Reader:
        """Return a file's reader, which stays open: shuffled events jump between the files."""
        if path not in self._readers:
            if len(self._readers) >= _OPEN_FILES:
                self._readers.popitem(last=False)[1].close()
            self._readers[path] = self._open((path,))
        self._readers.move_to_end(path)
        return self._readers[path]

    def _open(self, paths: Sequence[Path]) -> Reader:
        producers = (self.settings.image, self.settings.label)
        return open_reader(
            paths,
            tick_order=self._tick_order,
            images=producers,
            trust=self.settings.trust_tick_order,
        )

    def _same_planes(self) -> tuple[int, ...]:
        first, *others = ([plane for plane, _, _ in event.sizes] for event in self._events)
        for event, planes in zip(self._events[1:], others, strict=True):
            if planes != first:
                path, local = self._places[event.number]
                raise ReadError(f"want planes {first} in {path} entry {local}, got {planes}")
        return tuple(first)


def _entry(reader: Reader, number: int, settings: TrainingSettings) -> _Entry:
    metas = reader.metas_at(number)
    sizes, of_labels = _sizes(metas[settings.image]), _sizes(metas[settings.label])
    planes = [plane for plane, _, _ in sizes]
    path, local = reader.locate(number)
    if len(set(planes)) != len(planes):
        raise ReadError(f"want one image per plane in {path} entry {local}, got planes {planes}")
    if sizes != of_labels:
        raise ReadError(
            f"want {settings.label} with the same planes and sizes as {settings.image} in {path}"
            f" entry {local}, {_text(sizes)}, got {_text(of_labels)}"
        )
    return _Entry(number, reader.rse(number), sizes)


def _sizes(metas: Sequence[ImageMeta]) -> tuple[tuple[int, int, int], ...]:
    return tuple(sorted((meta.plane, meta.rows, meta.cols) for meta in metas))


def _text(sizes: Sequence[tuple[int, int, int]]) -> str:
    return ", ".join(f"plane {p}: {rows} x {cols}" for p, rows, cols in sizes) or "no images"


def _fingerprint(reader: Reader, entries: Sequence[_Entry], settings: TrainingSettings) -> str:
    """Return a hash of the files' order, sizes and events; their paths do not matter."""
    digest = hashlib.sha256()
    order = (reader.tick_order, *(["overrules LArCV2"] if reader.overrules else []))
    digest.update(repr((settings.image, settings.label, *order)).encode())
    digest.update(repr([(path.stat().st_size, n) for path, n in _files(reader)]).encode())
    for entry in entries:
        digest.update(repr((tuple(entry.rse), entry.sizes)).encode())
    return digest.hexdigest()[:32]


def _parts(reader: Reader, entries: Sequence[_Entry]) -> list[str]:
    parts, end = [], 0
    for path, count in _files(reader):
        of_file = [(tuple(entry.rse), entry.sizes) for entry in entries[end : end + count]]
        content = repr((path.stat().st_size, of_file)).encode()
        parts.append(hashlib.sha256(content).hexdigest()[:32])
        end += count
    return parts


def _files(reader: Reader) -> list[tuple[Path, int]]:
    return list(zip(reader.paths, reader.sizes, strict=True))


def _names(settings: TrainingSettings) -> str:
    first, more = settings.files[0], len(settings.files) - 1
    return f"{first} and {more} more" if more else str(first)


def _nbytes(images: Sequence[SparseImage]) -> int:
    return sum(image.nbytes for image in images)
