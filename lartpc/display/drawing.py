"""Draws event displays: a column for each plane; a row each for ADC, labels and scores.

It uses matplotlib's figures without pyplot, so no state outlives a call. A picture appears under
its name only when it is complete. Refuses to draw without any row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ..errors import ImageError
from ..image import ROI, RSE, ImageMeta
from . import colours
from .colour_keys import (
    DEAD_BAND,
    FAINT,
    INK,
    MARKS_INCH,
    ROI_EDGE,
    charge_key,
    class_key,
    explain_marks,
    score_key,
)
from .colours import PixelWindow
from .picture_files import check_name, dots_per_inch, save
from .rows import (
    AxisNames,
    Panel,
    Region,
    Row,
    View,
    adc_row,
    label_row,
    planes,
    score_row,
    windows,
)

__all__ = [
    "AxisNames",
    "Region",
    "Row",
    "View",
    "adc_row",
    "draw",
    "label_row",
    "render",
    "save",
    "score_row",
]

Mask = npt.NDArray[np.bool_]

PLANE_NAMES = ("U", "V", "Y")

_PANEL_INCH = 4.6
_PANEL_WIDE, _PANEL_HIGH = 4.1, 4.15  # inches for the pixels; the rest is for the axis
_LETTERS_AN_INCH = 12  # in the font of the statement
_WIRES_AND_TICKS = AxisNames()


def render(
    path: str | Path,
    rows: Sequence[Row],
    *,
    rse: RSE | None = None,
    title: str = "",
    statement: str = "",
    view: View | ROI = "charge",
    region: Region | None = None,
    rois: Sequence[ROI] = (),
    dead: Sequence[Mask] = (),
    axis_names: AxisNames = _WIRES_AND_TICKS,
) -> None:
    """Draw an event into a PNG, PDF or SVG file, by the path's suffix. Raises `WriteError`.

    rse: the event to name in the title; title: a text to show instead.
    statement: one line that describes what is shown.
    view: "charge" zooms to the charge of the first row, "whole" shows the whole images, and an ROI
    shows its boxes.
    region: the wires, ticks or both to show instead of the view's.
    rois: these are drawn as boxes, unless the view is an ROI.
    dead: for each panel, which columns of the first row's image are dead, (cols,).
    """
    target = Path(path)
    check_name(target)
    figure = draw(
        rows,
        rse=rse,
        title=title,
        statement=statement,
        view=view,
        region=region,
        rois=rois,
        dead=dead,
        axis_names=axis_names,
        dpi=dots_per_inch(target),
    )
    save(figure, target)


def drawable(text: str) -> str:
    """Escape the bytes of a file name that are not UTF-8, as JSON does: no font can draw them."""
    return text.encode(errors="backslashreplace").decode()


def draw(
    rows: Sequence[Row],
    *,
    rse: RSE | None = None,
    title: str = "",
    statement: str = "",
    view: View | ROI = "charge",
    region: Region | None = None,
    rois: Sequence[ROI] = (),
    dead: Sequence[Mask] = (),
    axis_names: AxisNames = _WIRES_AND_TICKS,
    dpi: int = 130,
) -> Figure:
    """Draw an event into a matplotlib figure; the parameters are those of `render`.

    dpi: the dots per inch that the figure will be saved with. Raises `ImageError`.
    """
    if not rows:
        raise ImageError("want at least one row to draw, got none")
    parts = windows(rows, view, region)
    boxes = () if isinstance(view, ROI) else rois
    figure = Figure(figsize=(_PANEL_INCH * len(parts) + 2.2, _PANEL_INCH * len(rows) + 1.2))
    figure.set_facecolor("white")
    numbers = planes(rows)
    seen = [_in_sight(boxes, *place) for place in zip(numbers, parts, strict=True)]
    marked = any(seen) or any(mask.any() for mask in dead)
    layout = _lay_out(figure, len(rows), len(parts), marked=marked)
    for row, axes, key in zip(rows, layout.panels, layout.keys, strict=True):
        shade = _Shade(row, most=int(dpi * _PANEL_WIDE))
        for column, (ax, window) in enumerate(zip(axes, parts, strict=True)):
            panel = row.panels[column] if column < len(row.panels) else ()
            _draw_panel(ax, panel, window, shade)
            _draw_dead(ax, rows[0].panels, column, dead)
            _draw_boxes(ax, seen[column])
        shade.explain(key)
    _label_axes(layout, rows, numbers, axis_names)
    _write_title(figure, title or _name(rse), statement)
    _explain_marks(figure, layout, roi=any(seen), dead=any(mask.any() for mask in dead))
    return figure


def _name(rse: RSE | None) -> str:
    return f"run {rse.run}, subrun {rse.subrun}, event {rse.event}" if rse else ""


class _Layout(NamedTuple):
    panels: list[list[Axes]]  # by row and plane
    keys: list[Axes]  # the colour keys, one per row


def _lay_out(figure: Figure, rows: int, planes: int, *, marked: bool) -> _Layout:
    """Place square panels and a narrow column for the keys; all sizes are in inches."""
    width, height = figure.get_size_inches()

    def place(left: float, top: float, wide: float, high: float) -> Axes:
        box = (left / width, 1 - (top + high) / height, wide / width, high / height)
        return figure.add_axes(box)

    size = _PANEL_INCH
    panels = [
        [place(1.1 + size * p, 0.95 + size * r, _PANEL_WIDE, _PANEL_HIGH) for p in range(planes)]
        for r in range(rows)
    ]
    # the legend of the marks takes the lower end of the first row's key
    ends = [MARKS_INCH if marked and r == 0 else 0 for r in range(rows)]
    keys = [
        place(0.78 + size * planes, 0.95 + size * r, 0.14, _PANEL_HIGH - end)
        for r, end in enumerate(ends)
    ]
    return _Layout(panels, keys)


class _Shade:
    """The colours of a row; this class paints the panels and draws the key."""

    def __init__(self, row: Row, *, most: int) -> None:
        """most: the largest number of pixels of a panel along each axis."""
        self.scale = row.scale
        self.most = most
        images = [image for panel in row.panels for image in panel]
        self.norm = colours.adc_norm(images if row.scale == "adc" else [])

    def paint(self, cuts: Sequence[colours.Cut]) -> colours.Colours:
        if self.scale == "adc":
            return colours.adc_colours(cuts[0].values, self.norm)
        return colours.class_colours(cuts[0].values, cuts[1].values)

    def explain(self, key: Axes) -> None:
        if self.scale == "adc":
            charge_key(key, self.norm)
        elif self.scale == "scores":
            score_key(key)
        else:
            class_key(key)


def _draw_panel(ax: Axes, panel: Panel, window: PixelWindow, shade: _Shade) -> None:
    ax.set_facecolor(colours.NOTHING)
    ax.set_xlim(window.min_x, window.max_x)
    ax.set_ylim(window.min_y, window.max_y)
    cuts = [colours.cut(image, window, most=shade.most) for image in panel]
    if not panel:
        _say(ax, "no image of this plane")
    elif all(cut.values.size for cut in cuts):
        ax.imshow(shade.paint(cuts), extent=cuts[0].window, aspect="auto", interpolation="nearest")
        ax.set_xlim(window.min_x, window.max_x)
        ax.set_ylim(window.min_y, window.max_y)
    if panel and not any(cut.values.any() for cut in cuts):
        _say(ax, "no charge" if shade.scale == "adc" else "nothing but background")


def _say(ax: Axes, text: str) -> None:
    ax.text(
        0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="#aab2cc", size=12
    )


def _draw_dead(ax: Axes, panels: Sequence[Panel], column: int, dead: Sequence[Mask]) -> None:
    """Draw grey bands over dead wires."""
    if column >= len(dead) or column >= len(panels) or not panels[column]:
        return
    meta = panels[column][0].meta
    padded = np.concatenate([[False], dead[column], [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(padded)).reshape(-1, 2)
    for first, end in edges * meta.pixel_width + meta.min_x:
        ax.axvspan(first, end, **DEAD_BAND)


def _in_sight(rois: Sequence[ROI], plane: int, window: PixelWindow) -> list[ImageMeta]:
    """Return the boxes on a plane that have an edge inside the window."""
    boxes = [box for roi in rois if (box := roi.shown_on(plane))]
    return [box for box in boxes if _overlap(box, window) and not _surrounds(box, window)]


def _overlap(box: ImageMeta, window: PixelWindow) -> bool:
    wires = max(box.min_x, window.min_x) < min(box.max_x, window.max_x)
    return wires and max(box.min_y, window.min_y) < min(box.max_y, window.max_y)


def _surrounds(box: ImageMeta, window: PixelWindow) -> bool:
    wires = box.min_x <= window.min_x and window.max_x <= box.max_x
    return wires and box.min_y <= window.min_y and window.max_y <= box.max_y


def _draw_boxes(ax: Axes, boxes: Sequence[ImageMeta]) -> None:
    for box in boxes:
        ax.add_patch(Rectangle((box.min_x, box.min_y), box.width, box.height, **ROI_EDGE))


def _label_axes(
    layout: _Layout, rows: Sequence[Row], numbers: Sequence[int], names: AxisNames
) -> None:
    for row, axes in zip(rows, layout.panels, strict=True):
        for ax in axes:
            ax.tick_params(labelsize=9, color=FAINT, labelcolor=INK, labelleft=ax is axes[0])
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
            if names.rows_down:
                ax.yaxis.set_major_formatter(lambda y, _: f"{-y + 0:g}")
            for spine in ax.spines.values():
                spine.set_color(FAINT)
        axes[0].set_ylabel(names.along, fontsize=10, color=INK)
        _name_row(axes[0], row.name)
    for ax in layout.panels[-1]:
        ax.set_xlabel(names.across, fontsize=10, color=INK)
    for plane, ax in zip(numbers, layout.panels[0], strict=True):
        letter = f" ({PLANE_NAMES[plane]})" if plane < len(PLANE_NAMES) else ""
        ax.set_title(f"plane {plane}{letter}", fontsize=12, color=INK)


def _name_row(ax: Axes, name: str) -> None:
    text = _shortened(drawable(name), 60)
    ax.text(
        -0.22,
        0.5,
        text,
        transform=ax.transAxes,
        rotation=90,
        ha="center",
        va="center",
        color=INK,
        size=min(14, 420 / max(len(text), 1)),
        weight="bold",
        parse_math=False,
    )


def _shortened(text: str, most: int) -> str:
    """Cut out the middle of a text that is longer than `most`."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[len(text) - half :]}"


def _write_title(figure: Figure, title: str, statement: str) -> None:
    width, height = figure.get_size_inches()
    left = 1.1 / width
    figure.text(left, 1 - 0.36 / height, title, size=15, weight="bold", color=INK, parse_math=False)
    line = _shortened(drawable(statement), int((width - 1.3) * _LETTERS_AN_INCH))
    figure.text(left, 1 - 0.62 / height, line, size=11, color=FAINT, parse_math=False)


def _explain_marks(figure: Figure, layout: _Layout, *, roi: bool, dead: bool) -> None:
    width, _ = figure.get_size_inches()
    bottom = layout.panels[0][0].get_position().y0
    left = layout.keys[0].get_position().x0 - 0.1 / width
    explain_marks(figure, left=left, bottom=bottom, roi=roi, dead=dead)
