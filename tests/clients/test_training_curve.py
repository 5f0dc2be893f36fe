"""The training curve: what a reader of the picture sees."""

from __future__ import annotations

from typing import Any

from tests.support.optional import optional

optional("matplotlib")

from clients.training.curve import render  # noqa: E402

SHARES = {"right": 0.62, "shower": 0.5, "track": 0.7}
REPORT: dict[str, Any] = {"step": 4, "loss": 0.7, **SHARES}
VALIDATION: dict[str, Any] = {"step": 4, "validation": {"2": {"loss": 0.6, **SHARES}}}


def test_one_report_is_a_point_at_whole_steps_in_percent() -> None:
    figure = render([REPORT], title="x")
    figure.draw_without_rendering()
    for axes in figure.axes:
        [line] = axes.get_lines()
        assert line.get_marker() == "o"
        low, high = axes.get_xlim()
        assert low < 4 < high
        assert all(tick == round(tick) for tick in axes.get_xticks())
    for axes in figure.axes[1:]:
        assert all(label.get_text().endswith("%") for label in axes.get_yticklabels())


def test_the_legend_tells_crops_from_whole_images() -> None:
    [legend] = render([REPORT, VALIDATION], title="x").legends
    batches, plane = (text.get_text() for text in legend.get_texts())
    assert "crops" in batches
    assert "whole unseen images of plane 2" in plane
