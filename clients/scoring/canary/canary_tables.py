"""The report of a canary as tables, as JSON and as a page with pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lartpc.crops.chain import CLASSES
from lartpc.files.whole_file import write_whole

from ...terminal.narrow import Pairs, Rows
from .agreement import NAMES, Agreement, CropName, Pair, sentence
from .canary_report import CanaryReport, CropPixels
from .crop_pictures import draw


def values(report: CanaryReport) -> dict[str, Any]:
    """Return the report as a JSON object, with the figures that are computed from the counts."""
    whole = report.total()
    return {
        **report.plain(),
        "sentence": sentence(whole),
        "crops": whole.crops,
        "equal_crops": whole.equal_crops,
        "changed_share": whole.changed / whole.charged if whole.charged else 0.0,
        "max_difference": max(whole.max_difference),
    }


def tables(report: CanaryReport) -> list[Rows | Pairs]:
    """Return the tables for people; the sentence comes first."""
    head = [("result", sentence(report.total())), ("clients", str(report.clients))]
    head += [(f"crops {name}", f"{report.counts[name]}") for name in report.counts]
    head += [(f"failed: {why}", str(n)) for why, n in sorted(report.failed.items())]
    shown: list[Rows | Pairs] = [Pairs(("canary", "value"), head)]
    for pair, agreement in sorted(report.agreements.items()):
        figures = Pairs((f"plane {pair.plane}", "value"), _figures(pair, agreement))
        shown += [figures, _confusion(agreement)]
    if worst := _worst(report):
        shown.append(worst)
    return shown


def _figures(pair: Pair, agreement: Agreement) -> list[tuple[str, str]]:
    charged, changed = agreement.charged, agreement.changed
    share = f" ({100 * changed / charged:.3g} %)" if charged else ""
    rows = [
        ("result", sentence(agreement)),
        ("old", pair.old),
        ("new", pair.new),
        ("crops", f"{agreement.crops}, {agreement.equal_crops} of them equal to the bit"),
        ("pixels with charge", f"{charged}, of which {changed} change class{share}"),
        ("all pixels", f"{agreement.pixels}, of which {agreement.changed_all} change class"),
    ]
    for number, name in enumerate(CLASSES):
        largest, mean = agreement.max_difference[number], agreement.mean_difference(number)
        rows.append((f"{name} score", f"|new - old| at most {largest:.3g}, on average {mean:.3g}"))
    return rows


def _confusion(agreement: Agreement) -> Rows:
    rows = [
        (name, *map(str, counts)) for name, counts in zip(NAMES, agreement.confusion, strict=True)
    ]
    return Rows(("old \\ new, pixels with charge", *NAMES), rows, left=1, headings=1)


def _worst(report: CanaryReport) -> Rows | None:
    crops = sorted({crop for of in report.agreements.values() for crop in of.worst}, reverse=True)
    rows = [
        (
            f"({crop.name.run}, {crop.name.subrun}, {crop.name.event})",
            str(crop.name.plane),
            str(crop.name.crop),
            f"{crop.changed} of {crop.charged}",
            f"{crop.max_difference:.3g}",
        )
        for crop in crops[:8]
    ]
    heads = ("worst crops: event", "plane", "crop", "pixels that change class", "max |new - old|")
    return Rows(heads, rows, left=1, headings=1) if rows else None


def write_page(
    path: Path, report: CanaryReport, kept: Mapping[tuple[Pair, CropName], CropPixels]
) -> None:
    """Write the report and its pictures as one HTML file. Raises `WriteError`."""
    parts = ["<!doctype html><html lang='en'><meta charset='utf-8'><title>Canary</title>"]
    parts.append(
        "<style>body{font:16px/1.5 sans-serif;margin:2em auto;max-width:75em;padding:0 1em}"
        "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:"
        "1px solid #999}td:first-child,th:first-child{text-align:left}img{max-width:100%}</style>"
    )
    parts.append(f"<h1>Canary</h1><p>{html.escape(sentence(report.total()))}</p>")
    for pair, agreement in sorted(report.agreements.items()):
        parts.append(f"<h2>Plane {pair.plane}</h2>")
        rows = [("figure", "value"), *_figures(pair, agreement)]
        parts.append(_table(rows))
        counts = [[name, *of] for name, of in zip(NAMES, agreement.confusion, strict=True)]
        parts.append("<h3>Pixels with charge, by old class (rows) and new class</h3>")
        parts.append(_table([("old", *NAMES), *counts]))
    for (pair, name), pixels in kept.items():
        picture = io.BytesIO()
        draw(pair, name, pixels).savefig(picture, format="png", dpi=80)
        data = base64.b64encode(picture.getvalue()).decode()
        parts.append(f"<p><img alt='{html.escape(str(tuple(name)))}' src='data:image/png;base64,")
        parts.append(f"{data}'></p>")
    write_whole(path, lambda part: part.write_text("\n".join(parts), encoding="utf-8"))


def _table(rows: list[Any]) -> str:
    head, *body = rows
    lines = ["".join(f"<th>{html.escape(str(cell))}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in body]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
