"""Progress bars on stderr, quiet where that is no terminal; tables on stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .narrow import Pairs, Rows, shown

_PIPE_WIDTH = 1 << 20


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Call what it gives with (done, in all)."""
    terminal = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal, disable=not terminal.is_terminal) as progress:
        task = progress.add_task(what, total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield show


def table(*columns: str, left: int = 1) -> Table:
    """A plain table; the first `left` columns are text, the others numbers."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        if index < left:
            made.add_column(column, overflow="fold")
        else:
            made.add_column(column, justify="right", no_wrap=True)
    return made


def show(*tables: Table | Rows | Pairs) -> None:
    """Print tables, a line between them; into a file or a pipe as wide as they need to be."""
    wide = None if sys.stdout.isatty() else _PIPE_WIDTH
    console = Console(file=sys.stdout, highlight=False, width=wide)
    for number, made in enumerate(tables):
        if number:
            console.print()
        # a soft wrap is the terminal's: what is copied from it has no line break
        console.print(made if isinstance(made, Table) else shown(made, console), soft_wrap=False)


def line(text: str) -> None:
    """A line on stderr, of what goes on for long; whether that is a terminal or a log."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def escaped(text: str) -> str:
    """Text that rich shows as it is."""
    return text.replace("[", r"\[")
