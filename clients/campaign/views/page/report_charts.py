"""The charts of a campaign's page. Pure.

They are SVG without text: the labels are HTML, so that they never shrink with the chart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mdp.settings import short_text

from ..host_sums import percent
from ..standing import STATES, Sums
from .markup import Html, count, element, figure, joined, plural
from .report_figures import Rates

MEANING = {
    "done": "scored",
    "publishing": "scored, being moved to its place",
    "waiting": "waiting, or being scored now",
    "failed": "failed",
    "repeated": "the same content as another input",
    "changed": "the input changed after it was scored",
}
_ORDER = ("done", "publishing", "failed", "changed", "repeated", "waiting")
_HIGH = 100.0
_LABELS = 5

TimeText = Callable[[float], str]


def states(by_state: Mapping[str, Sums]) -> Html:
    """Return a bar with a part for each state, and its key with the numbers."""
    assert set(_ORDER) == set(STATES)
    total = sum(sums.files for sums in by_state.values())
    parts, keys = [], []
    for state in _ORDER:
        files = by_state.get(state, Sums()).files
        if not files:
            continue
        share = files / total
        text = f"{plural(files, 'file')} {state}, {percent(share)}"
        parts.append(element("i", class_=f"{state}-b", style=f"flex:{share:.6f} 0 0", title=text))
        keys.append(
            element(
                "li",
                element("i", class_=f"{state}-b"),
                element("b", count(files)),
                f" {MEANING[state]} ({percent(share)})",
            )
        )
    label = ", ".join(f"{by_state[s].files} {s}" for s in _ORDER if s in by_state)
    bar = element("div", *parts, class_="states", role="img", aria_label=f"Files: {label}")
    return joined((bar, element("ul", *keys, class_="key")))


def rates(of: Rates, time_text: TimeText) -> Html:
    """Return the events a minute over time, and below them when tries failed."""
    if not of.bins:
        return element("p", "No file has been tried yet.", class_="dim")
    most = of.most_events_per_s * 60
    top = _round_up(most)
    failed = sum(one.failed for one in of.bins)
    ends = [of.bins[0].began_at, of.bins[-1].began_at + of.length_s]
    moments = [ends[0] + k * (ends[1] - ends[0]) / (_LABELS - 1) for k in range(_LABELS)]
    children = [
        element("div", "events a minute", class_="what"),
        element(
            "div", *(element("span", figure(top * k / 4)) for k in (4, 3, 2, 1, 0)), class_="y"
        ),
        _bars(of, top),
        element(
            "div", *(element("span", text) for text in _labels(moments, time_text)), class_="x"
        ),
    ]
    if failed:
        children += [_marks(of), element("div", _failures(failed), class_="what")]
    return element("div", *children, class_="chart")


def _labels(moments: Sequence[float], time_text: TimeText) -> list[str]:
    """Return short texts of times: without what is the same in all, such as the year."""
    words = [time_text(at).split() for at in moments]
    if len({tuple(text) for text in words}) < len(words):  # within a few minutes
        later = [f"+ {short_text(at - moments[0])}" for at in moments[1:]]
        return [words[0][4], *later]
    same = {0, 3, 5}  # the day of the week, the year, the zone
    if len({tuple(text[1:3]) for text in words}) == 1:
        same |= {1, 2}
    return [" ".join(word for k, word in enumerate(text) if k not in same) for text in words]


def _failures(failed: int) -> str:
    tries = "1 try" if failed == 1 else f"{count(failed)} tries"
    return f"Marks: when tries failed (stronger: more of them; {tries} in all)."


def _bars(of: Rates, top: float) -> Html:
    width = len(of.bins)
    lines = [
        element("line", x1=0, x2=width, y1=f"{y:g}", y2=f"{y:g}", class_="grid")
        for y in (0, 25, 50, 75)
    ]
    path = []
    for k, one in enumerate(of.bins):
        high = one.events / of.length_s * 60 / top * _HIGH
        if high > 0:
            path.append(f"M{k + 0.04:g} {_HIGH:g}v{-high:.2f}h.92v{high:.2f}z")
    bars = element("path", d="".join(path), class_="bars")
    label = f"Events a minute over time, at most {figure(of.most_events_per_s * 60)}"
    return element(
        "svg",
        *lines,
        bars,
        viewBox=f"0 0 {width} {_HIGH:g}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def _marks(of: Rates) -> Html:
    width, most = len(of.bins), max(one.failed for one in of.bins)
    marks = [
        element(
            "rect",
            x=f"{k + 0.04:g}",
            y="10",
            width=".92",
            height="80",
            fill_opacity=f"{0.35 + 0.65 * one.failed / most:.2f}",
        )
        for k, one in enumerate(of.bins)
        if one.failed
    ]
    return element(
        "svg",
        element("g", *marks, class_="marks"),
        viewBox=f"0 0 {width} {_HIGH:g}",
        preserveAspectRatio="none",
        class_="ticks",
        role="img",
        aria_label="When tries failed",
    )


def _round_up(most: float) -> float:
    """Return a round number that is not below another: 1, 2, 4 or 8 times a power of ten."""
    top = 1e-6
    while top < most:
        for factor in (1, 2, 4, 8):
            if factor * top >= most:
                return factor * top
        top *= 10
    return top


def share_bar(share: float) -> Html:
    """Return a short bar whose filled part is a share from 0 to 1."""
    inner = element("i", style=f"width:{100 * min(share, 1):.1f}%")
    return element("span", inner, class_="share", aria_hidden="true")
