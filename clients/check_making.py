"""What a check goes by: provenance that says one network a plane, and one set of settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lartpc import ReadError, TickOrder, chain
from services.planes import service_name

from .findings import Finding
from .provenance import Record, mode_of
from .ssnet import PLANES

_DECISIVE = ("mode", "producer", "threshold_adc", "ceiling_adc")


@dataclass(frozen=True)
class Making:
    """How all of an output's scores were made."""

    mode: chain.Mode
    producer: str
    low_adc: float
    tick_order: TickOrder
    service_low_adc: tuple[float, ...]
    """Of each plane."""


def read_records(texts: Sequence[str], finding: Finding) -> list[Record]:
    """The records of an output; `finding` says which are none."""
    finding.look(not texts, "there is none: an output of another program, or of an old one")
    records = []
    for text in texts:
        try:
            records.append(Record.unpack(text))
        except ReadError as error:
            finding.look(1, str(error))
    return records


def making_of(records: Sequence[Record], entries: int, finding: Finding) -> Making | None:
    """What all records agree in; None, and `finding` says why, if there is no such thing."""
    if finding.bad:
        return None
    wrong = [
        f"record {number + 1} of {len(records)}: {difference}"
        for number, record in enumerate(records)
        for difference in _differences(records[0], record)
    ]
    events = sum(record.events for record in records)
    if events != entries:
        wrong.append(f"it speaks of {events} events, the file has {entries}")
    finding.look(len(wrong), "".join(wrong[:1]), of=len(records))
    if wrong:
        return None
    try:
        return _making(records[0])
    except (ReadError, KeyError, TypeError, ValueError, IndexError) as error:
        finding.look(1, f"it does not say how the scores were made: {error}")
        return None


def _differences(first: Record, record: Record) -> Iterator[str]:
    """What is not as it should be in a record, or not as it is in the first one."""
    if record.made_by != "ssnet run":
        yield f"want ssnet run, got {record.made_by}"
    for name, origins in record.services.items():
        if len(origins) != 1:
            yield f"want one network of {name}, got {len(origins)}"
        elif origins != first.services.get(name):
            yield f"want {name} from one network, {first.services.get(name)}, got {origins}"
    for name in (*_DECISIVE, "tick_order"):
        one, other = (_setting(each, name) for each in (first, record))
        if one != other:
            yield f"want {name} {one} throughout, got {other}"


def _setting(record: Record, name: str) -> Any:
    return record.tick_order if name == "tick_order" else record.settings.get(name)


def _making(record: Record) -> Making:
    origins = [record.services[service_name(plane)][0] for plane in PLANES]
    return Making(
        mode=mode_of(record.settings["mode"]),
        producer=str(record.settings["producer"]),
        low_adc=float(record.settings["threshold_adc"]),
        tick_order=record.tick_order,
        service_low_adc=tuple(origin.threshold_adc for origin in origins),
    )
