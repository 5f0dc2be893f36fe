"""Read from the provenance which networks and settings made the scores; they must all agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lartpc import AskedOrder, ReadError
from lartpc.crops import chain
from services.planes import MAX_PLANE, PLANES, Origin, service_name

from ..files.provenance import Record, mode_of
from .findings import Finding

_ROUNDED = "float16"
"""The dtype that services send by default; older software did not record it."""
_DECISIVE = ("mode", "producer", "threshold_adc", "ceiling_adc", "planes")
"""The settings that all runs merged into one output must share."""
_NUMBERS = frozenset(map(str, range(MAX_PLANE + 1)))


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """How all scores of an output were made. The defaults are those of `ssnet run`."""

    mode: chain.Mode = field(default_factory=chain.Croi)
    producer: str = "wire"
    low_adc: float = chain.LOW_ADC
    tick_order: AskedOrder = "auto"
    trust_tick_order: bool = False
    planes: tuple[int, ...] = PLANES
    """The planes that were scored."""
    service_low_adc: tuple[float, ...] = (chain.LOW_ADC,) * len(PLANES)
    """The threshold of the service of each of these planes, in ADC."""
    dtypes: tuple[str, ...] = field(default=(_ROUNDED,) * len(PLANES), compare=False)
    """The dtype in which the scores of each of these planes were sent: float16 rounds small scores
    to 0."""


def read_records(texts: Sequence[str], finding: Finding) -> list[Record]:
    """Read the records of an output; `finding` gets those that cannot be read."""
    finding.look(
        not texts,
        "there is none: another program wrote the output (--mode and others set its settings)",
    )
    records = []
    for text in texts:
        try:
            records.append(Record.unpack(text))
        except ReadError as error:
            finding.look(1, str(error))
    return records


def common_settings(
    records: Sequence[Record], entries: int, finding: Finding
) -> ScoreSettings | None:
    """Return the settings that all records agree in; None if they do not agree.

    `finding` gets everything that is wrong. Different weights or a lost entry are wrong, but the
    settings still show which pixels must have scores.
    """
    if finding.bad:
        return None
    # a run without entries asks no service, so its record states no networks
    stated = [(number, record) for number, record in enumerate(records) if record.events]
    settings: list[ScoreSettings] = []
    wrong: list[str] = []
    for number, record in stated:
        try:
            settings.append(_settings(record))
            problems = list(differences(stated[0][1], record))
        except ReadError as error:
            problems = [str(error)]
        wrong += [f"record {number + 1} of {len(records)}: {problem}" for problem in problems]
    events = sum(record.events for record in records)
    if events != entries:
        wrong.append(f"want the {events} events of the provenance, got {entries} in the file")
    finding.look(len(wrong), "".join(wrong[:1]), of=len(records))
    agreed = len(settings) == len(stated) and all(one == settings[0] for one in settings)
    return _with_rounding(settings) if settings and agreed else None


def _with_rounding(settings: Sequence[ScoreSettings]) -> ScoreSettings:
    """The first settings; a plane has float16 if any of the settings has it for this plane."""
    by_plane = zip(*(one.dtypes for one in settings), strict=True)
    dtypes = tuple(_ROUNDED if _ROUNDED in several else several[0] for several in by_plane)
    return replace(settings[0], dtypes=dtypes)


def differences(first: Record, record: Record) -> Iterator[str]:
    """How a record differs from the first one."""
    for plane in planes_of(first):
        name = service_name(plane)
        one, other = (asdict(_origin(source, name)) for source in (first, record))
        unknown = {"dtype"} if not (one["dtype"] and other["dtype"]) else set()
        for what in one:
            if what not in unknown and one[what] != other[what]:
                shown = f"{what} {one[what]!r}, got {other[what]!r}"
                yield f"want {name} from one network throughout, {shown}"
    for name in (*_DECISIVE, "overrules_larcv2", "tick_order"):
        want, got = (_setting(source, name) for source in (first, record))
        if want != got:
            yield f"want {name} {want} throughout, got {got}"


def planes_of(record: Record) -> tuple[int, ...]:
    """Return the planes that were scored; all three if the record does not state them."""
    planes = record.settings.get("planes", PLANES)
    known = isinstance(planes, (list, tuple)) and planes and set(map(str, planes)) <= _NUMBERS
    return tuple(planes) if known else PLANES


def _setting(record: Record, name: str) -> Any:
    return record.tick_order if name == "tick_order" else record.settings.get(name)


def _settings(record: Record) -> ScoreSettings:
    """The settings of a record. Raises `ReadError` if it does not state them."""
    if record.made_by != "ssnet run":
        raise ReadError(f"want ssnet run, got {record.made_by}")
    planes = planes_of(record)
    origins = [_origin(record, service_name(plane)) for plane in planes]
    try:
        return ScoreSettings(
            mode=mode_of(record.settings["mode"]),
            producer=str(record.settings["producer"]),
            low_adc=float(record.settings["threshold_adc"]),
            tick_order=record.tick_order,
            planes=planes,
            service_low_adc=tuple(origin.threshold_adc for origin in origins),
            dtypes=tuple(origin.dtype or _ROUNDED for origin in origins),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ReadError(f"the record lacks settings of the scores: {error!r}") from error


def _origin(record: Record, name: str) -> Origin:
    origins = record.services.get(name, ())
    if len(origins) != 1:
        raise ReadError(f"want one network of {name}, got {len(origins)}")
    return origins[0]
