"""What a check found: a line each, with how much was looked at and where it first failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from ..terminal import screen


@dataclass
class Finding:
    """One thing that is to hold."""

    name: str
    wanted: str
    checked: int = 0
    """How many were looked at: entries, images or pixels, as the wanted says."""
    bad: int = 0
    """How many of them are not as wanted."""
    first: str = ""
    """The first of these: where, and what was got."""
    warned: int = 0
    """How many are as wanted of the output, but are to be looked at by its user."""
    skipped: str = ""
    """Why it was not looked at."""

    @property
    def verdict(self) -> str:
        if self.bad:
            return "FAILED"
        if self.skipped:
            return "skipped"
        return "warning" if self.warned else "ok"

    def look(self, bad: int, where: str, *, of: int = 1) -> None:
        """Count what was looked at, and what of it is wrong; `where` is kept of the first."""
        self.checked += of
        self.bad += bad
        if bad and not self.first:
            self.first = where


def table(findings: Iterable[Finding]) -> Table:
    """A row a finding."""
    made = screen.table("check", "wanted", "verdict", "first", "looked at", "wrong", left=4)
    colours = {"ok": "green", "FAILED": "bold red", "skipped": "yellow", "warning": "bold yellow"}
    for each in findings:
        made.add_row(
            each.name,
            screen.escaped(each.wanted),
            f"[{colours[each.verdict]}]{each.verdict}[/]",
            screen.escaped(each.first or each.skipped),
            str(each.checked),
            str(each.bad),
        )
    return made


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """For programs."""
    return [{**asdict(each), "verdict": each.verdict} for each in findings]
