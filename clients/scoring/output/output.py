"""The production client's output: begun, gone on with, or mended where events failed.

Refuses to go on with, or to mend, what another command began.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from lartpc import Event, ImageError, Reader
from lartpc.files.parts import PartFiles
from services.planes import Origin, service_name

from ...files.provenance import Provenance, mode_settings
from ...flow.signals import uninterrupted
from ..job import PLANES, ScoringJob
from .existing import MadeBefore, made_before
from .failures import Failure, events_of, report_path
from .parts import RETRY, Parts, settle
from .parts_folder import PartsFolder
from .retry import Retry, read_report
from .state import State, Told, plain

log = logging.getLogger(__name__)


def settings(job: ScoringJob) -> dict[str, Any]:
    """What decides the scores besides the networks."""
    return {
        "mode": mode_settings(job.mode),
        "producer": job.producer,
        "threshold_adc": job.low_adc,
        "ceiling_adc": job.high_adc,
        **({} if job.planes == PLANES else {"planes": list(job.planes)}),
    }


def told(job: ScoringJob, reader: Reader, order: range, made: Provenance) -> Told:
    """What decides the output, but for the networks: with the same it is the same run."""
    inputs = zip(job.inputs, made.stamps(), reader.sizes, strict=True)
    return {
        "inputs": [{**stamp.of(path), "entries": entries} for path, stamp, entries in inputs],
        "entries": [order.start, order.stop],
        **settings(job),
        "tick_order": job.tick_order,
        "copy_input": job.copy_input,
    }


class Output:
    """Takes the events of `asked`, in order; those between them come from the output before."""

    def __init__(
        self,
        job: ScoringJob,
        reader: Reader,
        order: range,
        parts: Parts | None,
        made: Provenance,
        *,
        ended: Sequence[Failure] = (),
        stands: MadeBefore | None = None,
    ) -> None:
        """`parts`: None for an output that is whole already, and `ended` what failed in it;
        `stands`: that output, if its networks are still to be compared."""
        self._job = job
        self._reader = reader
        self._order = order
        self._parts = parts
        self._ended = tuple(ended)
        self._stands = stands
        self._made = made
        self._retry: Retry | None = None
        self._before: Reader | None = None
        self._inputs = reader
        self._pending: Iterator[int] = iter(())

    def keep(self, retry: Retry, before: Reader, inputs: Reader) -> None:
        """Ask only about what failed; `before` reads the output that has the rest.

        `inputs`: a reader that no other thread uses.
        """
        self._retry, self._before, self._inputs = retry, before, inputs
        self._pending = iter(self._parts.left if self._parts else ())

    @property
    def asked(self) -> Sequence[int]:
        """The entries that are to be asked about."""
        left: Sequence[int] = self._parts.left if self._parts else range(0)
        return [n for n in left if n in self._retry.asked] if self._retry else left

    @property
    def needs_services(self) -> bool:
        """Whether any service is to be asked anything."""
        return bool(self.asked) or self._stands is not None

    @property
    def entries(self) -> int:
        """How many the file will have."""
        return len(self._order)

    @property
    def kept(self) -> int:
        """How many a retry takes from the output before."""
        return len(self._order) - len(self._retry.asked) if self._retry else 0

    @property
    def done(self) -> int:
        """How many entries are written, safe or not."""
        return self._parts.written if self._parts else len(self._order)

    @property
    def failed(self) -> tuple[Failure, ...]:
        """All that the output lacks, whichever process found it out."""
        return self._parts.failed if self._parts else self._ended

    def made_by(self, networks: Told) -> None:
        """Say where the scores come from, before the first.

        Raises `SettingsError`, and `FileExists` for an output of other networks.
        """
        if self._stands:
            self._stands.check_networks(networks)
            log.warning("%s: is whole already, of this very run", self._job.output)
        if self._retry:
            self._retry.check_networks(networks)
        if self._parts:
            self._parts.made_by(networks)

    def write(self, event: Event, number: int, failures: Sequence[Failure]) -> None:
        """The event of entry `number`. Raises `LArTPCError`."""
        self._catch_up(number)
        self._write(event, number, failures)

    def _catch_up(self, number: int) -> None:
        if self._before is None:
            return
        for entry in self._pending:
            if entry == number:
                return
            event, want = self._before[entry - self._order.start], self._inputs.rse(entry)
            if event.rse != want:
                where = f"{self._before.paths[0]} entry {entry - self._order.start}"
                raise ImageError(f"want {want} in {where}, got {event.rse}")
            self._write(event, entry, ())

    def _write(self, event: Event, number: int, failures: Sequence[Failure]) -> None:
        assert self._parts is not None
        with uninterrupted():
            entry = number if self._job.copy_input else None
            self._parts.write(event, number, entry=entry, failures=failures)

    def close(self) -> None:
        """Give the file its name. Raises `LArTPCError`."""
        if self._parts:
            self._catch_up(self._order.stop)
            self._parts.close(self._record(self._parts.networks))
        if self.failed:
            log.warning(
                "%s: %d of %d events failed and are empty: %s names them, --retry-failed mends",
                self._job.output,
                len(events_of(self.failed)),
                len(self._order),
                report_path(self._job.output).name,
            )

    def _record(self, networks: Told) -> str:
        own = settings(self._job)
        if self._retry:
            own["retried_events"] = len(self._retry.asked)
            if self._retry.mended_inputs:
                own["mended_inputs"] = self._retry.mended_inputs
        if self.failed:
            own["failed_events"] = len(events_of(self.failed))
        return self._made.record(
            self._reader,
            self._order,
            events=len(self._order),
            settings=own,
            services={service_name(int(p)): [Origin(**o)] for p, o in networks.items()},
        )


@contextmanager
def open_output(
    job: ScoringJob, reader: Reader, order: range, made: Provenance, *, images: Sequence[str]
) -> Iterator[Output]:
    """The job's output, locked. `images`: its producers. Raises `SettingsError`, `WriteError`."""
    with ExitStack() as stack:
        folder = stack.enter_context(PartsFolder(job.output))
        if job.fresh:
            folder.clear()
        ended = settle(folder)
        run = told(job, reader, order, made)
        retry = _retry(job, run) if job.retry_failed else None
        if _is_whole(job, run, retry, ended):
            yield Output(job, reader, order, None, made, ended=ended.failed if ended else ())
            return
        if not (job.force or job.retry_failed) and folder.load() is None:
            stands = made_before(job, reader, order, made, settings(job))
            if stands:
                failed = stands.failed
                yield Output(job, reader, order, None, made, ended=failed, stands=stands)
                return
        again = stack.enter_context(reader.again())  # another thread reads with the first one
        before = stack.enter_context(retry.open(list(images))) if retry else None
        if retry and before:
            retry.check_inputs(again, order, before)
        files = PartFiles(
            job.output,
            force=job.force or job.retry_failed,
            inputs=job.inputs,
            images=images,
            copy_input=reader if job.copy_input else None,
        )
        parts = stack.enter_context(_parts(job, folder, files, order, run, retry))
        output = Output(job, reader, order, parts, made)
        if retry and before:
            output.keep(retry, before, again)
        if parts.left:
            parts.open()
        yield output


def _retry(job: ScoringJob, run: Told) -> Retry | None:
    report = read_report(job)
    return Retry(job, run, report) if report else None


def _is_whole(job: ScoringJob, run: Told, retry: Retry | None, ended: State | None) -> bool:
    """Whether nothing is to be done, and why is said."""
    if job.retry_failed:
        if retry is None:
            log.warning("%s: no event of it failed", job.output)
        return retry is None
    if ended is None or ended.run != plain(run):
        return False
    log.warning("%s: was whole already, when its client was killed", job.output)
    return True


def _parts(
    job: ScoringJob,
    folder: PartsFolder,
    files: PartFiles,
    order: range,
    run: Told,
    retry: Retry | None,
) -> Parts:
    return Parts(
        folder,
        files,
        order,
        {**run, RETRY: retry.told} if retry else run,
        part_s=job.part_s,
        force=job.force or job.retry_failed,
    )
