"""What `ssnet simple`, `ssnet run` and `ssnet demo` did: their closing tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from mdp.tables import duration, size

from . import simple, ssnet, terminal
from .output.failures import Failure, events_of

if TYPE_CHECKING:
    from .demo import Demo

_SHOWN = 20  # failures

STAGES = {
    "open": "opening the output",
    "read": "reading",
    "pack": "packing",
    "wait": "waiting for answers",
    "check": "checking answers",
    "write": "writing",
    "close": "finishing the output",
    "all": "in all",
}
"""Reading and packing overlap with the others, so the stages add up to more than all."""

PRODUCTION_STAGES = {
    "read": "reading",
    "chain": "cutting crops",
    "pack": "packing",
    "wait": "waiting for scores",
    "check": "checking scores",
    "stitch": "stitching",
    "write": "writing",
    "close": "finishing the output",
    "all": "in all",
}
"""Reading, cutting and packing overlap with the others."""


def table(report: simple.Report) -> Table:
    """A row a figure."""
    made = terminal.table("done", "")
    made.add_row("events", _events(report.events, report.empty))
    made.add_row("requests", str(report.requests))
    made.add_row("sent", size(report.bytes_out))
    made.add_row("received", size(report.bytes_in))
    for stage, text in STAGES.items():
        made.add_row(text, duration(report.seconds.get(stage, 0.0)))
    return made


def production_tables(report: ssnet.Report) -> list[Table]:
    """What was done, and what failed, if anything did."""
    return [_production_table(report), *([_failed_table(report.failed)] if report.failed else [])]


def _failed_table(failed: Sequence[Failure]) -> Table:
    """A row a crop that nobody could score."""
    made = terminal.table("failed", "run, subrun, event", "plane", "crop", "why", left=5)
    for each in failed[:_SHOWN]:
        event = f"{each.run}, {each.subrun}, {each.event}"
        where, why = terminal.escaped(each.where), terminal.escaped(each.reason)
        place = ("" if number is None else str(number) for number in (each.plane, each.crop))
        made.add_row(where, event, *place, why)
    if failed[_SHOWN:]:
        made.add_row(f"and {len(failed) - _SHOWN} more", "", "", "", "")
    return made


def _production_table(report: ssnet.Report) -> Table:
    """A row a figure: of the whole run, and of one event."""
    events = max(report.events, 1)
    made = terminal.table("done", "in all", "an event")
    made.add_row("events", _events(report.events, report.empty), "")
    if report.before:
        made.add_row("besides, there already", str(report.before), "")
    if report.failed:
        made.add_row("failed, of all", str(len(events_of(report.failed))), "")
    made.add_row("crops", str(report.crops), f"{report.crops / events:.1f}")
    made.add_row("sent", size(report.bytes_out), size(report.bytes_out / events))
    made.add_row("received", size(report.bytes_in), size(report.bytes_in / events))
    made.add_row("workers used", str(report.workers), "")
    computed_s = report.computed_s
    made.add_row("their computing", duration(computed_s), duration(computed_s / events))
    for stage, text in PRODUCTION_STAGES.items():
        spent_s = report.seconds.get(stage, 0.0)
        made.add_row(text, duration(spent_s), duration(spent_s / events))
    return made


def _events(events: int, empty: int) -> str:
    return f"{events}, {empty} of them empty" if empty else str(events)


def files_table(plan: Demo) -> Table:
    """Where a demo's files are."""
    made = terminal.table("file", "", left=2)
    made.add_row("events", str(plan.source or plan.toys))
    made.add_row("scores", str(plan.scores))
    made.add_row("picture", str(plan.picture))
    return made
