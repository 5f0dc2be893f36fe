"""The tables that `ssnet simple`, `ssnet run` and `ssnet demo` print at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from mdp.commands.tables import duration, size

from ..files.failed_report import Failure, events_of
from ..simple import simple_client
from ..terminal import screen
from . import score

_SHOWN = 20  # failures in the table

STAGES = {
    "start": "starting workers here",
    "inputs": "opening the inputs",
    "workers": "waiting for workers",
    "open": "opening the output",
    "wait": "waiting for answers",
    "check": "checking answers",
    "stitch": "stitching",
    "write": "writing",
    "close": "finishing the output",
    "stop": "stopping workers here",
}
"""The stages that follow each other; together with `all else` they add up to `in all`."""

PRODUCTION_STAGES = {**STAGES, "wait": "waiting for scores", "check": "checking scores"}

MEANWHILE = {"read": "reading", "chain": "cutting crops", "pack": "packing"}
"""The stages that run in another thread at the same time."""


def table(report: simple_client.SimpleReport) -> Table:
    """Return the table of `ssnet simple`."""
    rows = screen.table("done", "")
    rows.add_row("events", _events(report.events, report.empty))
    rows.add_row("requests", str(report.requests))
    rows.add_row("sent", size(report.bytes_out))
    rows.add_row("received", size(report.bytes_in))
    for text, spent_s in stage_rows(report.seconds):
        rows.add_row(text, duration(spent_s))
    return rows


def stage_rows(
    seconds: Mapping[str, float], names: Mapping[str, str] = STAGES
) -> list[tuple[str, float]]:
    """Return (name, seconds): the stages that follow each other, their sum, then the others."""
    rows = [(text, seconds[stage]) for stage, text in names.items() if stage in seconds]
    in_all = seconds.get("all", 0.0)
    rest = max(in_all - sum(spent_s for _, spent_s in rows), 0.0)
    rows += [("all else", rest), ("in all", in_all)]
    parallel = [(text, seconds[stage]) for stage, text in MEANWHILE.items() if stage in seconds]
    return rows + [(f"meanwhile: {text}", spent_s) for text, spent_s in parallel]


def values(report: simple_client.SimpleReport) -> dict[str, Any]:
    """Return all figures of `ssnet simple` as a JSON object, with seconds by stage."""
    return {**vars(report), "output": str(report.output)}


def production_values(report: score.ScoringReport) -> dict[str, Any]:
    """Return all figures of `ssnet run` as a JSON object.

    It holds the seconds by stage, and an object for each crop that failed.
    """
    networks = {str(plane): asdict(origin) for plane, origin in report.networks.items()}
    return {
        **vars(report),
        "output": str(report.output),
        "networks": networks,
        "failed_events": len(events_of(report.failed)),
        "failed": [asdict(failure) for failure in report.failed],
    }


def production_tables(report: score.ScoringReport) -> list[Table]:
    """Return the tables of `ssnet run`: the figures, and the failures if there are any."""
    return [_production_table(report), *([_failed_table(report.failed)] if report.failed else [])]


def _failed_table(failed: Sequence[Failure]) -> Table:
    """A row for each crop that could not be scored."""
    rows = screen.table("failed", "run, subrun, event", "plane", "crop", "worker", "why", left=6)
    for failure in failed[:_SHOWN]:
        event = f"{failure.run}, {failure.subrun}, {failure.event}"
        worker = screen.escaped(failure.worker or "not known")
        where, why = screen.escaped(failure.where), screen.escaped(failure.reason)
        place = ("" if number is None else str(number) for number in (failure.plane, failure.crop))
        rows.add_row(where, event, *place, worker, why)
    if failed[_SHOWN:]:
        rows.add_row(f"and {len(failed) - _SHOWN} more", "", "", "", "", "")
    return rows


def _production_table(report: score.ScoringReport) -> Table:
    """A row for each figure, in all and per event."""
    events = max(report.events, 1)
    rows = screen.table("done", "in all", "per event")
    rows.add_row("events", _events(report.events, report.empty), "")
    if report.earlier:
        rows.add_row("done by earlier runs", str(report.earlier), "")
    if report.failed:
        rows.add_row("failed, of all", str(len(events_of(report.failed))), "")
    rows.add_row("crops", str(report.crops), f"{report.crops / events:.1f}")
    rows.add_row("sent", size(report.bytes_out), size(report.bytes_out / events))
    rows.add_row("received", size(report.bytes_in), size(report.bytes_in / events))
    rows.add_row("workers used", str(report.workers), "")
    computing = ("meanwhile: workers computing", report.computed_s)
    for text, spent_s in (*stage_rows(report.seconds, PRODUCTION_STAGES), computing):
        rows.add_row(text, duration(spent_s), duration(spent_s / events))
    return rows


def _events(events: int, empty: int) -> str:
    return f"{events}, {empty} of them empty" if empty else str(events)
