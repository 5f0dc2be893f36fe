"""Who made a file, of what, with which networks: the record that every output carries.

JSON, in `lartpc.files.provenance`'s place. Refuses, when read, what is no such record.
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

from .checksums import Stamp, check_once, stamp
from .entries import warn_of_repeats
from .file_job import FileJob

FORMAT = 1
_MODES: dict[str, type[chain.Mode]] = {
    "croi": chain.Croi,
    "tiles": chain.Tiles,
    "whole": chain.Whole,
}

_COUNTS = ("retried_events", "failed_events", "mended_inputs")
"""What came of a run, among its settings."""

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Input:
    """A file that was read."""

    path: str
    entries: int
    stamp: Stamp


@dataclass(frozen=True, kw_only=True)
class Record:
    """One making of a file."""

    made_by: str
    """`ssnet run` or `ssnet simple`."""
    software: str
    command: tuple[str, ...]
    """As it was given; empty for a program that called us."""
    host: str
    broker: str
    began_at: str
    """UTC, ISO 8601."""
    ended_at: str
    inputs: tuple[Input, ...]
    tick_order: TickOrder
    start: int
    """The entries that were meant, over all inputs ..."""
    end: int
    events: int
    """... and how many came out."""
    settings: Settings
    services: Mapping[str, tuple[Origin, ...]]
    """What answered: one origin a service, but for services that do not say theirs."""
    tick_order_basis: str = ""
    """What the tick order rests on, as `lartpc.files.ticks` has it; empty in older records."""
    tick_order_reason: str = ""
    """The same in words."""

    @property
    def choices(self) -> Settings:
        """The settings without what came of the run."""
        return {name: value for name, value in self.settings.items() if name not in _COUNTS}

    @property
    def failed_events(self) -> int:
        """Those that are empty because nobody could score them."""
        said = self.settings.get("failed_events", 0)
        return said if isinstance(said, int) else 0

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        own["inputs"] = [
            {"path": each.path, "entries": each.entries, **each.stamp._asdict()}
            for each in self.inputs
        ]
        own["services"] = {
            name: [asdict(origin) for origin in origins] for name, origins in self.services.items()
        }
        return {"format": FORMAT, **own}

    def pack(self) -> str:
        """As JSON, on one line."""
        text = json.dumps(self.as_dict(), ensure_ascii=False)
        # what is no UTF-8 in a file's name stays as JSON escapes it: no format stores half a pair
        return text.encode("utf-8", "backslashreplace").decode()

    @classmethod
    def unpack(cls, text: str) -> Record:
        """Raises `ReadError`."""
        try:
            said = json.loads(text)
            if said.pop("format") != FORMAT:
                raise ValueError("another format")
            check_tick_order(said["tick_order"])
            said["command"] = tuple(said["command"])
            said["inputs"] = tuple(_input(each) for each in said["inputs"])
            said["services"] = {
                name: tuple(Origin(**origin) for origin in origins)
                for name, origins in said["services"].items()
            }
            made = cls(**said)
            _check_types(made)
            return made
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ReadError(
                f"want a record of provenance of format {FORMAT}, got {text[:100]!r} ({error})"
            ) from error


def _check_types(record: Record) -> None:
    """Raise `ValueError` for a record that could not be counted, compared or shown."""
    origins = [origin for origins in record.services.values() for origin in origins]
    texts = [record.made_by, record.software, record.host, record.broker, *record.command]
    texts += [record.began_at, record.ended_at, record.tick_order_basis, record.tick_order_reason]
    texts += [text for o in origins for text in (o.engine, o.network, o.weights, o.dtype)]
    texts += [
        t for each in record.inputs for t in (each.path, each.stamp.sha256, each.stamp.hashed)
    ]
    counts = [record.start, record.end, record.events]
    counts += [n for each in record.inputs for n in (each.entries, each.stamp.bytes)]
    numbers = [origin.threshold_adc for origin in origins]
    for kind, values in ((str, texts), (int, counts), (int | float, numbers)):
        for value in values:
            if not isinstance(value, kind):
                raise ValueError(f"{value!r} at the wrong place")
    if not isinstance(record.settings, Mapping):
        raise ValueError(f"settings {record.settings!r}")


def _input(said: dict[str, Any]) -> Input:
    return Input(said.pop("path"), said.pop("entries"), Stamp(**said))


class Provenance:
    """From a run's begin to its end; the inputs' stamps are made beside the run."""

    def __init__(self, job: FileJob, made_by: str) -> None:
        self._job = job
        self._made_by = made_by
        self._began_at = now()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stamps")
        self._stamps: list[Future[Stamp]] = []

    def __enter__(self) -> Provenance:
        self._stamps = [self._thread.submit(stamp, path) for path in self._job.inputs]
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def stamps(self) -> list[Stamp]:
        """Of each input. Raises `ReadError`."""
        return [made.result() for made in self._stamps]

    def record(
        self,
        reader: Reader,
        order: Sequence[int],
        *,
        events: int,
        settings: Settings,
        services: Mapping[str, Sequence[Origin]],
    ) -> str:
        """What the output is to say, for `Writer.provenance`; call it at the end."""
        job = self._job
        sizes = zip(job.inputs, reader.sizes, self.stamps(), strict=True)
        return Record(
            made_by=self._made_by,
            software=f"ssnetserver {VERSION}",
            command=job.command,
            host=socket.gethostname(),
            broker=job.broker,
            began_at=self._began_at,
            ended_at=now(),
            inputs=tuple(Input(str(p.absolute()), n, made) for p, n, made in sizes),
            tick_order=reader.tick_order,
            tick_order_basis=reader.tick_choice.basis,
            tick_order_reason=reader.tick_choice.reason,
            start=min(order, default=0),
            end=max(order, default=-1) + 1,
            events=events,
            settings={**settings, "copy_input": job.copy_input},
            services={name: tuple(origins) for name, origins in services.items()},
        ).pack()


def check_repeats(job: FileJob, made: Provenance, reader: Reader, order: Sequence[int]) -> None:
    """Raise `SettingsError` for an input that is given twice; warn of events that come again."""
    if not job.repeat_inputs:
        check_once(job.inputs, made.stamps())
    warn_of_repeats(reader, order)


def now() -> str:
    """UTC, ISO 8601, whole seconds."""
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
    """What a file of events is to say that were made without inputs and services."""
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
        tick_order_reason=f"{made_by} makes it so",
    ).pack()


def mode_settings(mode: chain.Mode) -> dict[str, Any]:
    """A mode as JSON has it."""
    (name,) = (name for name, kind in _MODES.items() if isinstance(mode, kind))
    return {"name": name, **asdict(mode)}


def mode_of(settings: Mapping[str, Any]) -> chain.Mode:
    """The mode that `mode_settings` wrote; raises `ReadError`."""
    values = dict(settings)
    try:
        return _MODES[values.pop("name")](**values)
    except (TypeError, KeyError, ValueError) as error:
        raise ReadError(f"want a mode of {sorted(_MODES)}, got {dict(settings)}") from error
