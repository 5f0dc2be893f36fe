"""The timeline of a job as trace event JSON, for ui.perfetto.dev and chrome://tracing.

Each thread of the client and each worker has a row. The memory does not grow with the events.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lartpc.errors import WriteError
from lartpc.files.whole_file import WholeFile, named

from .file import LedgerReader
from .ledger_tables import EVENT_NAMES
from .records import UNKNOWN, EventTimes, Record, RunStart, WorkerName, continued

_TICK_US = 10
_READS, _WRITES = (1, 1), (1, 2)  # process and thread; the process of a plane is 2 + its number
_NAMES = {
    (1, 0): "client",
    _READS: "reads, cuts, packs, sends",
    _WRITES: "unpacks, stitches, writes",
}
_READING, _WRITING = ("read", "chain", "pack", "room", "send"), ("check", "stitch", "write")

_Row = tuple[int, int]


def check_name(output: Path) -> None:
    """Raise `WriteError` if a path is not the name of a trace."""
    if output.suffix.lower() != ".json":
        raise WriteError(f"want a trace named .json, got {output}")


def write(ledger: Path, output: Path, *, earlier: int) -> None:
    """Write the trace of the last job; it replaces a file of its name.

    earlier: how many runs of other jobs come first in the ledger. Raises `WriteError`,
    `LedgerError`.
    """
    file = WholeFile(output, force=True, inputs=[ledger])
    encode = json.JSONEncoder(separators=(",", ":")).encode
    try:
        with named(output), file.part.open("w") as part:
            opening = '{"traceEvents": [\n'
            for item in items(LedgerReader(ledger), earlier=earlier):
                part.write(opening + encode(item))
                opening = ",\n"
            part.write("\n]}\n")
        file.publish()
    finally:
        file.discard()


def items(records: Iterable[Record], *, earlier: int = 0) -> Iterator[dict[str, Any]]:
    """Yield trace events: the name of each row, and the pieces of work with begin and duration."""
    yield from (_name(row, name) for row, name in _NAMES.items())
    rows: dict[WorkerName, _Row] = {}
    workers: list[WorkerName] = []  # of the run, as its crops number them
    ends: dict[_Row, int] = {}
    runs = 0
    for record in continued(records):
        runs += isinstance(record, RunStart)
        if runs <= earlier:
            continue
        if isinstance(record, RunStart):
            workers = []
        elif isinstance(record, WorkerName):
            workers.append(record)
            if record not in rows:
                rows[record] = (record.plane + 2, len(rows) + 1)
                yield _name((record.plane + 2, 0), f"plane {record.plane}")
                yield _name(rows[record], record.name)
        elif isinstance(record, EventTimes):
            for slice_ in (*_client(record), *_crops(record, workers, rows)):
                yield _drawn(slice_, ends)


_Slice = tuple[_Row, int, int, str, dict[str, int]]
"""Row, begin and duration (both in ticks), name, and further values for the viewer."""


def _client(event: EventTimes) -> Iterator[_Slice]:
    parts = ((_READS, _READING, event.began), (_WRITES, _WRITING, event.began + event.taken))
    for row, stages, begin in parts:
        for stage in stages:
            ticks = getattr(event, stage)
            if ticks:
                yield row, begin, ticks, EVENT_NAMES[stage], {"entry": event.entry}
            begin += ticks


def _crops(
    event: EventTimes, workers: list[WorkerName], rows: dict[WorkerName, _Row]
) -> Iterator[_Slice]:
    """The work of each worker; it is drawn so that it ends when the answer came."""
    for number, crop in enumerate(event.crops):
        if UNKNOWN not in (crop.worker, crop.busy):
            begin = event.began + crop.sent + crop.trip - crop.busy
            about = {"entry": event.entry, "crop": number, "queued_us": crop.queued * _TICK_US}
            about |= {"computed_us": max(crop.computed, 0) * _TICK_US}
            yield rows[workers[crop.worker]], begin, crop.busy, f"entry {event.entry}", about


def _drawn(slice_: _Slice, ends: dict[_Row, int]) -> dict[str, Any]:
    """Return the JSON of a slice; ends: when the last slice of each row ends."""
    row, begin, ticks, name, about = slice_
    end, last = begin + ticks, ends.get(row, 0)
    # times are rounded, and viewers drop a slice that overlaps another one in part
    begin = last if begin < last < end else begin
    ends[row] = max(end, last)
    times = {"ts": begin * _TICK_US, "dur": (end - begin) * _TICK_US}
    return {"ph": "X", "pid": row[0], "tid": row[1], **times, "name": name, "args": about}


def _name(row: _Row, name: str) -> dict[str, Any]:
    kind = "thread_name" if row[1] else "process_name"
    return {"ph": "M", "pid": row[0], "tid": row[1], "name": kind, "args": {"name": name}}
