"""The status of a campaign on a terminal, in a pipe, or again and again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from mdp.commands.pool_reports import time_text
from mdp.commands.watching import Watch
from mdp.system.process import ended_by_signals
from mdp.wire import one_line

from ...terminal import narrow
from . import standing_tables
from .observing import Look, Observer

as_json = standing_tables.as_json
_PIPE_WIDTH = 1 << 20  # one line for each row, whatever it holds


def look(folder: Path) -> Look:
    """Look once. Raises `NoCampaign`."""
    return Observer(folder).look()


def show(seen: Look) -> None:
    """Print the status to stdout."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(width=width, highlight=False).print(view(seen))


def watch(folder: Path, *, every_s: float, json: bool) -> None:
    """Show the status until Ctrl-C."""
    observer = Observer(folder)
    with ended_by_signals():
        Watch[Look](f"campaign {folder}", look=observer.look, view=view, as_json=as_json).run(
            every_s=every_s, json=json
        )


def view(seen: Look) -> RenderableType:
    """Return the lines and the tables."""
    pairs = standing_tables.lines(seen, time_text)
    lines = Table.grid(padding=(0, 2))
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for name, text in pairs:
        lines.add_row(name, Text(one_line(text)))
    shown: list[Any] = [lines]
    for table in standing_tables.tables(seen):
        shown += [Text(""), _Fitted(table)]
    return Group(*shown)


class _Fitted:
    """A table that becomes paragraphs where the console is too narrow for it."""

    def __init__(self, table: narrow.Rows) -> None:
        self._table = table

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        shown = narrow.shown(self._table, console)
        if isinstance(shown, Text):  # paragraphs, whose long lines rich would cut
            shown.overflow, shown.no_wrap = "fold", False
            yield Text(f"{self._table.columns[0]}:", style="bold")
        yield shown
