"""How a training went: lines of JSON, and a picture. Each appears when it is whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lartpc.whole_file import write_whole

Line = dict[str, Any]
"""One report: `step`, `loss`, ..., or `step` and `validation` by plane."""

_INK, _GRID, _BATCHES = "#1d2433", "#d9dce3", "#8b92a3"
_PLANES = ("#d55e00", "#009e73", "#0072b2")  # Okabe, Ito: apart for any eyes
_DPI = 110
_PANELS = (
    ("loss", "loss"),
    ("right", "shower and track pixels right"),
    ("shower", "shower pixels right"),
    ("track", "track pixels right"),
)


def write_lines(path: Path, history: Sequence[Line]) -> None:
    """One line of JSON a report. Raises `WriteError`."""
    text = "".join(json.dumps(line) + "\n" for line in history)
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def draw(path: Path, history: Sequence[Line], *, title: str) -> None:
    """Loss and accuracy against steps, of training batches and of each plane's unseen images.

    A PNG. Raises `WriteError`.
    """
    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    figure.suptitle(title, color=_INK, fontsize=11)
    for axes, (name, what) in zip(panels.flat, _PANELS, strict=True):
        _draw(axes, history, name)
        axes.set_title(what, color=_INK, fontsize=9)
        axes.grid(color=_GRID, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_yscale("log")
    for axes in panels[1]:
        axes.set_xlabel("step")
    panels[0, 0].legend(fontsize=8, frameon=False)
    write_whole(path, lambda part: figure.savefig(part, format="png", dpi=_DPI))


def _draw(axes: Any, history: Sequence[Line], name: str) -> None:
    lines = [line for line in history if "loss" in line]
    steps = [line["step"] for line in lines]
    axes.plot(steps, [line[name] for line in lines], color=_BATCHES, label="training batches")
    validated = [line for line in history if "validation" in line]
    steps = [line["step"] for line in validated]
    for plane in sorted({plane for line in validated for plane in line["validation"]}):
        values = [line["validation"][plane][name] for line in validated]
        colour, label = _PLANES[int(plane) % len(_PLANES)], f"unseen images, plane {plane}"
        axes.plot(steps, values, "o-", color=colour, label=label, markersize=4)
