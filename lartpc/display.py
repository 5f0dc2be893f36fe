"""Event displays: planes side by side; ADC, labels and scores under each other; to a PNG.

Matplotlib's Agg canvas alone: no pyplot, no state that outlives a call. A PNG appears under its
name when it is whole. Refuses to draw no row at all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from . import display_colours as colours
from .display_colours import Window
from .display_rows import Panel, Row, View, adc_row, label_row, planes, score_row, windows
from .errors import ImageError
from .image import ROI, RSE, ImageMeta

__all__ = ["Row", "View", "adc_row", "draw", "label_row", "render", "score_row"]

Mask = npt.NDArray[np.bool_]

PLANE_NAMES = ("U", "V", "Y")

_DPI = 130
_PANEL_INCH = 4.6
_PANEL_PIXELS = int(_DPI * _PANEL_INCH)
_INK, _FAINT = "#1d2433", "#6b7285"


def render(
    path: str | Path,
    rows: Sequence[Row],
    *,
    rse: RSE,
    statement: str = "",
    view: View | ROI = "charge",
    rois: Sequence[ROI] = (),
    dead: Sequence[Mask] = (),
) -> None:
    """Draw an event into a PNG, which appears when it is whole.

    statement: one line that says what is shown.
    view: "charge" zooms to the charge of the first row, "whole" shows all of it, a ROI its boxes.
    rois: drawn as boxes, unless a ROI is the view.
    dead: by panel, which columns of the first row's image are dead, (cols,).
    """
    save(draw(rows, rse=rse, statement=statement, view=view, rois=rois, dead=dead), Path(path))


def drawable(text: str) -> str:
    """As fonts have it: what is no UTF-8 in a file's name as JSON escapes it."""
    return text.encode(errors="backslashreplace").decode()


def save(figure: Figure, path: Path) -> None:
    """Make a PNG, which appears when it is whole. Raises `OSError`."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        figure.savefig(unfinished, format="png", dpi=_DPI)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def draw(
    rows: Sequence[Row],
    *,
    rse: RSE,
    statement: str = "",
    view: View | ROI = "charge",
    rois: Sequence[ROI] = (),
    dead: Sequence[Mask] = (),
) -> Figure:
    """The same as a matplotlib figure."""
    if not rows:
        raise ImageError("want at least one row to draw, got none")
    parts = windows(rows, view)
    boxes = () if isinstance(view, ROI) else rois
    figure = Figure(figsize=(_PANEL_INCH * len(parts) + 2.2, _PANEL_INCH * len(rows) + 1.2))
    figure.set_facecolor("white")
    layout = _lay_out(figure, len(rows), len(parts))
    numbers = planes(rows)
    seen = [_in_sight(boxes, *place) for place in zip(numbers, parts, strict=True)]
    for row, axes, key in zip(rows, layout.panels, layout.keys, strict=True):
        shade = _Shade(row)
        for column, (ax, window) in enumerate(zip(axes, parts, strict=True)):
            panel = row.panels[column] if column < len(row.panels) else ()
            _draw_panel(ax, panel, window, shade)
            _draw_dead(ax, rows[0].panels, column, dead)
            _draw_boxes(ax, seen[column])
        shade.explain(key)
    _label_axes(layout, rows, numbers)
    _write_title(figure, rse, statement)
    _explain_marks(figure, roi=any(seen), dead=any(mask.any() for mask in dead))
    return figure


class _Layout(NamedTuple):
    panels: list[list[Axes]]  # by row and plane
    keys: list[Axes]  # what the colours mean, one a row


def _lay_out(figure: Figure, rows: int, planes: int) -> _Layout:
    """Square panels and a narrow column for the keys, placed in inches."""
    width, height = figure.get_size_inches()

    def place(left: float, top: float, wide: float, high: float) -> Axes:
        box = (left / width, 1 - (top + high) / height, wide / width, high / height)
        return figure.add_axes(box)

    size = _PANEL_INCH
    panels = [
        [place(1.1 + size * p, 0.95 + size * r, size - 0.5, size - 0.45) for p in range(planes)]
        for r in range(rows)
    ]
    keys = [place(0.78 + size * planes, 0.95 + size * r, 0.14, size - 0.45) for r in range(rows)]
    return _Layout(panels, keys)


class _Shade:
    """A row's colours: how its panels are painted, and the key to them."""

    def __init__(self, row: Row) -> None:
        self.scale = row.scale
        images = [image for panel in row.panels for image in panel]
        self.norm = colours.adc_norm(images if row.scale == "adc" else [])

    def paint(self, cuts: Sequence[colours.Cut]) -> colours.Colours:
        if self.scale == "adc":
            return colours.adc_colours(cuts[0].values, self.norm)
        return colours.class_colours(cuts[0].values, cuts[1].values)

    def explain(self, key: Axes) -> None:
        if self.scale == "adc":
            mappable = ScalarMappable(self.norm, colours.adc_map())
            bar = key.figure.colorbar(mappable, cax=key, extend="max")
            bar.outline.set_visible(False)
            bar.set_label("charge in a pixel (ADC)", fontsize=10, color=_INK)
            bar.ax.tick_params(labelsize=9, color=_FAINT, labelcolor=_INK)
            return
        key.set_axis_off()
        named = (
            ("shower", colours.SHOWER),
            ("track", colours.TRACK),
            ("background", colours.NOTHING),
        )
        key.legend(
            handles=[Patch(color=colour, label=name) for name, colour in named],
            loc="upper left",
            bbox_to_anchor=(-0.6, 1.02),
            frameon=False,
            handlelength=1,
            handleheight=1,
            labelcolor=_INK,
            fontsize=11,
        )


