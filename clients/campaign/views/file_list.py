"""The files of a campaign as rows of text or JSON: names are never cut."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from mdp.settings import short_text
from mdp.wire import one_line

from ..records.reading import reading
from ..records.rows import File, State
from .reasons import without_path

_COLUMNS = ("number", "state", "tries", "events", "failed", "time", "host", "file", "reason")
_RIGHT = {"number", "tries", "events", "failed"}
_LOOKED_AT = 1000  # rows from which the widths of the columns are taken


def write(folder: Path, out: TextIO, *, state: State | None, json: bool) -> None:
    """Write a row for each file in a state, or for all. Raises `NoCampaign`."""
    with reading(folder) as catalogue:
        files = catalogue.files(state)
        rows = _objects(files) if json else _lines(map(cells, files), aligned=out.isatty())
        out.writelines(f"{row}\n" for row in rows)
    out.flush()


def _objects(files: Iterable[File]) -> Iterator[str]:
    for file in files:
        yield json_text.dumps(asdict(file))


def cells(file: File) -> tuple[str, ...]:
    """Return the cells of a file's row."""
    lost = str(file.failed_events) if file.failed_events else ""
    events = str(file.entries) if file.entries else ""
    took = short_text(file.seconds) if file.seconds else ""
    reason = without_path(file.reason, file.path)
    if file.check not in ("", "ok"):
        reason = f"{reason}; check: {file.check}" if reason else f"check: {file.check}"
    texts = (str(file.number), file.state, str(file.tries), events, lost, took, file.host)
    return (*texts, one_line(file.path), one_line(reason))


def _lines(rows: Iterable[tuple[str, ...]], *, aligned: bool) -> Iterator[str]:
    """Separate columns by tabs, or align them for a terminal by the first thousand rows."""
    if not aligned:
        yield from map("\t".join, chain([_COLUMNS], rows))
        return
    rows = iter(rows)
    first = [_COLUMNS, *islice(rows, _LOOKED_AT)]
    widths = [max(len(row[k]) for row in first) for k in range(len(_COLUMNS) - 1)]
    for row in chain(first, rows):
        padded = [
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(_COLUMNS, row, widths, strict=False)
        ]
        yield "  ".join([*padded, row[-1]]).rstrip()
