"""Choose what a picture shows of its files: what was asked for, or else what the files hold.

Scores are never drawn as charge. A producer that no file holds is an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

import numpy as np

from lartpc import Image, ImageError, ProductMissing, Reader, ReadError, readable_products
from lartpc.files.reader import images_in, regions_in
from lartpc.simulation.toy import CROI, SEGMENT, WIRE

Kind = Literal["charge", "scores", "labels"]
Kinds = Sequence[dict[str, Literal["charge", "scores", "labels", "other"]]]
"""For each file, the kind of each of its producers of images."""
OpenImages = Callable[[Path, Sequence[str]], Reader]

_MOST_ROWS = 3  # of charge, if there is no `wire`
_MOST_CLASSES = 16
_PROBED = 20  # entries that are searched for one with images
_KINDS: tuple[Kind, ...] = ("charge", "scores", "labels")  # from top to bottom


class PictureLayer(NamedTuple):
    """A row of the picture."""

    kind: Kind
    file: int
    """The index of the file, from 0."""
    producers: tuple[str, ...]
    """One producer; a row of scores may have one for each plane."""

    @property
    def name(self) -> str:
        """The title of the row."""
        return f"{score_name(self.producers[0])} scores" if self.kind == "scores" else self.label

    @property
    def label(self) -> str:
        """The name by which users refer to the producers."""
        return score_name(self.producers[0]) if self.kind == "scores" else self.producers[0]


class Boxes(NamedTuple):
    """A producer of ROIs, and the index of its file, from 0."""

    file: int
    producer: str


@dataclass(frozen=True)
class RequestedPicture:
    """The producers that the user named."""

    charge: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    """Images [shower, track] of each plane: a producer, or `NAME` for all `NAME_plane0`, ..."""
    labels: tuple[str, ...] = ()
    rois: tuple[str, ...] = ()

    @property
    def rows(self) -> bool:
        """Whether any producer of images is named."""
        return bool(self.charge or self.scores or self.labels)


@dataclass(frozen=True)
class Choice:
    """The rows and boxes that are drawn."""

    layers: tuple[PictureLayer, ...]
    boxes: tuple[Boxes, ...]
    notice: str = ""
    """One line about rows and boxes that are drawn by default, not by request."""


class Held(NamedTuple):
    """The producers of one file."""

    images: tuple[str, ...]
    rois: tuple[str, ...]


def holdings(file: Path) -> Held:
    """Return the producers of a file. Raises `ReadError`."""
    listed = readable_products(file)
    return Held(
        images_in(listed),
        regions_in(listed),
    )


def choose(
    files: Sequence[Path],
    held: Sequence[Held],
    asked: RequestedPicture,
    *,
    open_images: OpenImages,
    zoomed_to_roi: bool,
) -> Choice:
    """Choose the rows and boxes of a picture.

    `held`: the producers of each file; `open_images` opens one for some of its producers;
    `zoomed_to_roi`: ROIs are needed. Raises `ProductMissing`, `ReadError`.
    """
    layers, left = _asked_layers(files, held, asked), list[str]()
    if not asked.rows:
        layers, left = _held_layers(files, held, open_images)
    boxes = tuple(Boxes(_holder(files, held, name, "rois"), name) for name in asked.rois)
    taken = list[Boxes]()
    if not asked.rois and (zoomed_to_roi or not asked.rows):
        taken = _held_boxes(held)
    unasked = [] if asked.rows else layers
    notice = _notice(files, layers, unasked, (*boxes, *taken), taken, left)
    return Choice(tuple(layers), (*boxes, *taken), notice)


def score_name(producer: str) -> str:
    """Return the name of a producer without its plane: `uburn` of `uburn_plane2`."""
    return re.sub(r"_?plane_?\d+", "", producer) or producer


# What was asked for.


def _asked_layers(
    files: Sequence[Path], held: Sequence[Held], asked: RequestedPicture
) -> list[PictureLayer]:
    return [
        *(
            PictureLayer("charge", _holder(files, held, name, "images"), (name,))
            for name in asked.charge
        ),
        *_asked_scores(files, held, asked.scores),
        *(
            PictureLayer("labels", _holder(files, held, name, "images"), (name,))
            for name in asked.labels
        ),
    ]


def _asked_scores(
    files: Sequence[Path], held: Sequence[Held], names: Sequence[str]
) -> Iterator[PictureLayer]:
    """A row for each network and each file that holds its scores."""
    expanded = dict.fromkeys(
        producer
        for name in names
        for producer in _producers_of(name, held) or [_missing(files, held, name, "images")]
    )
    for file, producers in enumerate(held):
        for group in _grouped([name for name in expanded if name in producers.images]):
            yield PictureLayer("scores", file, group)


def _producers_of(name: str, held: Sequence[Held]) -> list[str]:
    present = [producer for one in held for producer in one.images]
    if name in present:
        return [name]
    return [producer for producer in present if score_name(producer) == name]


def _grouped(producers: Sequence[str]) -> list[tuple[str, ...]]:
    """Groups of producers that differ only in the plane."""
    names = dict.fromkeys(score_name(producer) for producer in producers)
    return [tuple(one for one in producers if score_name(one) == name) for name in names]


def _holder(
    files: Sequence[Path], held: Sequence[Held], name: str, what: Literal["images", "rois"]
) -> int:
    """The first file that holds a producer."""
    holders = [file for file, one in enumerate(held) if name in getattr(one, what)]
    return holders[0] if holders else _missing(files, held, name, what)


def _missing(
    files: Sequence[Path], held: Sequence[Held], name: str, what: Literal["images", "rois"]
) -> NoReturn:
    present = dict.fromkeys(producer for one in held for producer in getattr(one, what))
    where = ", ".join(str(file) for file in files)
    thing = "images" if what == "images" else "ROIs"
    listed = ", ".join(present) or "no producer of any"
    raise ProductMissing(f"want {thing} of {name!r} in {where}, got {listed}")


# What the files hold.


def _held_layers(
    files: Sequence[Path], held: Sequence[Held], open_images: OpenImages
) -> tuple[list[PictureLayer], list[str]]:
    """The rows, and the producers that no row shows."""
    kinds = [
        {name: _kind(path, name, open_images) for name in one.images}
        for path, one in zip(files, held, strict=True)
    ]
    layers = [
        *_held_charge(kinds),
        *(
            PictureLayer("scores", file, group)
            for file, named in enumerate(kinds)
            for group in _grouped([name for name, kind in named.items() if kind == "scores"])
        ),
        *_first_of_each("labels", kinds),
    ]
    present = list(dict.fromkeys(name for named in kinds for name in named))
    if not layers:
        where, listed = ", ".join(map(str, files)), ", ".join(present) or "no images"
        raise ProductMissing(
            f"want charge, scores or labels in {where}, got {listed};"
            " name what to draw: --producer, --scores or --labels"
        )
    shown = {name for layer in layers for name in layer.producers}
    return layers, [name for name in present if name not in shown]


def _held_charge(kinds: Kinds) -> list[PictureLayer]:
    """The producer `wire`; else the first ones of the first file; else the only producer."""
    layers = _first_of_each("charge", kinds)
    wire = [layer for layer in layers if layer.producers == (WIRE,)]
    if wire or layers:
        return wire or [layer for layer in layers if layer.file == layers[0].file][:_MOST_ROWS]
    producers = [
        (file, name, kind) for file, named in enumerate(kinds) for name, kind in named.items()
    ]
    match producers:
        case [(file, name, "other")]:
            return [PictureLayer("charge", file, (name,))]
    return []


def _first_of_each(kind: Kind, kinds: Kinds) -> list[PictureLayer]:
    """A row for each producer, of the first file that holds it, because copies look the same."""
    layers: dict[str, PictureLayer] = {}
    for file, named in enumerate(kinds):
        for name, its_kind in named.items():
            if its_kind == kind:
                layers.setdefault(name, PictureLayer(kind, file, (name,)))
    return list(layers.values())


def _kind(path: Path, name: str, open_images: OpenImages) -> Kind | Literal["other"]:
    """The kind of a producer, from the first entry that has images and can be read."""
    if name == WIRE:
        return "charge"
    images = _sample(path, name, open_images)
    planes = Counter(image.meta.plane for image in images)
    if not images:
        return "scores" if score_name(name) != name else "other"
    if set(planes.values()) == {2} and all(_within_one(image) for image in images):
        return "scores"
    return _kind_by_values(name, images) if set(planes.values()) == {1} else "other"


def _sample(path: Path, name: str, open_images: OpenImages) -> tuple[Image, ...]:
    try:
        with open_images(path, (name,)) as reader:
            for entry in range(min(len(reader), _PROBED)):
                try:
                    images = reader.images_at(entry)[name]
                except (ReadError, ImageError):  # a bad entry is an error only if it is drawn
                    continue
                if images:
                    return images
    except ReadError:  # other products of the file may be readable
        pass
    return ()


def _within_one(image: Image) -> bool:
    return not image.pixels.size or bool(image.pixels.min() >= 0 and image.pixels.max() <= 1)


def _kind_by_values(name: str, images: Sequence[Image]) -> Kind | Literal["other"]:
    """The kind by the pixel values: those of charge exceed 1, and are not all small whole numbers,
    which would be classes."""
    values = np.unique(np.concatenate([np.unique(image.pixels) for image in images]))
    if set(values) <= {0, 1, 2} and (name == SEGMENT or {1, 2} <= set(values)):
        return "labels"
    if not values.size or values.max() <= 1:
        return "other"  # empty, or scores and masks
    classes = bool((values == np.round(values)).all() and np.abs(values).max() < _MOST_CLASSES)
    return "other" if classes else "charge"


def _held_boxes(held: Sequence[Held]) -> list[Boxes]:
    """The ROIs of `croi`, or of the only producer of ROIs."""
    first: dict[str, Boxes] = {}
    for file, one in enumerate(held):
        for name in one.rois:
            first.setdefault(name, Boxes(file, name))
    if CROI in first:
        return [first[CROI]]
    return list(first.values()) if len(first) == 1 else []


# The notice.


def _notice(
    files: Sequence[Path],
    layers: Sequence[PictureLayer],
    unasked: Sequence[PictureLayer],
    boxes: Sequence[Boxes],
    taken: Sequence[Boxes],
    left: Sequence[str],
) -> str:
    used = {row.file for row in layers} | {box.file for box in boxes}
    phrases = []
    for file, path in enumerate(files):
        what = [
            f"{kind} {', '.join(names)}"
            for kind in _KINDS
            if (names := [row.label for row in unasked if (row.kind, row.file) == (kind, file)])
        ]
        what += [f"ROIs {box.producer}" for box in taken if box.file == file]
        if what:
            phrases.append(f"{', '.join(what)} of {path.name}")
        elif file not in used:
            phrases.append(f"nothing of {path.name}")
    if left:
        phrases.append(f"not drawn: {', '.join(left)} (-p NAME draws one as charge)")
    return f"drawn: {'; '.join(phrases)}" if phrases else ""