def _draw_panel(ax: Axes, panel: Panel, window: Window, shade: _Shade) -> None:
    ax.set_facecolor(colours.NOTHING)
    ax.set_xlim(window.min_x, window.max_x)
    ax.set_ylim(window.min_y, window.max_y)
    cuts = [colours.cut(image, window, most=_PANEL_PIXELS) for image in panel]
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
    """Grey bands over dead wires."""
    if column >= len(dead) or column >= len(panels) or not panels[column]:
        return
    meta = panels[column][0].meta
    padded = np.concatenate([[False], dead[column], [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(padded)).reshape(-1, 2)
    for first, end in edges * meta.pixel_width + meta.min_x:
        ax.axvspan(first, end, color=colours.DEAD, linewidth=0, alpha=0.75)


def _in_sight(rois: Sequence[ROI], plane: int, window: Window) -> list[ImageMeta]:
    """The boxes on a plane of which the window shows a part."""
    boxes = [roi.boxes[plane] for roi in rois if plane < len(roi.boxes)]
    return [
        box
        for box in boxes
        if max(box.min_x, window.min_x) < min(box.max_x, window.max_x)
        and max(box.min_y, window.min_y) < min(box.max_y, window.max_y)
    ]


def _draw_boxes(ax: Axes, boxes: Sequence[ImageMeta]) -> None:
    for box in boxes:
        corner = (box.min_x, box.min_y)
        ax.add_patch(
            Rectangle(
                corner, box.width, box.height, fill=False, edgecolor="white", linestyle=(0, (4, 3))
            )
        )


def _label_axes(layout: _Layout, rows: Sequence[Row], numbers: Sequence[int]) -> None:
    for row, axes in zip(rows, layout.panels, strict=True):
        for ax in axes:
            ax.tick_params(labelsize=9, color=_FAINT, labelcolor=_INK, labelleft=ax is axes[0])
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
            for spine in ax.spines.values():
                spine.set_color(_FAINT)
        axes[0].set_ylabel("time (ticks)", fontsize=10, color=_INK)
        axes[0].text(
            -0.22,
            0.5,
            row.name,
            transform=axes[0].transAxes,
            rotation=90,
            ha="center",
            va="center",
            color=_INK,
            size=14,
            weight="bold",
            parse_math=False,
        )
    for ax in layout.panels[-1]:
        ax.set_xlabel("wire number", fontsize=10, color=_INK)
    for plane, ax in zip(numbers, layout.panels[0], strict=True):
        letter = f" ({PLANE_NAMES[plane]})" if plane < len(PLANE_NAMES) else ""
        ax.set_title(f"plane {plane}{letter}", fontsize=12, color=_INK)


def _write_title(figure: Figure, rse: RSE, statement: str) -> None:
    width, height = figure.get_size_inches()
    left = 1.1 / width
    title = f"run {rse.run}, subrun {rse.subrun}, event {rse.event}"
    figure.text(left, 1 - 0.36 / height, title, size=15, weight="bold", color=_INK)
    line = drawable(statement)
    figure.text(left, 1 - 0.62 / height, line, size=11, color=_FAINT, parse_math=False)


def _explain_marks(figure: Figure, *, roi: bool, dead: bool) -> None:
    """What the marks over the pixels mean, right above the panels."""
    marks: list[Patch] = []
    if dead:
        marks.append(Patch(color=colours.DEAD, label="dead wires"))
    if roi:
        marks.append(
            Patch(
                fill=False,
                edgecolor=_INK,  # white over the panels
                linestyle=(0, (3, 2)),
                label="region of interest",
            )
        )
    if not marks:
        return
    width, height = figure.get_size_inches()
    figure.legend(
        handles=marks,
        ncols=len(marks),
        loc="upper right",
        bbox_to_anchor=(1 - 1.6 / width, 1 - 0.2 / height),
        frameon=False,
        fontsize=11,
        labelcolor=_INK,
        handleheight=1.1,
    )
