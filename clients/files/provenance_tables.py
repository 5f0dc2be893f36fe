"""Provenance for people: what `ssnet files` shows. Records that are not ours are shown as text."""

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
"""By file: what it says of its making."""


def unpacked(text: str) -> Record | str:
    """A record, or the text where it is none."""
    try:
        return Record.unpack(text)
    except ReadError:
        return text


def summary(files: Texts) -> Rows:
    """A row for each way of making: a sum of thousands of files was mostly made in one."""
    columns = ("file", "made by", "records", "on", "ended", "weights", "inputs", "events")
    rows = []
    for path, texts in files.items():
        ways: dict[str | tuple[str], list[Record]] = {}
        for text in texts:
            record = unpacked(text)
            if isinstance(record, str):
                ways.setdefault(record, [])
            else:
                ways.setdefault((_way(record),), []).append(record)
        for way, records in ways.items():
            cells = (way[:60], str(texts.count(way))) if isinstance(way, str) else _short(records)
            rows.append((str(path), *cells))
    return Rows(columns, rows, left=6, headings=1)


def _way(record: Record) -> str:
    """Who made it, with which networks and settings: what a sum should have one of."""
    services = record.as_dict()["services"]
    way = [record.made_by, record.tick_order, record.choices, services]
    return json.dumps(way, sort_keys=True)


def _short(records: Sequence[Record]) -> tuple[str, ...]:
    """Of records that agree in their way."""
    hosts = sorted({record.host for record in records})
    inputs = {each.stamp for record in records for each in record.inputs}
    return (
        records[0].made_by,
        str(len(records)),
        hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts",
        max(record.ended_at for record in records),
        " ".join(each.weights[:8] for each in _origins(records[0])),
        str(len(inputs)),
        str(sum(record.events for record in records)),
    )


def _origins(record: Record) -> list[Origin]:
    return [origin for origins in record.services.values() for origin in origins]


def full(files: Texts) -> Iterator[Pairs]:
    """A table a making: all that it says."""
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
    for each in record.inputs:
        yield "input", f"{each.path}: {each.entries} entries, {size(each.stamp.bytes)}"
        yield f"sha256, {each.stamp.hashed}", each.stamp.sha256


def _service_rows(name: str, origin: Origin | None) -> Iterator[tuple[str, str]]:
    if origin is None:
        yield name, "does not say what computes"
        return
    rounded = f", sent as {origin.dtype}" if origin.dtype else ""
    yield name, f"{origin.engine}, scores from {origin.threshold_adc:g} ADC on{rounded}"
    yield "network", origin.network
    yield "weights", origin.weights


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def as_json(texts: Iterable[str]) -> list[Any]:
    """Records for programs; others' texts as they are."""
    records = (unpacked(text) for text in texts)
    return [each if isinstance(each, str) else each.as_dict() for each in records]
