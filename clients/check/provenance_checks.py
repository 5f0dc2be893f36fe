"""What a check goes by: provenance that says one network a plane, and one set of settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lartpc import AskedOrder, ReadError
from lartpc.crops import chain
from services.planes import Origin, service_name

from ..files.provenance import Record, mode_of
from ..scoring.job import PLANES
from .findings import Finding

_ROUNDED = "float16"
"""What services send unless they are asked not to; older software did not record it."""
_DECISIVE = ("mode", "producer", "threshold_adc", "ceiling_adc", "planes")
_NUMBERS = frozenset(map(str, PLANES))


@dataclass(frozen=True, kw_only=True)
class Making:
    """How all of an output's scores were made; as `ssnet run` makes them where nobody says."""

    mode: chain.Mode = field(default_factory=chain.Croi)
    producer: str = "wire"
    low_adc: float = chain.LOW_ADC
    tick_order: AskedOrder = "auto"
    trust_tick_order: bool = False
    planes: tuple[int, ...] = PLANES
    """Which were scored."""
    service_low_adc: tuple[float, ...] = (chain.LOW_ADC,) * len(PLANES)
    """Of each of these planes."""
    dtypes: tuple[str, ...] = field(default=(_ROUNDED,) * len(PLANES), compare=False)
    """Of each of these planes scores on the wire: float16 rounds small ones to 0."""


def read_records(texts: Sequence[str], finding: Finding) -> list[Record]:
    """The records of an output; `finding` says which are none."""
    finding.look(
        not texts, "there is none: another program's output, which --mode and others tell of"
    )
    records = []
    for text in texts:
        try:
            records.append(Record.unpack(text))
        except ReadError as error:
            finding.look(1, str(error))
    return records


def making_of(records: Sequence[Record], entries: int, finding: Finding) -> Making | None:
    """What all records agree in; None if there is no such thing. `finding` says what is wrong.

    Other weights or a lost entry are wrong, but say no less of where scores must be.
    """
    if finding.bad:
        return None
    # a run of no entries asks no service, and says nothing of networks
    told = [(number, each) for number, each in enumerate(records) if each.events]
    makings: list[Making] = []
    wrong: list[str] = []
    for number, record in told:
        try:
            makings.append(_making(record))
            problems = list(_differences(told[0][1], record))
        except ReadError as error:
            problems = [str(error)]
        wrong += [f"record {number + 1} of {len(records)}: {each}" for each in problems]
    events = sum(record.events for record in records)
    if events != entries:
        wrong.append(f"it speaks of {events} events, the file has {entries}")
    finding.look(len(wrong), "".join(wrong[:1]), of=len(records))
    agreed = len(makings) == len(told) and all(each == makings[0] for each in makings)
    return _as_rounded_as_any(makings) if makings and agreed else None


def _as_rounded_as_any(makings: Sequence[Making]) -> Making:
    """The first one, with the dtype of those that round where they differ in it."""
    by_plane = zip(*(making.dtypes for making in makings), strict=True)
    dtypes = tuple(_ROUNDED if _ROUNDED in several else several[0] for several in by_plane)
    return replace(makings[0], dtypes=dtypes)


def _differences(first: Record, record: Record) -> Iterator[str]:
    """What is not in a record as it is in the first one."""
    for plane in planes_of(first):
        name = service_name(plane)
        one, other = (asdict(_origin(each, name)) for each in (first, record))
        unknown = {"dtype"} if not (one["dtype"] and other["dtype"]) else set()
        for what in one:
            if what not in unknown and one[what] != other[what]:
                shown = f"{what} {one[what]!r}, got {other[what]!r}"
                yield f"want {name} from one network throughout, {shown}"
    for name in (*_DECISIVE, "tick_order"):
        before, now = (_setting(each, name) for each in (first, record))
        if before != now:
            yield f"want {name} {before} throughout, got {now}"


def planes_of(record: Record) -> tuple[int, ...]:
    """Which planes were scored: those of a detector, where a record does not say it."""
    planes = record.settings.get("planes", PLANES)
    known = isinstance(planes, (list, tuple)) and planes and set(map(str, planes)) <= _NUMBERS
    return tuple(planes) if known else PLANES


def _setting(record: Record, name: str) -> Any:
    return record.tick_order if name == "tick_order" else record.settings.get(name)


def _making(record: Record) -> Making:
    """Raises `ReadError` for a record that does not say it."""
    if record.made_by != "ssnet run":
        raise ReadError(f"want ssnet run, got {record.made_by}")
    planes = planes_of(record)
    origins = [_origin(record, service_name(plane)) for plane in planes]
    try:
        return Making(
            mode=mode_of(record.settings["mode"]),
            producer=str(record.settings["producer"]),
            low_adc=float(record.settings["threshold_adc"]),
            tick_order=record.tick_order,
            planes=planes,
            service_low_adc=tuple(origin.threshold_adc for origin in origins),
            dtypes=tuple(origin.dtype or _ROUNDED for origin in origins),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ReadError(f"it does not say how the scores were made: {error!r}") from error


def _origin(record: Record, name: str) -> Origin:
    origins = record.services.get(name, ())
    if len(origins) != 1:
        raise ReadError(f"want one network of {name}, got {len(origins)}")
    return origins[0]
