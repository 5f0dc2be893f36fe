"""Files of images and labels as training batches. Refuses files that do not fit each other.

What holds of all events is found at the start, from metas alone; pixels are read when they are
asked for, and kept sparse, up to a limit.
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
    Reader,
    ReadError,
    SettingsError,
    meta_text,
    open_reader,
)
from lartpc.training.batches import BatchName, Dice, chosen
from lartpc.training.sparse import SparseImage, sparse
from lartpc.training.training_crops import draw, empty

WEIGHTS = "weights"
"""The name of the third triple of a batch; the others have their producers' names."""
_OPEN_FILES = 32


@dataclass(frozen=True)
class TrainingSettings:
    """What batches are made of."""

    files: tuple[Path, ...]
    image: str = "wire"
    """Producer of the images: one of each plane."""
    label: str = "segment"
    """Producer of their labels: 0 background, 1 shower, 2 track."""
    tick_order: AskedOrder = "auto"
    trust_tick_order: bool = False
    """Take `tick_order` even where the files contradict it."""
    cache_bytes: int = 512 << 20
    """Of events that were read, kept sparse: a toy event is 0.1 MB, a whole real one 1 MB."""

    def __post_init__(self) -> None:
        if self.image == self.label:
            raise SettingsError(f"want labels of another producer than images, got {self.label}")


class _Entry(NamedTuple):
    number: int  # over all files
    rse: RSE
    sizes: tuple[tuple[int, int, int], ...]  # plane, rows, cols


class TrainingFiles:
    """The files as a sequence of events; `batch(name)` makes a batch. Raises `LArTPCError`.

    Entries without any images are no events. What there is of planes must be in every event.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings
        self._readers: OrderedDict[Path, Reader] = OrderedDict()
        self._kept: OrderedDict[int, tuple[SparseImage, ...]] = OrderedDict()
        self._kept_bytes = 0
        self._tick_order = settings.tick_order
        with self._open(settings.files) as reader:
            self._tick_order = reader.tick_order
            self._places = [reader.locate(number) for number in range(len(reader))]
            entries = [_entry(reader, number, settings) for number in range(len(reader))]
            self.fingerprint = _fingerprint(reader, entries, settings)
            self.parts = dict(zip(reader.paths, _parts(reader, entries), strict=True))
            """What tells each file from others, wherever it lies: one is known among many."""
        self._events = [entry for entry in entries if entry.sizes]
        if not self._events:
            raise ReadError(f"want events with images, got none in {_names(settings)}")
        self.planes = self._same_planes()
        sizes = [size for event in self._events for size in event.sizes]
        self.smallest = min(rows for _, rows, _ in sizes), min(cols for _, _, cols in sizes)
        """Rows and columns that every image has at least."""

    def __len__(self) -> int:
        return len(self._events)

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def check(self, name: BatchName) -> list[int]:
        """The events of a batch; raises `BatchError` for what these files do not have."""
        recipe = name.recipe
        if name.fingerprint != self.fingerprint:
            raise BatchError(
                f"want a batch of the files {self.fingerprint}, which this worker has,"
                f" got one of {name.fingerprint}"
            )
        if not set(recipe.planes) <= set(self.planes):
            raise BatchError(f"want planes of {self.planes}, got {recipe.planes}")
        rows, cols = self.smallest
        if recipe.rows > rows or recipe.cols > cols:
            want = f"a crop of at most {rows} x {cols} pixels, as the smallest image"
            raise BatchError(f"want {want}, got {recipe.rows} x {recipe.cols}")
        return chosen(name, len(self))

    def batch(self, name: BatchName) -> list[Batch]:
        """Images, labels and weights: (batch, planes, rows, cols) each, a meta line an image."""
        events = self.check(name)
        recipe = name.recipe
        arrays = empty(recipe, len(events))
        lines = [""] * len(events)
        for at, event in sorted(enumerate(events), key=itemgetter(1)):  # file after file
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
        """An event's planes, from 0 to below `len(files)`; rows are tick-backward."""
        kept = self._kept.get(event)
        if kept is not None:
            self._kept.move_to_end(event)
            return kept
        images = self._read(self._events[event])
        self._kept[event] = images
        self._kept_bytes += _nbytes(images)
        while self._kept_bytes > self.settings.cache_bytes:
            self._kept_bytes -= _nbytes(self._kept.popitem(last=False)[1])
        return images

    def _read(self, entry: _Entry) -> tuple[SparseImage, ...]:
        path, local = self._places[entry.number]
        reader = self._reader(path)
        if reader.rse(local) != entry.rse:
            raise ReadError(f"{path} entry {local} has changed since this worker began")
        # rows as production has them for the networks, whatever the file's order
        wire, segment = (
            {image.meta.plane: image.in_order("backward") for image in several}
            for several in reader.images_at(local).values()
        )
        try:
            return tuple(sparse(image, segment[plane]) for plane, image in wire.items())
        except (ImageError, KeyError) as error:
            raise ReadError(f"{path} entry {local} {self.settings.label}: {error}") from error

    def _reader(self, path: Path) -> Reader:
        """A file stays open: a permutation of many files' events jumps between them."""
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
        raise ReadError(f"want an image a plane in {path} entry {local}, got planes {planes}")
    if sizes != of_labels:
        raise ReadError(
            f"want {settings.label} of the same planes and sizes as {settings.image} in {path}"
            f" entry {local}, {_text(sizes)}, got {_text(of_labels)}"
        )
    return _Entry(number, reader.rse(number), sizes)


def _sizes(metas: Sequence[ImageMeta]) -> tuple[tuple[int, int, int], ...]:
    return tuple(sorted((meta.plane, meta.rows, meta.cols) for meta in metas))


def _text(sizes: Sequence[tuple[int, int, int]]) -> str:
    return ", ".join(f"plane {p}: {rows} x {cols}" for p, rows, cols in sizes) or "no images"


def _fingerprint(reader: Reader, entries: Sequence[_Entry], settings: TrainingSettings) -> str:
    """What tells these files from others, wherever they lie: their order, sizes and events."""
    digest = hashlib.sha256()
    digest.update(repr((settings.image, settings.label, reader.tick_order)).encode())
    digest.update(repr([(path.stat().st_size, n) for path, n in _files(reader)]).encode())
    for entry in entries:
        digest.update(repr((tuple(entry.rse), entry.sizes)).encode())
    return digest.hexdigest()[:32]


def _parts(reader: Reader, entries: Sequence[_Entry]) -> list[str]:
    parts, end = [], 0
    for path, count in _files(reader):
        of_file = [(tuple(entry.rse), entry.sizes) for entry in entries[end : end + count]]
        said = repr((path.stat().st_size, of_file)).encode()
        parts.append(hashlib.sha256(said).hexdigest()[:32])
        end += count
    return parts


def _files(reader: Reader) -> list[tuple[Path, int]]:
    return list(zip(reader.paths, reader.sizes, strict=True))


def _names(settings: TrainingSettings) -> str:
    first, more = settings.files[0], len(settings.files) - 1
    return f"{first} and {more} more" if more else str(first)


def _nbytes(images: Sequence[SparseImage]) -> int:
    return sum(image.nbytes for image in images)
