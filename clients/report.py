"""What `ssnet simple` did: its closing table."""

from __future__ import annotations

from rich.table import Table

from mdp.tables import duration, size

from . import terminal
from .simple import Report

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


def table(report: Report) -> Table:
    """A row a figure."""
    made = terminal.table("done", "")
    empty = f", {report.empty} of them empty" if report.empty else ""
    made.add_row("events", f"{report.events}{empty}")
    made.add_row("requests", str(report.requests))
    made.add_row("sent", size(report.bytes_out))
    made.add_row("received", size(report.bytes_in))
    for stage, text in STAGES.items():
        made.add_row(text, duration(report.seconds.get(stage, 0.0)))
    return made
