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
from dataclasses import dataclass, field
from typing import Any

from lartpc import Reader
from lartpc.files.open import check_output

from ...files.failed_report import Failure
from ...files.provenance import Provenance
from ..job import ScoringJob
from .existing import existing_output
from .parts_folder import PartsFolder
from .publishing import RETRY, finish_killed_run
from .retry import Retry, read_report
from .run_settings import run_settings
from .state import State

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
        return Retried(folder.resume(settings, order), retry)
    if killed is not None and killed.run == settings:
        log.warning("%s: was whole already when its client was killed", job.output)
        return Whole(tuple(killed.failed))
    # with --force or with parts, a complete file is an older one, and is not looked at
    if not job.force and folder.load() is None:
        existing = existing_output(job, reader, order, provenance)
        if existing is not None:
            if not existing.services:  # it has no events, so there are no scores to compare
                log.warning("%s: is whole already, from the same run", job.output)
            return Whole(existing.failed, existing.services)
    check_output(job.output, force=job.force, inputs=job.inputs)
    state = folder.resume(settings, order)
    return Resumed(state) if state.parts else Fresh(state)
