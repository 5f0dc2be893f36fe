"""What `ssnet simple`, `ssnet run` and `ssnet demo` did: their closing tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from mdp.commands.tables import duration, size

from ..simple import simple_client
from ..terminal import screen
from . import score
from .output.failures import Failure, events_of

if TYPE_CHECKING:
    from ..local.demonstration import Demo

_SHOWN = 20  # failures

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
"""One after the other: with `all else` they add up to `in all`."""

PRODUCTION_STAGES = {**STAGES, "wait": "waiting for scores", "check": "checking scores"}

MEANWHILE = {"read": "reading", "chain": "cutting crops", "pack": "packing"}
"""In another thread, beside the stages above."""


def table(report: simple_client.SimpleReport) -> Table:
    """A row a figure."""
    made = screen.table("done", "")
    made.add_row("events", _events(report.events, report.empty))
    made.add_row("requests", str(report.requests))
    made.add_row("sent", size(report.bytes_out))
    made.add_row("received", size(report.bytes_in))
    for text, spent_s in stage_rows(report.seconds):
        made.add_row(text, duration(spent_s))
    return made


def stage_rows(
    seconds: Mapping[str, float], names: Mapping[str, str] = STAGES
) -> list[tuple[str, float]]:
    """(name, seconds) of a table: first those that add up, their sum, then what went on beside."""
    rows = [(text, seconds[stage]) for stage, text in names.items() if stage in seconds]
    in_all = seconds.get("all", 0.0)
    rest = max(in_all - sum(spent_s for _, spent_s in rows), 0.0)
    rows += [("all else", rest), ("in all", in_all)]
    beside = [(text, seconds[stage]) for stage, text in MEANWHILE.items() if stage in seconds]
    return rows + [(f"meanwhile: {text}", spent_s) for text, spent_s in beside]


def values(report: simple_client.SimpleReport) -> dict[str, Any]:
    """Everything, for JSON; seconds by stage."""
    return {**vars(report), "output": str(report.output)}


def production_values(report: score.ScoringReport) -> dict[str, Any]:
    """Everything, for JSON: seconds by stage, a map for each crop that failed."""
    networks = {str(plane): asdict(origin) for plane, origin in report.networks.items()}
    return {
        **vars(report),
        "output": str(report.output),
        "networks": networks,
        "failed_events": len(events_of(report.failed)),
        "failed": [asdict(failure) for failure in report.failed],
    }


def production_tables(report: score.ScoringReport) -> list[Table]:
    """What was done, and what failed, if anything did."""
    return [_production_table(report), *([_failed_table(report.failed)] if report.failed else [])]


def _failed_table(failed: Sequence[Failure]) -> Table:
    """A row a crop that nobody could score."""
    made = screen.table("failed", "run, subrun, event", "plane", "crop", "worker", "why", left=6)
    for each in failed[:_SHOWN]:
        event = f"{each.run}, {each.subrun}, {each.event}"
        worker = screen.escaped(each.worker or "not known")
        where, why = screen.escaped(each.where), screen.escaped(each.reason)
        place = ("" if number is None else str(number) for number in (each.plane, each.crop))
        made.add_row(where, event, *place, worker, why)
    if failed[_SHOWN:]:
        made.add_row(f"and {len(failed) - _SHOWN} more", "", "", "", "", "")
    return made


def _production_table(report: score.ScoringReport) -> Table:
    """A row a figure: of the whole run, and of one event."""
    events = max(report.events, 1)
    made = screen.table("done", "in all", "an event")
    made.add_row("events", _events(report.events, report.empty), "")
    if report.before:
        made.add_row("besides, there already", str(report.before), "")
    if report.failed:
        made.add_row("failed, of all", str(len(events_of(report.failed))), "")
    made.add_row("crops", str(report.crops), f"{report.crops / events:.1f}")
    made.add_row("sent", size(report.bytes_out), size(report.bytes_out / events))
    made.add_row("received", size(report.bytes_in), size(report.bytes_in / events))
    made.add_row("workers used", str(report.workers), "")
    computing = ("meanwhile: workers computing", report.computed_s)
    for text, spent_s in (*stage_rows(report.seconds, PRODUCTION_STAGES), computing):
        made.add_row(text, duration(spent_s), duration(spent_s / events))
    return made


def _events(events: int, empty: int) -> str:
    return f"{events}, {empty} of them empty" if empty else str(events)


def files_table(plan: Demo) -> Table:
    """Where a demo's files are."""
    made = screen.table("file", "", left=2)
    made.add_row("events", str(plan.source or plan.toys))
    made.add_row("scores", str(plan.scores))
    made.add_row("picture", str(plan.picture))
    return made
