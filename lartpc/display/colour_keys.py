"""Draws the keys and legends that explain the colours and marks of an event display."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from . import colours

INK, FAINT = "#1d2433", "#6b7285"
ROI_EDGE: dict[str, Any] = {
    "fill": False,
    "edgecolor": "white",
    "linestyle": (0, (3, 2)),
    "linewidth": 1.3,
}
"""The style of a region of interest, in the panels and in the legend."""
DEAD_BAND: dict[str, Any] = {"color": colours.DEAD, "linewidth": 0, "alpha": 0.75}
MARKS_INCH = 1.15
"""The height of the legend of the marks."""

_CLASSES = (
    ("shower", colours.SHOWER),
    ("track", colours.TRACK),
    ("background", colours.NOTHING),
)
_TRIANGLE_INCH = 0.95
_BELOW_CLASSES_INCH = 1.15
_STEPS = 200  # pixels along a side of the triangle


def charge_key(key: Axes, norm: Normalize) -> None:
    """Draw a colour bar of ADC."""
    bar = key.figure.colorbar(ScalarMappable(norm, colours.adc_map()), cax=key, extend="max")
    bar.outline.set_visible(False)
    bar.set_label("charge in a pixel (ADC)", fontsize=10, color=INK)
    bar.ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    bar.ax.tick_params(labelsize=9, color=FAINT, labelcolor=INK)


def class_key(key: Axes) -> None:
    """Draw a patch for each class."""
    key.set_axis_off()
    key.legend(
        handles=[Patch(color=colour, label=name) for name, colour in _CLASSES],
        loc="upper left",
        bbox_to_anchor=(-0.6, 1.02),
        frameon=False,
        handlelength=1,
        handleheight=1,
        labelcolor=INK,
        fontsize=11,
    )


def score_key(key: Axes) -> None:
    """Draw the classes, and a triangle with the colours of mixed and weak scores."""
    class_key(key)
    triangle = _axes_below(key)
    score = ((np.arange(_STEPS) + 0.5) / _STEPS).astype(np.float32)
    shower, track = np.tile(score, (_STEPS, 1)), np.tile(score[:, None], (1, _STEPS))
    painted = np.ones((_STEPS, _STEPS, 4))
    painted[..., :3] = colours.class_colours(shower, track)
    painted[shower + track > 1, 3] = 0  # the scores of a pixel add up to 1 at most
    triangle.imshow(painted, extent=(0, 1, 0, 1), origin="lower", aspect="auto")
    triangle.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    triangle.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
    triangle.tick_params(labelsize=8, color=FAINT, labelcolor=INK, length=2, pad=2)
    triangle.set_xlabel("shower score", fontsize=9, color=INK, labelpad=2)
    triangle.set_ylabel("track score", fontsize=9, color=INK, labelpad=2)
    triangle.set_facecolor("none")
    for spine in triangle.spines.values():
        spine.set_visible(False)


def _axes_below(key: Axes) -> Axes:
    """Add square axes in the column of the keys, below the patches of the classes."""
    figure = key.get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches()
    box = key.get_position()
    side = _TRIANGLE_INCH
    bottom = box.y1 - (_BELOW_CLASSES_INCH + side) / height
    return figure.add_axes((box.x0 + 0.28 / width, bottom, side / width, side / height))


def explain_marks(figure: Figure, *, left: float, bottom: float, roi: bool, dead: bool) -> None:
    """Draw a legend of the marks over the pixels.

    left, bottom: the place of its lower left corner, as fractions of the figure.
    """
    ground = Patch(color=colours.NOTHING, linewidth=5)
    marks: dict[str, Patch] = {}
    if dead:
        marks["dead wires"] = Patch(**DEAD_BAND)
    if roi:
        marks["region of\ninterest"] = Patch(**ROI_EDGE)
    if not marks:
        return
    figure.legend(
        handles=[(ground, mark) for mark in marks.values()],
        labels=list(marks),
        handler_map={tuple: HandlerTuple(ndivide=1, pad=0)},
        loc="lower left",
        bbox_to_anchor=(left, bottom),
        frameon=False,
        borderpad=0.4,
        borderaxespad=0,
        labelspacing=1.0,
        handlelength=1.6,
        handleheight=1.2,
        fontsize=10,
        labelcolor=INK,
    )
