"""HTML as text, escaped unless it is markup of ours; and numbers as people read them. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Html(str):
    """Markup, which is not escaped again."""

    __slots__ = ()


def visible(text: str) -> str:
    """Return text without characters that no font shows, or that reverse what follows them.

    Bytes of a name that are not UTF-8, and control characters, become escapes such as `\\x1b`.
    """
    if text.isprintable():
        return text
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown)


def escaped(child: object) -> str:
    """Return a child of an element as markup."""
    return child if isinstance(child, Html) else html.escape(visible(str(child)))


def element(name: str, *children: object, **attributes: Any) -> Html:
    """Return an element. An attribute that is None is left out; `class_` is `class`."""
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(visible(str(value)))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    return Html(f"<{name}{''.join(parts)}>{''.join(map(escaped, children))}</{name}>")


def joined(children: Iterable[object]) -> Html:
    """Return children one after the other."""
    return Html("".join(map(escaped, children)))


def with_code(text: str) -> Html:
    """Return text in which what stands between backticks is code."""
    parts = text.split("`")
    return joined(element("code", part) if k % 2 else part for k, part in enumerate(parts))


class Column(NamedTuple):
    """A column of a table."""

    name: str
    is_number: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[object]], *, title: str) -> Html:
    """Return a table; on a narrow screen each row is a block, and cells have their column's name.

    A cell that is empty is left out of such a block.
    """
    heads = [element("th", one.name, scope="col", class_=_kind(one)) for one in columns]
    body = [_row(columns, row) for row in rows]
    head = element("thead", element("tr", *heads))
    return element("table", element("caption", title), head, element("tbody", *body))


def _kind(column: Column) -> str | None:
    return "n" if column.is_number else None


def _row(columns: Sequence[Column], row: Sequence[object]) -> Html:
    cells = [
        # a span: on a narrow screen the cell is a row of two boxes, the name and the content
        element("td", element("span", cell), data_name=one.name, class_=_kind(one))
        if cell not in ("", None)
        else element("td", class_="none")
        for one, cell in zip(columns, row, strict=True)
    ]
    return element("tr", *cells)


def count(number: float) -> str:
    """Format a whole number: `12,345`."""
    return f"{number:,.0f}"


def figure(number: float) -> str:
    """Format a number with three digits: `0.0312`, `3.1`, `312`, `12,345`."""
    return count(number) if abs(number) >= 100 else f"{number:.3g}"


def plural(number: int, noun: str) -> str:
    """Format a number of things: `1 file`, `12,345 files`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"
