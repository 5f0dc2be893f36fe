"""Open the output of a production run: it lists the entries to score, and takes their scores.

`lives.py` decides which life the output is in; each class here handles one or two of the lives.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from lartpc import Event, FileExists, ImageError, Reader, WriteError, format_to_write
from lartpc.files.parts import PartFiles
from services.planes import Origin, service_name

from ...files.failed_report import Failure, events_of, report_path
from ...files.provenance import Provenance
from ...flow.signals import uninterrupted
from ..job import ScoringJob
from .lives import Fresh, Resumed, Retried, Whole, decide
from .parts import Parts
from .parts_folder import PartsFolder
from .retry import Retry
from .run_settings import record_settings
from .state import plain, with_dtypes

log = logging.getLogger(__name__)

Networks = Mapping[str, Any]
"""The origin of the scores of each plane, by the plane's number as text."""


class Output(Protocol):
    """An open output. It takes the events of the entries in `asked`, in order."""

    @property
    def asked(self) -> Sequence[int]:
        """The entries that are to be scored, as they were when the output was opened."""

    @property
    def entries(self) -> int:
        """How many entries the file will have."""

    @property
    def reused(self) -> int:
        """How many events a retry copies from the existing output."""

    @property
    def needs_services(self) -> bool:
        """Whether any request must be sent."""

    @property
    def written(self) -> int:
        """How many entries are written, including those that no part holds yet."""

    @property
    def failed(self) -> tuple[Failure, ...]:
        """All failures of the output's events, including those of earlier processes."""

    def check_networks(self, networks: Networks) -> None:
        """Set the origin of the scores, before the first event is written.

        Raises `SettingsError` or `FileExists` if the existing scores come from other networks.
        """

    def write(self, event: Event, number: int, failures: Sequence[Failure]) -> None:
        """Write the event of entry `number`. Raises `LArTPCError`."""

    def close(self) -> None:
        """Finish the file and rename it into place. Raises `LArTPCError`."""


@contextmanager
def open_output(
    job: ScoringJob,
    reader: Reader,
    order: range,
    provenance: Provenance,
    *,
    images: Sequence[str],
) -> Iterator[Output]:
    """Open and lock the job's output. `images`: its producers.

    Raises `SettingsError`, `FileExists`, `WriteError`.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(PartsFolder(job.output))
        life = decide(job, reader, order, provenance, folder)
        if isinstance(life, Whole):
            yield WholeOutput(job, order, life)
            return
        force = job.force or isinstance(life, Retried)
        files = PartFiles(
            job.output,
            format=format_to_write(job.output, job.format, reader.formats),
            force=force,
            inputs=job.inputs,
            images=images,
            copy_input=reader if job.copy_input else None,
        )
        inputs = stack.enter_context(reader.again())  # another thread uses `reader`
        parts = stack.enter_context(
            Parts(folder, files, order, life.state, part_s=job.part_s, force=force)
        )
        scored = ScoredOutput(job, reader, order, parts, provenance)
        output: Output
        match life:
            case Fresh() | Resumed():
                output = scored
            case Retried(retry=retry):
                earlier = stack.enter_context(retry.open(list(images)))
                retry.check_inputs(inputs, order, earlier)
                output = RetriedOutput(scored, retry, earlier, inputs, order)
        if parts.left:
            parts.open()
        yield output


class WholeOutput:
    """An output that is complete already; only its networks are compared."""

    def __init__(self, job: ScoringJob, order: range, life: Whole) -> None:
        self.asked: Sequence[int] = ()
        self.entries = self.written = len(order)
        self.reused = 0
        self.failed = life.failed
        self.needs_services = bool(life.services)
        self.path = job.output
        self._services = life.services

    def check_networks(self, networks: Networks) -> None:
        now = {service_name(int(plane)): origin for plane, origin in plain(networks).items()}
        if now != with_dtypes(dict(self._services), now):
            raise FileExists(
                f"{self.path} is there already, from other networks; --force replaces it"
            )
        log.warning("%s: is whole already, from the same run", self.path)

    def write(self, event: Event, number: int, failures: Sequence[Failure]) -> None:
        raise WriteError(f"want no event for {self.path}, which is whole, got entry {number}")

    def close(self) -> None:
        _warn_of_failed(self)


class ScoredOutput:
    """A fresh or a resumed output: all entries that no part holds are scored."""

    reused = 0

    def __init__(
        self,
        job: ScoringJob,
        reader: Reader,
        order: range,
        parts: Parts,
        provenance: Provenance,
    ) -> None:
        self.asked = parts.left
        self.entries = len(order)
        self.needs_services = bool(self.asked)
        self.path = job.output
        self._copy_input = job.copy_input
        self._settings = record_settings(job)
        self._reader = reader
        self._order = order
        self._parts = parts
        self._provenance = provenance

    @property
    def written(self) -> int:
        return self._parts.written

    @property
    def failed(self) -> tuple[Failure, ...]:
        return self._parts.failed

    def check_networks(self, networks: Networks) -> None:
        self._parts.check_networks(dict(networks))

    def write(self, event: Event, number: int, failures: Sequence[Failure]) -> None:
        with uninterrupted():
            entry = number if self._copy_input else None
            self._parts.write(event, number, entry=entry, failures=failures)

    def close(self) -> None:
        self.finish({})

    def finish(self, more_settings: Mapping[str, Any]) -> None:
        """Close the output; `more_settings` are added to the settings in the file's record."""
        self._parts.close(self._record(more_settings))
        _warn_of_failed(self)

    def _record(self, more_settings: Mapping[str, Any]) -> str:
        settings = {**self._settings, **more_settings}
        if self.failed:
            settings["failed_events"] = len(events_of(self.failed))
        networks = self._parts.networks
        return self._provenance.record(
            self._reader,
            self._order,
            events=len(self._order),
            settings=settings,
            services={service_name(int(p)): [Origin(**o)] for p, o in networks.items()},
        )


