"""Only the events that failed are asked about again; the others come from the output as it is.

Refuses an output that its report is not about, and a run that was told something else, but for
inputs that were mended since: `mended` says which.
"""

from __future__ import annotations

from typing import Any

from lartpc import Reader, open_reader
from lartpc.files import provenance
from mdp import SettingsError

from ...files.checksums import stamp
from ...files.file_job import FileJob
from ...files.provenance import Record
from . import changed_inputs
from .failures import FailedReport, events_of, report_path
from .state import Told, check_same, check_same_networks, plain


class Retry:
    """What is asked again, and what is kept. Raises `SettingsError`, `ReadError`."""

    def __init__(self, job: FileJob, run: Told, report: FailedReport) -> None:
        """`run`: what the run is told now, which must be what it was told then."""
        self._way_out = f"--force instead of --retry-failed scores all of {job.output} again"
        self._report = report
        run = plain(run)
        self._changed = changed_inputs.changed_inputs(report.run, run)
        was = changed_inputs.as_if_unchanged(report.run, run, self._changed)
        check_same(was, run, what="the run that failed", way_out=self._way_out)
        now = stamp(job.output).of(job.output)
        what = f"the output that {report_path(job.output)} is about"
        check_same(report.output, now, what=what, way_out=self._way_out)
        self._tick_order = job.tick_order
        self._output = job.output
        self._record = Record.unpack(provenance.read(job.output)[0])
        self.asked = events_of(report.failed)
        self.told: Told = {"output": now, "entries": " ".join(map(str, sorted(self.asked)))}

    @property
    def mended_inputs(self) -> list[dict[str, Any]]:
        """For the output's record: the stamps of inputs from before they were changed."""
        earlier: list[dict[str, Any]] = list(self._record.settings.get("mended_inputs", []))
        return earlier + [self._report.run["inputs"][number] for number in self._changed]

    def check_inputs(self, reader: Reader, order: range, before: Reader) -> None:
        """Compare what can be compared of inputs that were changed; `before`: the output's reader.

        Raises `SettingsError` if what would be kept is not theirs.
        """
        for number in self._changed:
            one = changed_inputs.MendedInput(
                number, reader=reader, order=order, way_out=self._way_out
            )
            one.check(self._record, before, self.asked)

    def check_networks(self, networks: Told) -> None:
        """The new events' scores must come from where the others' came from."""
        what = "the networks that scored the rest of it"
        was = self._report.networks
        check_same_networks(was, plain(networks), what=what, way_out=self._way_out)

    def open(self, images: list[str]) -> Reader:
        """The output as it is."""
        return open_reader(self._output, tick_order=self._tick_order, images=images)


def read_report(job: FileJob) -> FailedReport | None:
    """None: no event of the output failed. Raises `SettingsError` if that cannot be known."""
    path = report_path(job.output)
    if path.exists():
        return FailedReport.read(path)
    if not job.output.exists():
        raise SettingsError(f"want the output of a run to mend, got none at {job.output}")
    records = [Record.unpack(text) for text in provenance.read(job.output)]
    if not records:
        raise SettingsError(
            f"want the output of a run to mend, got {job.output}, which does not say who made it"
        )
    if failed := sum(record.failed_events for record in records):
        raise SettingsError(
            f"want {path}, which names the {failed} events that failed, got none:"
            f" --force instead of --retry-failed scores all of {job.output} again"
        )
    return None
