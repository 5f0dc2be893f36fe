"""Is the output that stands there already the one that this command would make?

Its provenance says so: the same inputs, entries and settings, by the same software. Refuses one
with failed events that no report names; whatever else stands there is somebody's file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lartpc import FileExists, Reader, ReadError
from lartpc.files import provenance
from mdp import SettingsError
from services.planes import service_name

from ...files.checksums import stamp
from ...files.provenance import Provenance, Record
from ..job import ScoringJob
from .failures import FailedReport, Failure, events_of, report_path
from .state import Told, plain, with_dtypes

_BESIDE = (
    *("command", "host", "broker", "began_at", "ended_at", "inputs", "services"),
    *("tick_order_basis", "tick_order_reason"),
)
"""What may differ, or is compared otherwise."""


@dataclass(frozen=True)
class MadeBefore:
    """A whole output of the same run, but perhaps of other networks."""

    output: str
    services: dict[str, Any]
    failed: tuple[Failure, ...]

    def check_networks(self, networks: Told) -> None:
        """Raise `FileExists` unless its scores come from these."""
        now = {service_name(int(plane)): origin for plane, origin in plain(networks).items()}
        # a file of no events has none
        if self.services and now != with_dtypes(self.services, now):
            raise FileExists(
                f"{self.output} is there already, of other networks; force to replace it"
            )


def made_before(
    job: ScoringJob, reader: Reader, order: Sequence[int], made: Provenance, settings: Told
) -> MadeBefore | None:
    """The output if it is the same run's; None if there is none, or another one.

    Raises `FileExists` for one with failed events that no report names any more.
    """
    if not job.output.is_file():
        return None
    try:
        (text,) = provenance.read(job.output)
        record = Record.unpack(text)
        failed = _failed(job)
    except (ReadError, SettingsError, ValueError):  # another program's, or of several makings
        return None
    now = made.record(reader, order, events=len(order), settings=settings, services={})
    if _same(record) != _same(Record.unpack(now)):
        return None
    if record.failed_events != len(events_of(failed)):
        raise FileExists(
            f"{job.output} is there already, with {record.failed_events} events that failed: want"
            f" {report_path(job.output)}, which names them, or force to replace it"
        )
    services = {
        name: asdict(origins[0]) for name, origins in record.services.items() if len(origins) == 1
    }
    return MadeBefore(str(job.output), plain(services), failed)


def _same(record: Record) -> dict[str, Any]:
    own = {name: value for name, value in record.as_dict().items() if name not in _BESIDE}
    own["settings"] = record.choices
    own["inputs"] = [(each.entries, each.stamp) for each in record.inputs]
    return own


def _failed(job: ScoringJob) -> tuple[Failure, ...]:
    """What the report says, if it is about this very output; raises `SettingsError`."""
    path = report_path(job.output)
    if not path.exists():
        return ()
    report = FailedReport.read(path)
    if report.output != stamp(job.output).of(job.output):
        raise SettingsError(f"want a report about {job.output}, got {path}")
    return report.failed
