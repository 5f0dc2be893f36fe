"""The content of a picture: rows of panels, and the part of each plane that is shown. Pure.

Refuses panels with a wrong number of images, and more planes than fit on a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ..crops.chain import LOW_ADC
from ..errors import ImageError
from ..image import ROI, Image
from . import colours
from .colours import PixelWindow

View = Literal["charge", "whole"]
Panel = tuple[Image, ...]  # one plane of a row: (ADC,), (shower, track), or () if it has no image

MAX_PLANES = 16

Span = tuple[float, float]
"""The first and the last wire or tick."""


class Region(NamedTuple):
    """The wires and ticks to show in all planes; None: the view chooses them."""

    wires: Span | None = None
    ticks: Span | None = None


class AxisNames(NamedTuple):
    """The labels of the axes of all panels."""

    across: str = "wire number"
    along: str = "time (ticks)"
    rows_down: bool = False
    """Whether rows are counted from the top, so that y is 0 there and negative below."""


_NOWHERE = PixelWindow(0, 1, 0, 1)


@dataclass(frozen=True, eq=False)
class Row:
    """One row of the picture, with a panel for each plane."""

    name: str
    scale: Literal["adc", "labels", "scores"]
    panels: tuple[Panel, ...]

    def __post_init__(self) -> None:
        want = 1 if self.scale == "adc" else 2
        for index, panel in enumerate(self.panels):
            if len(panel) not in (0, want):
                where = f"plane {index} of the row {self.name!r}"
                raise ImageError(f"want {want} images or none in {where}, got {len(panel)}")


def adc_row(images: Sequence[Image], *, name: str = "charge") -> Row:
    """Make a row of ADC; images: one per plane."""
    return Row(name, "adc", tuple((image,) for image in images))


def label_row(images: Sequence[Image], *, name: str = "truth") -> Row:
    """Make a row of labels (0 background, 1 shower, 2 track); images: one per plane."""
    return Row(name, "labels", tuple((_only(image, 1), _only(image, 2)) for image in images))


def score_row(images: Sequence[Sequence[Image]], *, name: str = "scores") -> Row:
    """Make a row of scores from 0 to 1; images: [shower, track] or nothing, for each plane."""
    return Row(name, "scores", tuple(tuple(pair) for pair in images))


def _only(image: Image, label: int) -> Image:
    return Image(image.meta, (image.pixels == label).astype(np.float32))


def planes(rows: Sequence[Row]) -> list[int]:
    """Return the plane number of each column: that of its images, or else the column's number."""
    columns = max(1, *(len(row.panels) for row in rows))
    if columns > MAX_PLANES:
        raise ImageError(f"want at most {MAX_PLANES} planes side by side, got {columns}")
    return [
        next((image.meta.plane for image in _column(rows, column)), column)
        for column in range(columns)
    ]


def _column(rows: Sequence[Row], column: int) -> list[Image]:
    panels = [row.panels[column] for row in rows if column < len(row.panels)]
    return [image for panel in panels for image in panel]


def windows(
    rows: Sequence[Row], view: View | ROI, region: Region | None = None
) -> list[PixelWindow]:
    """Return the part of each plane to show. Without an ROI all planes show the same ticks.

    Raises `ImageError` if no image reaches the region.
    """
    parts = _viewed(rows, view)
    if region is None:
        return parts
    _check_reached(rows, region)
    wires, ticks = region
    if wires:
        parts = [part._replace(min_x=wires[0], max_x=wires[1]) for part in parts]
    if ticks:
        parts = [part._replace(min_y=ticks[0], max_y=ticks[1]) for part in parts]
    return parts


def _check_reached(rows: Sequence[Row], region: Region) -> None:
    spread = [part for column in range(len(planes(rows))) if (part := _whole(rows, column))]
    for name, wanted, extents in (
        ("wires", region.wires, [(part.min_x, part.max_x) for part in spread]),
        ("ticks", region.ticks, [(part.min_y, part.max_y) for part in spread]),
    ):
        if wanted is None or any(low < wanted[1] and wanted[0] < high for low, high in extents):
            continue
        reach = " and ".join(sorted({f"{low:g}:{high:g}" for low, high in extents})) or "none"
        raise ImageError(f"want {name} that the images have: {reach}, got {_text(wanted)}")


def _text(span: Span) -> str:
    return f"{span[0]:g}:{span[1]:g}"


def _viewed(rows: Sequence[Row], view: View | ROI) -> list[PixelWindow]:
    numbers = planes(rows)
    parts = [_whole(rows, column) for column in range(len(numbers))]
    if isinstance(view, ROI):
        return [
            colours.whole(box) if (box := view.shown_on(plane)) else part or _NOWHERE
            for plane, part in zip(numbers, parts, strict=True)
        ]
    charged = [_around_charge(rows[0], column) for column in range(len(numbers))]
    if view == "charge" and any(charged):
        seen = [part for part in charged if part]
        parts = [zoomed or part for zoomed, part in zip(charged, parts, strict=True)]
    else:
        seen = [part for part in parts if part] or [_NOWHERE]
    low, high = min(part.min_y for part in seen), max(part.max_y for part in seen)
    return [(part or _NOWHERE)._replace(min_y=low, max_y=high) for part in parts]


def _whole(rows: Sequence[Row], column: int) -> PixelWindow | None:
    metas = [image.meta for image in _column(rows, column) if colours.has_area(image)]
    if not metas:
        return None
    return PixelWindow(
        min(meta.min_x for meta in metas),
        max(meta.max_x for meta in metas),
        min(meta.min_y for meta in metas),
        max(meta.max_y for meta in metas),
    )


def _around_charge(row: Row, column: int) -> PixelWindow | None:
    """Return a window, with a margin, that leaves out a thousandth of the charge at each edge."""
    panel = row.panels[column] if column < len(row.panels) else ()
    if not panel:
        return None
    meta = panel[0].meta
    charge = np.stack([colours.upright(image) for image in panel]).sum(axis=0)
    charge[charge < (LOW_ADC if row.scale == "adc" else 0.1)] = 0
    if not charge.any():
        return None
    left, right = _middle(charge.sum(axis=0))
    top, bottom = _middle(charge.sum(axis=1))
    return PixelWindow(
        meta.min_x + left * meta.pixel_width,
        meta.min_x + right * meta.pixel_width,
        meta.max_y - bottom * meta.pixel_height,
        meta.max_y - top * meta.pixel_height,
    )


def _middle(charge: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Return the range of pixels that hold the charge: at least 48, so that a dot stays small."""
    share = np.cumsum(charge, dtype=np.float64) / float(charge.sum(dtype=np.float64))
    first, last = (int(n) for n in np.searchsorted(share, [0.001, 0.999]))
    margin = max(8, (last - first) // 25, (48 - (last - first)) // 2)
    return max(first - margin, 0), min(last + margin + 1, len(charge))
