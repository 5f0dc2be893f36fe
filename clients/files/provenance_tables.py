"""Tables of provenance, for `ssnet files`. Records of other programs are shown as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lartpc import ReadError
from mdp.commands.tables import size
from services.planes import Origin

from ..terminal.narrow import Pairs, Rows
from .provenance import Record

Texts = Mapping[Path, tuple[str, ...]]
"""The texts of the provenance records, by file."""


def unpacked(text: str) -> Record | str:
    """Return the record, or the text itself if another program wrote it."""
    try:
        return Record.unpack(text)
    except ReadError:
        return text


def summary(files: Texts) -> Rows:
    """Return a table with a row for each set of records that agree in program and settings.

    A sum of thousands of files holds thousands of records, but mostly only one such set.
    """
    columns = ("file", "made by", "records", "on", "ended", "weights", "inputs", "events")
    rows = []
    for path, texts in files.items():
        groups: dict[str | tuple[str], list[Record]] = {}
        for text in texts:
            record = unpacked(text)
            if isinstance(record, str):
                groups.setdefault(record, [])
            else:
                groups.setdefault((_settings(record),), []).append(record)
        for key, records in groups.items():
            cells = (key[:60], str(texts.count(key))) if isinstance(key, str) else _short(records)
            rows.append((str(path), *cells))
    return Rows(columns, rows, left=6, headings=1)


def _settings(record: Record) -> str:
    """The program, networks and settings, which all records of a merged file should share."""
    services = record.as_dict()["services"]
    values = [record.made_by, record.tick_order, record.choices, services]
    return json.dumps(values, sort_keys=True)


def _short(records: Sequence[Record]) -> tuple[str, ...]:
    """The cells of a row; all records agree in program and settings."""
    hosts = sorted({record.host for record in records})
    inputs = {file.checksum for record in records for file in record.inputs}
    return (
        records[0].made_by,
        str(len(records)),
        hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts",
        max(record.ended_at for record in records),
        " ".join(origin.weights[:8] for origin in _origins(records[0])),
        str(len(inputs)),
        str(sum(record.events for record in records)),
    )


def _origins(record: Record) -> list[Origin]:
    return [origin for origins in record.services.values() for origin in origins]


def full(files: Texts) -> Iterator[Pairs]:
    """Yield a table for each record, with everything that it states."""
    for path, texts in files.items():
        for number, text in enumerate(texts):
            rows = _rows(unpacked(text), f"{number + 1} of {len(texts)}")
            yield Pairs(("made", str(path)), tuple(rows))


def _rows(record: Record | str, number: str) -> Iterator[tuple[str, str]]:
    yield "record", number
    if isinstance(record, str):
        yield "text", record
        return
    yield "made by", f"{record.made_by}, {record.software}"
    yield "command", " ".join(record.command)
    yield "on", f"{record.host}, by the broker {record.broker}"
    yield "from, to", f"{record.began_at}, {record.ended_at}"
    yield "entries", f"{record.start} to before {record.end}: {record.events} events"
    reason = record.tick_order_reason
    yield "tick order", f"{record.tick_order} ({reason})" if reason else record.tick_order
    for key, value in record.settings.items():
        yield key.replace("_", " "), _shown(value)
    for name, origins in record.services.items():
        for origin in origins or (None,):
            yield from _service_rows(name, origin)
    for file in record.inputs:
        yield "input", f"{file.path}: {file.entries} entries, {size(file.checksum.bytes)}"
        yield f"sha256, {file.checksum.hashed}", file.checksum.sha256


def _service_rows(name: str, origin: Origin | None) -> Iterator[tuple[str, str]]:
    if origin is None:
        yield name, "did not state its network"
        return
    rounded = f", sent as {origin.dtype}" if origin.dtype else ""
    yield name, f"{origin.engine}, scores from {origin.threshold_adc:g} ADC on{rounded}"
    yield "network", origin.network
    yield "weights", origin.weights


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def as_json(texts: Iterable[str]) -> list[Any]:
    """Return the records as JSON objects; texts of other programs stay as they are."""
    records = (unpacked(text) for text in texts)
    return [record if isinstance(record, str) else record.as_dict() for record in records]
