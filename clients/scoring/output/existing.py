"""Find out, by its provenance, whether the file at the output's path comes from the same run.

It does if it states the same inputs, entries, settings and software. Such a file is refused if
events failed and no report names them. Any other file counts as another program's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lartpc import FileExists, Reader, ReadError
from lartpc.files.provenance import read as texts_of
from mdp import SettingsError

from ...files.checksums import checksum
from ...files.failed_report import FailedReport, Failure, events_of, report_path
from ...files.provenance import Provenance, Record
from ..job import ScoringJob
from .run_settings import record_settings
from .state import plain

_NOT_COMPARED = (
    *("command", "host", "broker", "began_at", "ended_at", "inputs", "services"),
    *("tick_order_basis", "tick_order_reason"),
)
"""Fields of the record that may differ, or that are compared in another way."""


@dataclass(frozen=True)
class Existing:
    """A complete output of the same run; its networks are not compared yet."""

    services: dict[str, Any]
    """The origin of each service's scores; empty for a file of no events."""
    failed: tuple[Failure, ...]


def existing_output(
    job: ScoringJob,
    reader: Reader,
    order: Sequence[int],
    provenance: Provenance,
) -> Existing | None:
    """Return the output if the same run wrote it; None if no file or another program's file exists.

    Raises `FileExists` if events failed in it and the report that named them is missing.
    """
    if not job.output.is_file():
        return None
    try:
        (text,) = texts_of(job.output)
        record = Record.unpack(text)
        failed = _failed(job)
    except (ReadError, SettingsError, ValueError):  # not of `ssnet run`, or a sum of several runs
        return None
    settings = record_settings(job)
    now = provenance.record(reader, order, events=len(order), settings=settings, services={})
    if _compared(record) != _compared(Record.unpack(now)):
        return None
    if record.failed_events != len(events_of(failed)):
        raise FileExists(
            f"{job.output} is there already, with {record.failed_events} events that failed: want"
            f" {report_path(job.output)}, which names them, or --force to replace the output"
        )
    services = {
        name: asdict(origins[0]) for name, origins in record.services.items() if len(origins) == 1
    }
    return Existing(plain(services), failed)


def _compared(record: Record) -> dict[str, Any]:
    values = {name: value for name, value in record.as_dict().items() if name not in _NOT_COMPARED}
    values["settings"] = record.choices
    values["inputs"] = [(file.entries, file.checksum) for file in record.inputs]
    return values


def _failed(job: ScoringJob) -> tuple[Failure, ...]:
    """The failures in the report. Raises `SettingsError` if it is about another file."""
    path = report_path(job.output)
    if not path.exists():
        return ()
    report = FailedReport.read(path)
    if report.output != checksum(job.output).of(job.output):
        raise SettingsError(f"want a report about {job.output}, got {path}")
    return report.failed
