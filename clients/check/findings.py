"""The findings of a check: how much was checked, how much is wrong, and where it failed first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from ..terminal import screen


@dataclass
class Finding:
    """One condition that an output must fulfil, and the result of checking it."""

    name: str
    wanted: str
    checked: int = 0
    """How many were checked: entries, images or pixels, according to `wanted`."""
    bad: int = 0
    """How many of them do not fulfil the condition."""
    first: str = ""
    """The place and the value of the first bad one."""
    warned: int = 0
    """How many fulfil the condition, but should be looked at by the user."""
    skipped: str = ""
    """The reason why the condition was not checked; empty if it was."""

    @property
    def verdict(self) -> str:
        if self.bad:
            return "FAILED"
        if self.skipped:
            return "skipped"
        return "warning" if self.warned else "ok"

    def look(self, bad: int, where: str, *, of: int = 1) -> None:
        """Count `of` more items, of which `bad` are wrong; keep the first `where` of bad ones."""
        self.checked += of
        self.bad += bad
        if bad and not self.first:
            self.first = where


def table(findings: Iterable[Finding]) -> Table:
    """Return a table with a row for each finding."""
    rows = screen.table("check", "wanted", "verdict", "first", "checked", "wrong", left=4)
    colours = {"ok": "green", "FAILED": "bold red", "skipped": "yellow", "warning": "bold yellow"}
    for finding in findings:
        rows.add_row(
            finding.name,
            screen.escaped(finding.wanted),
            f"[{colours[finding.verdict]}]{finding.verdict}[/]",
            screen.escaped(finding.first or finding.skipped),
            str(finding.checked),
            str(finding.bad),
        )
    return rows


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return the findings as JSON objects."""
    return [{**asdict(finding), "verdict": finding.verdict} for finding in findings]
