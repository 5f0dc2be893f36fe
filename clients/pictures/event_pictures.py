"""Draw events of files, for `ssnet display`.

The events are selected in the first file; the others are searched for the same (run, subrun,
event).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lartpc import (
    ROI,
    RSE,
    AskedOrder,
    Event,
    Image,
    ImageError,
    ParameterError,
    Reader,
    ReadError,
    open_reader,
)
from lartpc.display import drawing, picture_files
from lartpc.display.rows import Region, Row, View, label_row, score_row
from lartpc.files import ticks

from .picture_choice import Choice, Held, PictureLayer, RequestedPicture, choose, holdings
from .picture_events import Places, Selection, resolve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PictureRequest:
    """The settings of a picture: files, events, and what to draw of them."""

    files: tuple[Path, ...]
    asked: RequestedPicture
    """The producers to draw; if no producer of images is named, `choose` selects them."""
    events: Selection
    view: View
    region: Region | None
    roi: int | None
    """Zoom to this ROI of each event, counted from 0; None: no zoom."""
    planes: tuple[int, ...] | None
    """The planes to draw; None: all that have images."""
    tick_order: AskedOrder
    trust_tick_order: bool = False
    """Use `tick_order` even if the files contradict it."""


@dataclass(frozen=True)
class Drawn:
    """The result of `draw`."""

    paths: tuple[Path, ...]
    """The files that were written."""
    notice: str
    """One line about rows and boxes that were drawn by default, not by request; may be empty."""


class _Shown:
    """An event: its name, its entry in each file, and the data that is read from each file."""

    def __init__(self, rse: RSE, entries: Sequence[int], events: Sequence[Event | None]) -> None:
        self.rse = rse
        self.entries = entries
        self.events = events

    def images(self, layer: PictureLayer) -> list[Image]:
        event = self.events[layer.file]
        return [image for name in layer.producers for image in event.images[name]] if event else []


def draw(picture: PictureRequest, output: Path) -> Drawn:
    """Draw events into a PNG, an SVG or a PDF; existing files of these names are replaced.

    Several events become the pages of a PDF, or files numbered by entry. Raises `LArTPCError`.
    """
    picture_files.check_name(output)
    held = [holdings(file) for file in picture.files]
    order = _tick_order(picture, held)
    choice = choose(
        picture.files,
        held,
        picture.asked,
        open_images=lambda file, images: open_reader(file, tick_order=order, images=images),
        zoomed_to_roi=picture.roi is not None,
    )
    with ExitStack() as stack:
        readers = [
            stack.enter_context(_open_chosen(picture, choice, file, one, order))
            for file, one in enumerate(held)
        ]
        entries = resolve(picture.events, readers[0])
        paths = _paths(output, entries)
        dpi = picture_files.dots_per_inch(output)
        figures = _figures(picture, choice, readers, entries, dpi=dpi)
        if len(paths) == 1:
            _save_one(figures, entries, output)
        else:
            for figure, path in zip(figures, paths, strict=True):
                picture_files.save(figure, path)
    return Drawn(paths, choice.notice)


def _paths(output: Path, entries: Sequence[int]) -> tuple[Path, ...]:
    if len(entries) == 1 or output.suffix.lower() == ".pdf":
        return (output,)
    return tuple(output.with_name(f"{output.stem}-{entry}{output.suffix}") for entry in entries)


def _save_one(figures: Iterator[Figure], entries: Sequence[int], output: Path) -> None:
    if len(entries) == 1:
        picture_files.save(next(figures), output)
    else:
        picture_files.save_pages(figures, output)


# The files.


def _tick_order(picture: PictureRequest, held: Sequence[Held]) -> ticks.TickChoice:
    """The tick order of all files, which is logged if the files do not store it.

    Raises `TickOrderError` for files of different orders, in which an event lies at other ticks.
    """
    surveys = [_survey(file, one) for file, one in zip(picture.files, held, strict=True)]
    choice = ticks.choose(picture.tick_order, surveys, trust=picture.trust_tick_order)
    if any(survey.images for survey in surveys):
        level = {"assumed": logging.WARNING, "regions": logging.INFO, "ticks": logging.INFO}
        log.log(level.get(choice.basis, logging.DEBUG), "tick order %s: %s", *choice[::2])
    if text := ticks.overruling(choice, surveys):
        log.warning("%s", text)
    return choice


def _survey(file: Path, held: Held) -> ticks.Survey:
    """One survey of all image producers in a file; their numbers of entries may differ."""
    surveys: list[ticks.Survey] = []
    for name in held.images:
        with (
            suppress(ReadError),
            open_reader(file, tick_order=ticks.turned_to("backward"), images=(name,)) as reader,
        ):
            surveys += reader.surveys
    larcv2 = any(survey.larcv2 for survey in surveys)
    stored = all(survey.stored for survey in surveys)
    surveys = [survey for survey in surveys if not survey.stored]
    whole = ticks.Survey(file, stored)
    for survey in surveys:
        images, regions = whole.images | survey.images, whole.regions | survey.regions
        whole = survey._replace(images=images, regions=regions)
    return whole._replace(larcv2=larcv2)


def _open_chosen(
    picture: PictureRequest, choice: Choice, file: int, held: Held, order: ticks.TickChoice
) -> Reader:
    """Open all producers of a file that are drawn; if none is drawn, open one of them."""
    chosen = (name for row in choice.layers if row.file == file for name in row.producers)
    images = tuple(dict.fromkeys(chosen))
    rois = tuple(box.producer for box in choice.boxes if box.file == file)
    if not images and not rois:
        images, rois = held.images[:1], held.rois[: not held.images]
    path = picture.files[file]
    return open_reader(path, tick_order=order, images=images, rois=rois)


def _events(
    picture: PictureRequest, choice: Choice, readers: Sequence[Reader], entries: Sequence[int]
) -> Iterator[_Shown]:
    used = {row.file for row in choice.layers} | {box.file for box in choice.boxes}
    places = [Places(reader) for reader in readers]
    for entry in entries:
        rse = readers[0].rse(entry)
        entry_in_file = [entry, *(place.entry(rse, near=entry) for place in places[1:])]
        events = [
            reader[local] if file in used else None
            for file, (reader, local) in enumerate(zip(readers, entry_in_file, strict=True))
        ]
        yield _Shown(rse, entry_in_file, events)


# The pictures.


def _figures(
    picture: PictureRequest,
    choice: Choice,
    readers: Sequence[Reader],
    entries: Sequence[int],
    *,
    dpi: int,
) -> Iterator[Figure]:
    for shown in _events(picture, choice, readers, entries):
        where = f"{picture.files[0]} entry {shown.entries[0]}"
        rois = _rois(choice, shown)
        try:
            yield drawing.draw(
                _rows(picture, choice, shown),
                rse=shown.rse,
                statement=_statement(picture, shown),
                view=picture.view if picture.roi is None else _roi(rois, picture.roi),
                region=picture.region,
                rois=rois,
                dpi=dpi,
            )
        except ImageError as error:
            raise ImageError(f"{where}: {error}") from error


def _statement(picture: PictureRequest, shown: _Shown) -> str:
    named = zip(picture.files, shown.entries, shown.events, strict=True)
    return ", ".join(f"{file.name} entry {entry}" for file, entry, event in named if event)


def _rois(choice: Choice, shown: _Shown) -> list[ROI]:
    events = ((shown.events[box.file], box.producer) for box in choice.boxes)
    return [roi for event, name in events if event for roi in event.rois[name]]


def _roi(rois: Sequence[ROI], number: int) -> ROI:
    if not rois:
        raise ImageError("want a ROI for --roi, got none; --ticks and --wires show a region")
    if not 0 <= number < len(rois):
        raise ImageError(f"want --roi from 0 to {len(rois) - 1}, got {number}")
    return rois[number]


def _rows(picture: PictureRequest, choice: Choice, shown: _Shown) -> list[Row]:
    planes = picture.planes or _planes(choice, shown)
    names = [layer.name for layer in choice.layers]
    return [
        _row(
            layer,
            _by_plane(shown.images(layer), planes),
            name=layer.name
            if names.count(layer.name) == 1
            else f"{layer.name} of {picture.files[layer.file].name}",
        )
        for layer in choice.layers
    ]


def _row(layer: PictureLayer, panels: tuple[tuple[Image, ...], ...], *, name: str) -> Row:
    match layer.kind:
        case "charge":
            return Row(name, "adc", panels)
        case "scores":
            return score_row(panels, name=name)
        case "labels":
            truth = iter(label_row([image for panel in panels for image in panel]).panels)
            return Row(name, "labels", tuple(next(truth) if panel else () for panel in panels))


def _planes(choice: Choice, shown: _Shown) -> tuple[int, ...]:
    """The planes that have an image in any row, in order; at least planes 0, 1 and 2 unless there
    are others."""
    present = {image.meta.plane for layer in choice.layers for image in shown.images(layer)}
    return (0, 1, 2) if present <= {0, 1, 2} else tuple(sorted(present))


def _by_plane(images: Sequence[Image], planes: Sequence[int]) -> tuple[tuple[Image, ...], ...]:
    return tuple(tuple(image for image in images if image.meta.plane == plane) for plane in planes)


def span(option: str, text: str) -> tuple[float, float]:
    """Read a range of wires or ticks that was typed as `A:B`. Raises `SettingsError`."""
    first, _, end = text.partition(":")
    try:
        low, high = float(first), float(end)
    except ValueError:
        raise ParameterError(f"want {option} A:B, got {text!r}") from None
    if not low < high < float("inf") or low == float("-inf"):
        raise ParameterError(f"want {option} A:B with A < B, got {text!r}")
    return low, high
