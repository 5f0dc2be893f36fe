"""Whether the file at the output's path is what this command would write, by its provenance.

It must state the same inputs, entries, settings and software. A file with failed events that no
report names is refused; any other file belongs to somebody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lartpc import FileExists, Reader, ReadError
from lartpc.files.provenance import read as texts_of
from mdp import SettingsError

from ...files.checksums import stamp
from ...files.provenance import Provenance, Record
from ..job import ScoringJob
from .failures import FailedReport, Failure, events_of, report_path
from .state import RunSettings, plain

_NOT_COMPARED = (
    *("command", "host", "broker", "began_at", "ended_at", "inputs", "services"),
    *("tick_order_basis", "tick_order_reason"),
)
"""What may differ, or is compared in another way."""


@dataclass(frozen=True)
class Existing:
    """A complete output of the same run, but perhaps of other networks."""

    services: dict[str, Any]
    """The origin of each service's scores; empty for a file of no events."""
    failed: tuple[Failure, ...]


def existing_output(
    job: ScoringJob,
    reader: Reader,
    order: Sequence[int],
    provenance: Provenance,
    settings: RunSettings,
) -> Existing | None:
    """The output if this very run wrote it; None if there is none, or another program's.

    Raises `FileExists` for one with failed events that no report names any more.
    """
    if not job.output.is_file():
        return None
    try:
        (text,) = texts_of(job.output)
        record = Record.unpack(text)
        failed = _failed(job)
    except (ReadError, SettingsError, ValueError):  # not ours, or written several times
        return None
    now = provenance.record(reader, order, events=len(order), settings=settings, services={})
    if _compared(record) != _compared(Record.unpack(now)):
        return None
    if record.failed_events != len(events_of(failed)):
        raise FileExists(
            f"{job.output} is there already, with {record.failed_events} events that failed: want"
            f" {report_path(job.output)}, which names them, or force to replace it"
        )
    services = {
        name: asdict(origins[0]) for name, origins in record.services.items() if len(origins) == 1
    }
    return Existing(plain(services), failed)


def _compared(record: Record) -> dict[str, Any]:
    values = {name: value for name, value in record.as_dict().items() if name not in _NOT_COMPARED}
    values["settings"] = record.choices
    values["inputs"] = [(file.entries, file.stamp) for file in record.inputs]
    return values


def _failed(job: ScoringJob) -> tuple[Failure, ...]:
    """The failures in the report; raises `SettingsError` if it is about another file."""
    path = report_path(job.output)
    if not path.exists():
        return ()
    report = FailedReport.read(path)
    if report.output != stamp(job.output).of(job.output):
        raise SettingsError(f"want a report about {job.output}, got {path}")
    return report.failed
