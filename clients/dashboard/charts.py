"""The two charts of the page, made with Bokeh: lanes of the workers, and rates of the services.

The server makes them once for each theme, without data. The page has Bokeh's JavaScript from this
server, and puts the data into the sources by their names, once a second.
"""

from __future__ import annotations

import functools
from typing import Any

from bokeh.embed import json_item
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, TapTool
from bokeh.plotting import figure

from .lanes import WINDOW_S
from .site_figures import CHART_S

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a900")
"""Colours for services that colour-blind people can tell apart (Okabe and Ito; a darker yellow)."""
THEMES = {
    "light": {"paper": "#ffffff", "ink": "#1b1f24", "grid": "#d8dde3"},
    "dark": {"paper": "#161b22", "ink": "#e6edf3", "grid": "#30363d"},
}
_LANES = ("left", "right", "top", "bottom", "colour", "alpha", "who", "state")
_MARKS = ("left", "right", "top", "bottom", "hatch")


@functools.lru_cache(maxsize=len(THEMES))
def charts(theme: str) -> dict[str, Any]:
    """Return both charts as JSON for `Bokeh.embed.embed_item`. theme: `light` or `dark`."""
    return {"lanes": json_item(_lanes(theme)), "rates": json_item(_rates(theme))}


def _lanes(theme: str) -> Any:
    source = ColumnDataSource({name: [] for name in _LANES}, name="segments")
    plot = _plot(theme, x_range=(-WINDOW_S, 0.0), y_range=(1.0, 0.0), height=300)
    quads = plot.quad(
        left="left",
        right="right",
        top="top",
        bottom="bottom",
        source=source,
        fill_color="colour",
        fill_alpha="alpha",
        line_color=None,
        nonselection_fill_alpha="alpha",
        nonselection_line_color=None,
    )
    # a hatch for each quad would make the page slow, so the few that have one are drawn again
    marks = ColumnDataSource({name: [] for name in _MARKS}, name="marks")
    plot.quad(
        left="left",
        right="right",
        top="top",
        bottom="bottom",
        source=marks,
        fill_color=None,
        line_color=None,
        hatch_pattern="hatch",
        hatch_color=THEMES[theme]["ink"],
        hatch_alpha=0.7,
    )
    tips = [("worker", "@who"), ("state", "@state")]
    plot.add_tools(HoverTool(renderers=[quads], tooltips=tips), TapTool(renderers=[quads]))
    plot.yaxis.ticker = FixedTicker(ticks=[], name="services")
    plot.yaxis.name = "service names"
    plot.ygrid.grid_line_color = None
    plot.xaxis.axis_label = "seconds before now"
    return plot


def _rates(theme: str) -> Any:
    source = ColumnDataSource({"xs": [], "ys": [], "colour": [], "dash": []}, name="lines")
    plot = _plot(theme, x_range=(-CHART_S, 0.0), height=220)
    plot.y_range.start = 0.0
    plot.multi_line(
        xs="xs", ys="ys", line_color="colour", line_dash="dash", line_width=2, source=source
    )
    plot.yaxis.axis_label = "answers/s"
    plot.xaxis.axis_label = "seconds before now"
    return plot


def _plot(theme: str, **settings: Any) -> Any:
    colours = THEMES[theme]
    plot = figure(
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        output_backend="webgl",
        min_border_right=12,
        background_fill_color=colours["paper"],
        border_fill_color=colours["paper"],
        outline_line_color=colours["grid"],
        **settings,
    )
    plot.grid.grid_line_color = colours["grid"]
    for axis in plot.axis:
        axis.axis_line_color = axis.major_tick_line_color = colours["grid"]
        axis.minor_tick_line_color = None
        axis.major_label_text_color = axis.axis_label_text_color = colours["ink"]
        axis.axis_label_text_font_style = "normal"
    return plot
