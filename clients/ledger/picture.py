"""The timeline of a run: what its events waited for, and how busy each worker was; a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lartpc.display import drawing, picture_files

from .chunks import chunks
from .figures import Figures
from .file import LedgerReader
from .limits import Verdict
from .timeline import STATES, Timeline, event_states, last_job

COLOURS = {
    "read": "#2c7fb8",
    "cut": "#7fcdee",
    "room": "#e3e6ee",
    "out": "#f5a623",
    "turn": "#c3c8d6",
    "stitch": "#a6d96a",
    "write": "#1a9850",
}
NAMES = {
    "read": "reading",
    "cut": "cutting, packing",
    "room": "waiting for room",
    "out": "with queues and workers",
    "turn": "answered, waiting for its turn",
    "stitch": "unpacking, stitching",
    "write": "writing",
}
LANE_BINS = 900
STATE_BINS = 240
EACH = 60
"""Up to so many events, each has a row of its own."""
_INK, _FAINT = "#1d2433", "#6b7285"
_WIDTH, _LEFT, _RIGHT = 14.0, 1.7, 0.5  # inches
_TOP, _LINE, _ABOVE, _BELOW = 1.15, 0.19, 3.6, 1.0
_LANE, _MOST_LANES = 0.23, 7.0
_BUSY = LinearSegmentedColormap.from_list("busy", ["#f3f4f8", "#f9cf86", "#f5a623", "#b8520a"])


def draw(ledger: Path, figures: Figures, verdict: Verdict, output: Path) -> None:
    """Draw the job of which the figures are. Raises `WriteError`, `LedgerError`."""
    picture_files.check_name(output)
    picture_files.save(render(ledger, figures, verdict), output)


def render(ledger: Path, figures: Figures, verdict: Verdict) -> Figure:
    """The same as a matplotlib figure."""
    timeline = Timeline(LedgerReader(ledger), figures, state_bins=STATE_BINS, lane_bins=LANE_BINS)
    lanes_high = min(max(_LANE * (len(timeline.workers) + 2), 1.0), _MOST_LANES)
    above = _ABOVE if figures.events > EACH else max(0.11 * figures.events, 1.2)
    said = textwrap.wrap(verdict.text, 160, max_lines=4, placeholder=" ...")
    top = _TOP + _LINE * len(said)
    figure = Figure(figsize=(_WIDTH, top + above + 0.35 + lanes_high + _BELOW))
    figure.set_facecolor("white")
    events = _place(figure, top, above)
    lanes = _place(figure, top + above + 0.35, lanes_high)
    if figures.events > EACH:
        _draw_states(events, timeline)
    else:
        _draw_each(events, ledger, figures)
    _draw_lanes(lanes, timeline)
    for axes in (events, lanes):
        axes.set_xlim(0, timeline.span_s)
        axes.tick_params(labelsize=9, color=_FAINT, labelcolor=_INK)
        for spine in axes.spines.values():
            spine.set_visible(False)
    events.tick_params(labelbottom=False)
    lanes.set_xlabel("time since the first event's reading began (s)", fontsize=10, color=_INK)
    _write_title(figure, figures, said)
    _explain(figure, top)
    return figure


def _place(figure: Figure, top: float, high: float) -> Axes:
    """Axes of the whole width, placed in inches from the top."""
    width, height = figure.get_size_inches()
    wide = (width - _LEFT - _RIGHT) / width
    return figure.add_axes((_LEFT / width, 1 - (top + high) / height, wide, high / height))


def _draw_states(axes: Axes, timeline: Timeline) -> None:
    """How many events were at what, stacked."""
    edges = np.linspace(0, timeline.span_s, len(timeline.states[0]) + 1)
    floor = np.zeros(len(timeline.states[0]))
    for name, row in zip(STATES, timeline.states, strict=True):
        axes.stairs(floor + row, edges, baseline=floor, fill=True, color=COLOURS[name], linewidth=0)
        floor = floor + row
    axes.set_ylim(0, max(1.05 * float(floor.max()), 1))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_ylabel("events under way", fontsize=10, color=_INK)


def _draw_each(axes: Axes, ledger: Path, figures: Figures) -> None:
    """A row an event, the first one on top."""
    row = 0
    for chunk in chunks(last_job(LedgerReader(ledger), figures)):
        states = list(event_states(chunk))
        for k in range(len(chunk.events)):
            for name, (starts, ends) in zip(STATES, states, strict=True):
                bar = [(float(starts[k]), float(ends[k] - starts[k]))]
                axes.broken_barh(bar, (row + 0.1, 0.8), color=COLOURS[name], linewidth=0)
            row += 1
    axes.set_ylim(row, 0)
    axes.yaxis.set_major_locator(MaxNLocator(min(row, 8), integer=True))
    axes.set_ylabel("events, in order", fontsize=10, color=_INK)


def _draw_lanes(axes: Axes, timeline: Timeline) -> None:
    """Each worker's busy share, darker where it had less rest; the client's threads around them."""
    reading, writing = timeline.threads
    rows = np.concatenate([[reading], timeline.lanes, [writing]])
    extent = (0.0, timeline.span_s, float(len(rows)), 0.0)
    axes.imshow(
        rows, extent=extent, aspect="auto", interpolation="nearest", cmap=_BUSY, vmin=0, vmax=1
    )
    planes = [plane for plane, _ in timeline.workers]
    ticks, names = [0.5], ["the client reads"]
    for plane in sorted(set(planes)):
        first, count = planes.index(plane), planes.count(plane)
        axes.axhline(first + 1, color="white", linewidth=2.5)
        ticks.append(first + 1 + count / 2)
        names.append(f"plane {plane}: {count} worker{'s' if count > 1 else ''}")
    axes.axhline(len(rows) - 1, color="white", linewidth=2.5)
    axes.set_yticks([*ticks, len(rows) - 0.5], [*names, "the client writes"])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows), 0)


def _write_title(figure: Figure, figures: Figures, said: Sequence[str]) -> None:
    width, height = figure.get_size_inches()
    left, each_s = _LEFT / width, figures.span_s / figures.events
    title = f"{figures.runs[-1].output}: {figures.events} events, {1 / each_s:.3g} a second"
    title = drawing.drawable(title)
    figure.text(left, 1 - 0.4 / height, title, size=15, weight="bold", color=_INK, parse_math=False)
    text, high = "\n".join(said), 1 - 0.55 / height
    figure.text(left, high, text, size=10, color=_FAINT, va="top", parse_math=False)


def _explain(figure: Figure, top: float) -> None:
    width, height = figure.get_size_inches()
    figure.legend(
        handles=[Patch(color=COLOURS[name], label=NAMES[name]) for name in STATES],
        ncols=len(STATES),
        loc="upper left",
        bbox_to_anchor=((_LEFT - 0.12) / width, 1 - (top - 0.42) / height),
        frameon=False,
        fontsize=9.5,
        labelcolor=_INK,
        handlelength=1,
        handleheight=1,
        columnspacing=1.4,
    )
    box = (1 - (_RIGHT + 2.2) / width, 0.26 / height, 2.2 / width, 0.12 / height)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 100), _BUSY),
        cax=figure.add_axes(box),
        orientation="horizontal",
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, color=_FAINT, labelcolor=_INK)
    bar.ax.set_title("busy (%)", fontsize=9, color=_INK, pad=3)
