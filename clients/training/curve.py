"""A training's history as lines of JSON and as a picture; both files are written atomically."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from lartpc.files.whole_file import write_whole

Line = dict[str, Any]
"""One report: `step`, `loss` and so on, or `step` and `validation`, which is by plane."""

_INK, _GRID, _BATCHES = "#1d2433", "#d9dce3", "#8b92a3"
_PLANES = ("#d55e00", "#009e73", "#0072b2")  # Okabe and Ito's colours, safe for the colour-blind
_DPI = 110
_MOST_MARKERS = 80  # more markers would hide the line
_PANELS = (
    ("loss", "loss"),
    ("right", "correct shower and track pixels"),
    ("shower", "correct shower pixels"),
    ("track", "correct track pixels"),
)


def write_lines(path: Path, history: Sequence[Line]) -> None:
    """Write one line of JSON per report. Raises `WriteError`."""
    text = "".join(json.dumps(line) + "\n" for line in history)
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def draw(path: Path, history: Sequence[Line], *, title: str) -> None:
    """Draw loss and accuracy against steps, of training batches and of each plane's unseen images.

    The file is a PNG. Raises `WriteError`.
    """
    figure = render(history, title=title)
    write_whole(path, lambda part: figure.savefig(part, format="png", dpi=_DPI))


def render(history: Sequence[Line], *, title: str) -> Figure:
    """Return the picture of `draw` as a matplotlib figure."""
    figure = Figure(figsize=(10, 7.4), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    figure.suptitle(title, color=_INK, fontsize=12, parse_math=False)
    for axes, (name, what) in zip(panels.flat, _PANELS, strict=True):
        _draw(axes, history, name)
        axes.set_title(what, color=_INK, fontsize=10)
        axes.grid(color=_GRID, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
        if name == "loss":
            _scale_loss(axes, history)
        else:
            _scale_share(axes)
    for axes in panels[1]:
        _scale_steps(axes, history)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def _draw(axes: Axes, history: Sequence[Line], name: str) -> None:
    lines = [line for line in history if "loss" in line]
    if lines:
        label = "training: crops of the batches since the last report"
        _plot(axes, lines, [line[name] for line in lines], colour=_BATCHES, label=label)
    validated = [line for line in history if "validation" in line]
    for plane in sorted({plane for line in validated for plane in line["validation"]}):
        its_lines = [line for line in validated if plane in line["validation"]]
        values = [line["validation"][plane][name] for line in its_lines]
        colour = _PLANES[int(plane) % len(_PLANES)]
        label = f"validation: whole unseen images of plane {plane}"
        _plot(axes, its_lines, values, colour=colour, label=label)


def _plot(
    axes: Axes, lines: Sequence[Line], values: Sequence[float], *, colour: str, label: str
) -> None:
    marker = "o" if len(lines) <= _MOST_MARKERS else ""
    steps = [line["step"] for line in lines]
    axes.plot(steps, values, color=colour, label=label, marker=marker, markersize=4, linewidth=1.4)


def _scale_steps(axes: Axes, history: Sequence[Line]) -> None:
    """Let the axis start at 0 and have ticks only at whole steps."""
    last = max((line["step"] for line in history), default=1)
    axes.set_xlim(0, 1.03 * max(last, 1))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("step", color=_INK)


def _scale_share(axes: Axes) -> None:
    """Show percent, at most up to 100 and over at least 2, so that noise does not look large."""
    low, high = axes.get_ylim()
    low, high = max(low, -0.02), min(high, 1.02)
    missing = max(0.02 - (high - low), 0)
    axes.set_ylim(low - missing / 2, high + missing / 2)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))


def _scale_loss(axes: Axes, history: Sequence[Line]) -> None:
    """Use a logarithmic axis if the losses span a decade, else start at 0; plain numbers always."""
    losses = [line["loss"] for line in history if "loss" in line]
    validated = [plane for line in history for plane in line.get("validation", {}).values()]
    losses += [plane["loss"] for plane in validated]
    if losses and min(losses) > 0 and max(losses) >= 10 * min(losses):
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, 1.08 * max(losses, default=1) or 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
