"""The state of an output when a run begins, decided once, before any event is read.

| life | what exists | what is scored |
|---|---|---|
| `Fresh` | nothing of this run | every entry |
| `Resumed` | parts of this very run, which was stopped | the entries that no part holds |
| `Whole` | the complete output of this very run, perhaps killed after the rename | nothing |
| `Retried` | a complete output in which events failed | the failed events (`--retry-failed`) |

The networks are compared later, when the services have answered (`Output.check_networks`).
A run is refused if its settings or inputs differ from those of the parts. A file that another run
or program wrote is refused, too, unless `--force` replaces it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lartpc import Reader
from lartpc.files.open import check_output

from ...files.failed_report import Failure
from ...files.provenance import Provenance
from ..job import ScoringJob
from . import changed_inputs
from .existing import existing_output
from .parts_folder import PartsFolder
from .publishing import RETRY, finish_killed_run
from .retry import Retry, read_report
from .run_settings import record_settings, run_settings
from .state import FileId, Part, RunSettings, State, check_same, plain

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fresh:
    """Every entry is scored."""

    state: State
    """The state of the new run, without parts."""


@dataclass(frozen=True)
class Resumed:
    """An earlier process was stopped; the parts that it finished are used."""

    state: State


@dataclass(frozen=True)
class Whole:
    """The output is complete and was made by the same run."""

    failed: tuple[Failure, ...] = ()
    """The failures of the run that wrote it."""
    services: Mapping[str, Any] = field(default_factory=dict)
    """The origin of each service's scores, to compare with the services that run now; empty if
    there is nothing to compare."""


@dataclass(frozen=True)
class Retried:
    """Only the failed events are scored; all others are copied from the existing output."""

    state: State
    """The state of the retry; it has parts if an earlier retry was stopped."""
    retry: Retry


def decide(
    job: ScoringJob,
    reader: Reader,
    order: range,
    provenance: Provenance,
    folder: PartsFolder,
) -> Fresh | Resumed | Whole | Retried:
    """Decide which state the output is in. Raises `SettingsError`, `FileExists`, `WriteError`.

    `folder`: must be locked; files in it that are not saved parts are removed.
    """
    if job.fresh:
        folder.clear()
    killed = finish_killed_run(folder)
    settings = run_settings(job, reader, order, provenance)
    if job.retry_failed:
        report = read_report(job)
        if report is None:
            log.warning("%s: no event of it failed", job.output)
            return Whole()
        retry = Retry(job, settings, report)
        settings = {**settings, RETRY: retry.settings}
        return Retried(_begun(job, folder, settings, order), retry)
    if killed is not None and killed.run == plain(settings):
        log.warning("%s: was whole already when its client was killed", job.output)
        return Whole(tuple(killed.failed))
    if not job.force and folder.load() is None:
        existing = existing_output(job, reader, order, provenance, record_settings(job))
        if existing is not None:
            if not existing.services:  # it has no events, so there are no scores to compare
                log.warning("%s: is whole already, from the same run", job.output)
            return Whole(existing.failed, existing.services)
    check_output(job.output, force=job.force, inputs=job.inputs)
    state = _begun(job, folder, settings, order)
    return Resumed(state) if state.parts else Fresh(state)


def _begun(job: ScoringJob, folder: PartsFolder, run: RunSettings, order: range) -> State:
    """The parts that an earlier process finished; a state without parts if there are none.

    Raises `SettingsError` if the parts are those of a run with other settings.
    """
    run = plain(run)
    state = folder.load()
    if state is None or not state.parts:
        folder.clear()
        return State(run)
    state = _without_changed_inputs(folder, state, run)
    check_same(state.run, run, what="the run that was begun", hint=state.hint(folder.path))
    state = _without_lost_parts(folder, state, order)
    folder.keep_only({part.file for part in state.parts})
    if state.parts:
        _log_resumed(folder, state, order)
    return state


def _log_resumed(folder: PartsFolder, state: State, order: range) -> None:
    no_gap = state.parts[-1].stop == order.start + state.events
    text = "resumes after event %d of %d" if no_gap else "resumes, %d of %d events are saved"
    log.warning(f"%s: {text}", folder.output, state.events, len(order))


def _without_changed_inputs(folder: PartsFolder, state: State, run: RunSettings) -> State:
    """Only the parts whose inputs did not change; the same state if no part remains."""
    changed = changed_inputs.changed_inputs(state.run, run)
    unchanged = changed_inputs.as_if_unchanged(state.run, run, changed)
    if not changed:
        return replace(state, run=unchanged)
    parts = changed_inputs.parts_of_unchanged(state.parts, state.run, run, changed)
    if not parts or unchanged != run:
        return state  # the caller refuses it with a list of the differences
    failed = [one for one in state.failed if any(_holds(part, one.entry) for part in parts)]
    reduced = replace(state, run=run, parts=parts, failed=failed, joined=None)
    log.warning(
        "%s: %s changed since: %d saved events of other inputs are used, %d events are scored"
        " again",
        folder.output,
        ", ".join(run["inputs"][number]["name"] for number in changed),
        reduced.events,
        state.events - reduced.events,
    )
    folder.save(reduced)
    return reduced


def _holds(part: Part, entry: int) -> bool:
    return part.start <= entry < part.stop


def _without_lost_parts(folder: PartsFolder, state: State, order: range) -> State:
    """Only the parts before the first one that another program removed or changed."""
    intact: list[Part] = []
    for part in state.parts:
        file = FileId.of(folder.path / part.file)
        if file is None or file.bytes != part.bytes:
            log.warning("%s: part %s was removed or changed", folder.output, part.file)
            break
        intact.append(part)
    stop = intact[-1].stop if intact else order.start
    failed = [failure for failure in state.failed if failure.entry < stop]
    return replace(state, parts=intact, failed=failed, joined=None)