class RetriedOutput:
    """Only the failed events are scored; the others are copied from the earlier output."""

    def __init__(
        self,
        scored: ScoredOutput,
        retry: Retry,
        earlier: Reader,
        inputs: Reader,
        order: range,
    ) -> None:
        """`earlier` reads the existing output; `inputs`: a reader that no other thread uses."""
        self.asked = [entry for entry in scored.asked if entry in retry.failed]
        self.entries = scored.entries
        self.reused = scored.entries - len(retry.failed)
        self.needs_services = bool(self.asked)
        self._scored = scored
        self._retry = retry
        self._earlier = earlier
        self._inputs = inputs
        self._order = order
        self._pending = iter(scored.asked)

    @property
    def written(self) -> int:
        return self._scored.written

    @property
    def failed(self) -> tuple[Failure, ...]:
        return self._scored.failed

    def check_networks(self, networks: Networks) -> None:
        self._retry.check_networks(dict(networks))
        self._scored.check_networks(networks)

    def write(self, event: Event, number: int, failures: Sequence[Failure]) -> None:
        self._copy_until(number)
        self._scored.write(event, number, failures)

    def close(self) -> None:
        self._copy_until(self._order.stop)
        settings: dict[str, Any] = {"retried_events": len(self._retry.failed)}
        if self._retry.mended_inputs:
            settings["mended_inputs"] = self._retry.mended_inputs
        self._scored.finish(settings)

    def _copy_until(self, number: int) -> None:
        """Copy the events that did not fail, up to the entry `number`, which is not copied."""
        for entry in self._pending:
            if entry == number:
                return
            row = entry - self._order.start
            event, want = self._earlier[row], self._inputs.rse(entry)
            if event.rse != want:
                where = f"{self._earlier.paths[0]} entry {row}"
                raise ImageError(f"want {want} in {where}, got {event.rse}")
            self._scored.write(event, entry, ())


def _warn_of_failed(output: WholeOutput | ScoredOutput) -> None:
    if output.failed:
        path = output.path
        log.warning(
            "%s: %d of %d events failed and are empty: %s names them, --retry-failed scores them"
            " again",
            path,
            len(events_of(output.failed)),
            output.entries,
            report_path(path).name,
        )
