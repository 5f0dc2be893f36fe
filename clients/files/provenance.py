"""The provenance of an output: a record of its command, inputs, settings and networks.

It is JSON, stored where `lartpc.files.provenance` stores it. Reading refuses any other text.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from lartpc import Reader, ReadError, TickOrder
from lartpc.crops import chain
from lartpc.image import check_tick_order
from mdp.version import VERSION
from services.planes import Origin

from .checksums import FileChecksum, check_once, checksum
from .entries import warn_of_repeats
from .file_job import FileJob

FORMAT = 1
_MODES: dict[str, type[chain.Mode]] = {
    "croi": chain.Croi,
    "tiles": chain.Tiles,
    "whole": chain.Whole,
}

_COUNTS = ("retried_events", "failed_events", "mended_inputs")
"""The keys of a record's settings that hold results of the run."""

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Input:
    """An input file of a run."""

    path: str
    entries: int
    checksum: FileChecksum


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record of how one run made a file. A file merged by `hadd` has the record of each run."""

    made_by: str
    """`ssnet run` or `ssnet simple`."""
    software: str
    command: tuple[str, ...]
    """The command line; empty if a program called the library."""
    host: str
    broker: str
    began_at: str
    """UTC, ISO 8601; `ended_at` likewise."""
    ended_at: str
    inputs: tuple[Input, ...]
    tick_order: TickOrder
    start: int
    """The first entry of the range that was processed, counted over all inputs."""
    end: int
    """The end of that range, exclusive."""
    events: int
    """How many events were written."""
    settings: Settings
    services: Mapping[str, tuple[Origin, ...]]
    """The origins of the answers, by service: one origin, or none if the service states none."""
    tick_order_basis: str = ""
    """How the tick order was chosen, as `lartpc.files.ticks` names it; empty in older records."""
    tick_order_reason: str = ""
    """The reason for the choice, as text."""

    @property
    def choices(self) -> Settings:
        """The settings without the results of the run."""
        return {name: value for name, value in self.settings.items() if name not in _COUNTS}

    @property
    def failed_events(self) -> int:
        """The number of events that are empty because they could not be scored."""
        count = self.settings.get("failed_events", 0)
        return count if isinstance(count, int) else 0

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["inputs"] = [
            {"path": file.path, "entries": file.entries, **file.checksum._asdict()}
            for file in self.inputs
        ]
        values["services"] = {
            name: [asdict(origin) for origin in origins] for name, origins in self.services.items()
        }
        return {"format": FORMAT, **values}

    def pack(self) -> str:
        """Return the record as JSON on one line."""
        text = json.dumps(self.as_dict(), ensure_ascii=False)
        # bytes of a file's name that are not UTF-8 stay escaped: no format stores lone surrogates
        return text.encode("utf-8", "backslashreplace").decode()

    @classmethod
    def unpack(cls, text: str) -> Record:
        """Parse the text of a record. Raises `ReadError`."""
        try:
            values = json.loads(text)
            if values.pop("format") != FORMAT:
                raise ValueError("another format")
            check_tick_order(values["tick_order"])
            values["command"] = tuple(values["command"])
            values["inputs"] = tuple(_input(file) for file in values["inputs"])
            values["services"] = {
                name: tuple(Origin(**origin) for origin in origins)
                for name, origins in values["services"].items()
            }
            record = cls(**values)
            _check_types(record)
            return record
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ReadError(
                f"want a record of provenance of format {FORMAT}, got {text[:100]!r} ({error})"
            ) from error


def _check_types(record: Record) -> None:
    """Raise `ValueError` if a value has the wrong type, so that every reader can rely on them."""
    origins = [origin for origins in record.services.values() for origin in origins]
    texts = [record.made_by, record.software, record.host, record.broker, *record.command]
    texts += [record.began_at, record.ended_at, record.tick_order_basis, record.tick_order_reason]
    texts += [text for o in origins for text in (o.engine, o.network, o.weights, o.dtype)]
    texts += [
        t for file in record.inputs for t in (file.path, file.checksum.sha256, file.checksum.hashed)
    ]
    counts = [record.start, record.end, record.events]
    counts += [n for file in record.inputs for n in (file.entries, file.checksum.bytes)]
    numbers = [origin.threshold_adc for origin in origins]
    for kind, values in ((str, texts), (int, counts), (int | float, numbers)):
        for value in values:
            if not isinstance(value, kind):
                raise ValueError(f"{value!r} has the wrong type")
    if not isinstance(record.settings, Mapping):
        raise ValueError(f"settings {record.settings!r}")


def _input(values: dict[str, Any]) -> Input:
    return Input(values.pop("path"), values.pop("entries"), FileChecksum(**values))


class Provenance:
    """Collects the provenance of a run; a thread computes the checksums of its inputs meanwhile."""

    def __init__(self, job: FileJob, made_by: str) -> None:
        self._job = job
        self._made_by = made_by
        self._began_at = now()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checksums")
        self._checksums: list[Future[FileChecksum]] = []

    def __enter__(self) -> Provenance:
        self._checksums = [self._thread.submit(checksum, path) for path in self._job.inputs]
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def checksums(self) -> list[FileChecksum]:
        """Wait for the checksum of each input. Raises `ReadError`."""
        return [future.result() for future in self._checksums]

    def record(
        self,
        reader: Reader,
        order: Sequence[int],
        *,
        events: int,
        settings: Settings,
        services: Mapping[str, Sequence[Origin]],
    ) -> str:
        """Return the record of the output, for `Writer.provenance`; call it at the end of the run.

        `order`: the entries that were processed. Raises `ReadError`.
        """
        job = self._job
        files = zip(job.inputs, reader.sizes, self.checksums(), strict=True)
        return Record(
            made_by=self._made_by,
            software=f"ssnetserver {VERSION}",
            command=job.command,
            host=socket.gethostname(),
            broker=job.broker,
            began_at=self._began_at,
            ended_at=now(),
            inputs=tuple(Input(str(p.absolute()), n, checksum) for p, n, checksum in files),
            tick_order=reader.tick_order,
            tick_order_basis=reader.tick_choice.basis,
            tick_order_reason=reader.tick_choice.reason,
            start=min(order, default=0),
            end=max(order, default=-1) + 1,
            events=events,
            settings={**settings, **overruled(reader), "copy_input": job.copy_input},
            services={name: tuple(origins) for name, origins in services.items()},
        ).pack()


def overruled(reader: Reader) -> dict[str, bool]:
    """Return the setting that the user's tick order overruled LArCV2's definition, if it did."""
    return {"overrules_larcv2": True} if reader.overrules else {}


def check_repeats(
    job: FileJob, provenance: Provenance, reader: Reader, order: Sequence[int]
) -> None:
    """Raise `SettingsError` for an input that is given twice; warn of events that come again."""
    if not job.repeat_inputs:
        check_once(job.inputs, provenance.checksums())
    warn_of_repeats(reader, order)


def now() -> str:
    """Return the time: UTC, ISO 8601, whole seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def made_from_nothing(
    made_by: str,
    *,
    began_at: str,
    events: int,
    tick_order: TickOrder,
    settings: Settings,
    command: Sequence[str],
) -> str:
    """Return the record of a file of events that were made without inputs and services."""
    return Record(
        made_by=made_by,
        software=f"ssnetserver {VERSION}",
        command=tuple(command),
        host=socket.gethostname(),
        broker="",
        began_at=began_at,
        ended_at=now(),
        inputs=(),
        tick_order=tick_order,
        start=0,
        end=events,
        events=events,
        settings=settings,
        services={},
        tick_order_basis="asked",
        tick_order_reason=f"{made_by} writes this order",
    ).pack()


def mode_settings(mode: chain.Mode) -> dict[str, Any]:
    """Return a mode as a JSON object."""
    (name,) = (name for name, kind in _MODES.items() if isinstance(mode, kind))
    return {"name": name, **asdict(mode)}


def mode_of(settings: Mapping[str, Any]) -> chain.Mode:
    """Return the mode that `mode_settings` has written as a JSON object. Raises `ReadError`."""
    values = dict(settings)
    try:
        return _MODES[values.pop("name")](**values)
    except (TypeError, KeyError, ValueError) as error:
        raise ReadError(f"want a mode of {sorted(_MODES)}, got {dict(settings)}") from error
