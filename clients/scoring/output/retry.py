"""Score the failed events again; all others are copied from the existing output.

An output that does not fit its report is refused, and so is a run with other settings. Inputs that
were repaired since then are allowed if `changed_inputs` accepts them.
"""

from __future__ import annotations

from typing import Any

from lartpc import Reader, open_reader
from lartpc.files import provenance
from lartpc.files.ticks import turned_to
from mdp import SettingsError

from ...files.checksums import checksum
from ...files.failed_report import FailedReport, events_of, report_path
from ...files.file_job import FileJob
from ...files.provenance import Record
from . import changed_inputs
from .state import RunSettings, check_same, check_same_networks, plain


class Retry:
    """The events that are scored again, and the output that the others are copied from.

    Raises `SettingsError`, `ReadError`.
    """

    def __init__(self, job: FileJob, run: RunSettings, report: FailedReport) -> None:
        """`run`: the settings of this run, which must be those of the run that failed."""
        self._hint = f"--force instead of --retry-failed scores all of {job.output} again"
        self._report = report
        self._changed = changed_inputs.changed_inputs(report.run, run)
        was = changed_inputs.as_if_unchanged(report.run, run, self._changed)
        check_same(was, run, what="the run that failed", hint=self._hint)
        now = checksum(job.output).of(job.output)
        what = f"the output that {report_path(job.output)} is about"
        check_same(report.output, now, what=what, hint=self._hint)
        self._tick_order = job.tick_order
        self._output = job.output
        self._record = Record.unpack(provenance.read(job.output)[0])
        self.failed = events_of(report.failed)
        self.settings: RunSettings = {
            "output": now,
            "entries": " ".join(map(str, sorted(self.failed))),
        }

    @property
    def mended_inputs(self) -> list[dict[str, Any]]:
        """The checksums of the changed inputs before their change, for the output's record."""
        earlier: list[dict[str, Any]] = list(self._record.settings.get("mended_inputs", []))
        return earlier + [self._report.run["inputs"][number] for number in self._changed]

    def check_inputs(self, reader: Reader, order: range, earlier: Reader) -> None:
        """Compare the changed inputs with the scores that are copied; `earlier` reads the output.

        Raises `SettingsError` if these scores cannot come from these inputs.
        """
        for number in self._changed:
            mended = changed_inputs.MendedInput(number, reader=reader, order=order, hint=self._hint)
            mended.check(self._record, earlier, self.failed)

    def check_networks(self, networks: RunSettings) -> None:
        """Raise `SettingsError` unless the networks are those that scored the other events."""
        what = "the networks that scored the rest of it"
        was = self._report.networks
        check_same_networks(was, plain(networks), what=what, hint=self._hint)

    def open(self, images: list[str]) -> Reader:
        """Open the existing output; `images`: its producers."""
        order = turned_to("forward" if self._tick_order == "forward" else "backward")
        return open_reader(self._output, tick_order=order, images=images)


def read_report(job: FileJob) -> FailedReport | None:
    """Read the report of failed events; return None if no event of the output failed.

    Raises `SettingsError` if that cannot be known.
    """
    path = report_path(job.output)
    if path.exists():
        return FailedReport.read(path)
    if not job.output.exists():
        raise SettingsError(f"want the output of a run to retry, got none at {job.output}")
    records = [Record.unpack(text) for text in provenance.read(job.output)]
    if not records:
        raise SettingsError(
            f"want the output of a run to retry, got {job.output}, which has no provenance"
        )
    if failed := sum(record.failed_events for record in records):
        raise SettingsError(
            f"want {path}, which names the {failed} events that failed, got none:"
            f" --force instead of --retry-failed scores all of {job.output} again"
        )
    return None
