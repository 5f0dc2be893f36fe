"""Tables that keep their cells whole: rows become paragraphs if the terminal is too narrow.

When rich squeezes a table into a terminal, it breaks numbers and checksums in the middle. Piped
output always has one line for each row, for grep.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

_INDENT = 2
_UNLIMITED = 1 << 20


@dataclass(frozen=True)
class Rows:
    """Rows under the names of their columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int
    """How many columns are text; the others are numbers."""
    headings: int
    """How many columns become headings of a paragraph: a file, a product."""

    def narrow(self, width: int) -> Iterator[str]:
        """Each heading on a line, and below it the other cells with their names."""
        previous: Sequence[str] = ()
        for row in self.rows:
            heads, cells = row[: self.headings], row[self.headings :]
            for depth, head in enumerate(heads):
                if heads[: depth + 1] != previous[: depth + 1]:
                    yield " " * (_INDENT * depth) + head
            previous = heads
            names = self.columns[self.headings :]
            items = [f"{name} {cell}" for name, cell in zip(names, cells, strict=True) if cell]
            yield from _flow(items, width, indent=_INDENT * self.headings)


@dataclass(frozen=True)
class Pairs:
    """A table about one thing: each row is a name and a value."""

    columns: tuple[str, str]
    rows: Sequence[tuple[str, str]]
    left: int = 2

    def narrow(self, width: int) -> Iterator[str]:
        """The values in one column; a value that is too long stands below its name."""
        column = max(cell_len(name) for name, _ in (self.columns, *self.rows)) + _INDENT
        for name, value in (self.columns, *self.rows):
            if column + cell_len(value) <= width:
                yield name + " " * (column - cell_len(name)) + value
            else:
                yield name
                yield from _wrapped(value, width)


def shown(table: Rows | Pairs, console: Console) -> RenderableType:
    """The table, or paragraphs if the console is narrower than the table."""
    plain = _table(table)
    wide = console.options.update(max_width=_UNLIMITED, width=_UNLIMITED)
    if console.measure(plain, options=wide).maximum <= console.width:
        return plain
    return Text("\n".join(table.narrow(console.width)), overflow="ignore", no_wrap=True)


def _table(table: Rows | Pairs) -> Table:
    result = Table(box=None, header_style="bold", pad_edge=False)
    for index, name in enumerate(table.columns):
        justify: JustifyMethod = "left" if index < table.left else "right"
        result.add_column(Text(name), justify=justify, no_wrap=True)
    for row in table.rows:
        result.add_row(*map(Text, row))
    return result


def _flow(items: Sequence[str], width: int, *, indent: int) -> Iterator[str]:
    """Put as many items on a line as fit; do not break any item."""
    line = ""
    for item in items:
        longer = f"{line}; {item}" if line else item
        if line and indent + cell_len(longer) + 1 > width:
            yield " " * indent + line + ";"
            longer = item
        line = longer
    if line:
        yield " " * indent + line


def _wrapped(value: str, width: int) -> list[str]:
    """Break at spaces only: a path or a checksum stays in one piece."""
    indent = " " * _INDENT
    return textwrap.wrap(
        value,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
