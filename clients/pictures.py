"""Event displays of entries of files: what `ssnet display` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lartpc import (
    AskedOrder,
    Event,
    Image,
    ImageError,
    ReadError,
    WriteError,
    display,
    open_reader,
)
from lartpc.display_rows import Row, View, label_row, score_row


@dataclass(frozen=True)
class Picture:
    """What is drawn: a row of panels for each producer of charge and labels, one for the scores."""

    file: Path
    entry: int
    charge: tuple[str, ...]
    labels: tuple[str, ...]
    scores: tuple[str, ...]
    """Images [shower, track] of each plane; one producer for all planes, or one a plane."""
    rois: tuple[str, ...]
    view: View
    tick_order: AskedOrder
    trust_tick_order: bool = False
    """Take `tick_order` even where the file contradicts it."""


def draw(picture: Picture, output: Path) -> None:
    """Draw the event into a PNG, which replaces one of its name. Raises `LArTPCError`."""
    if output.suffix != ".png":  # and so never one of the data files
        raise WriteError(f"want a picture named .png, got {output}")
    images = (*picture.charge, *picture.labels, *picture.scores)
    with open_reader(
        picture.file,
        tick_order=picture.tick_order,
        images=images,
        rois=picture.rois,
        trust=picture.trust_tick_order,
    ) as reader:
        if not 0 <= picture.entry < len(reader):
            wanted = f"want an entry from 0 to {len(reader) - 1}"
            raise ReadError(f"{picture.file}: {wanted}, got {picture.entry}")
        event = reader[picture.entry]
    try:
        display.render(
            output,
            _rows(picture, event),
            rse=event.rse,
            statement=f"{picture.file.name} entry {picture.entry}",
            view=picture.view,
            rois=[roi for name in picture.rois for roi in event.rois[name]],
        )
    except ImageError as error:
        raise ImageError(f"{picture.file} entry {picture.entry}: {error}") from error
    except OSError as error:
        raise WriteError(f"cannot write {output}: {error.strerror or error}") from error


def _rows(picture: Picture, event: Event) -> list[Row]:
    planes = _planes(event)
    drawn = [Row(name, "adc", _by_plane(event.images[name], planes)) for name in picture.charge]
    for name in picture.labels:
        panels = _by_plane(event.images[name], planes)
        truth = label_row([image for panel in panels for image in panel])
        pairs = iter(truth.panels)
        drawn.append(Row(name, "classes", tuple(next(pairs) if p else () for p in panels)))
    scores = [image for name in picture.scores for image in event.images[name]]
    if picture.scores:
        drawn.append(score_row(_by_plane(scores, planes), name="scores"))
    return drawn


def _planes(event: Event) -> tuple[int, ...]:
    """Those that have an image of any row, in order; all three if there are none but these."""
    there = {image.meta.plane for images in event.images.values() for image in images}
    return (0, 1, 2) if there <= {0, 1, 2} else tuple(sorted(there))


def _by_plane(images: Sequence[Image], planes: Sequence[int]) -> tuple[tuple[Image, ...], ...]:
    return tuple(tuple(image for image in images if image.meta.plane == plane) for plane in planes)
