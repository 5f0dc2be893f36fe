"""The driver of a campaign: has its files scored, and keeps the catalogue and the outputs.

It is the only process that writes the catalogue, and the only one that gives an output its final
name (`publish`). Killed at any instant, the next driver goes on. Two drivers of one campaign are
kept apart by the lease.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ...flow.progress import Progress
from ..records.catalogue import Catalogue
from ..records.lease import Lease
from ..records.snapshot import catalogues
from .file_scoring import FileScoring
from .loop import Place, cancel_marker, run
from .new_outputs import new_rows
from .services import remember
from .task import CampaignStopped, Outcome, Task


def check_start(task: Task) -> None:
    """Raise `SettingsError` if a new campaign cannot begin so; nothing is made on the disk.

    The options of a campaign are fixed once it has files, and not by a start that is refused.
    """
    if task.settings is not None and not catalogues(task.folder):
        new_rows(task.inputs, task.settings.name, task.folder, force=task.force)


def drive(
    task: Task,
    broker: str,
    *,
    progress: Progress | None = None,
    after: Callable[[str], object] | None = None,
) -> Outcome:
    """Have all files scored; returns when none is left, or after `ssnet campaign cancel`.

    `after` gets the name of each step of publishing. Raises `LeaseHeld` if another driver drives
    the campaign, `LeaseLost` if one has taken it over, `CampaignStopped`, and errors of the disk.
    """
    progress = progress or Progress()
    began_at = time.monotonic()
    check_start(task)
    with (
        Lease(task.folder, on_wait=progress.step) as lease,
        Catalogue.create_or_open(task.folder, task.settings, lease.epoch) as catalogue,
    ):
        place = Place(
            task.folder,
            broker,
            lease,
            catalogue.settings.options.heartbeats,
            hint=task.hint,
            plane_hints=task.plane_hints,
            extra={**task.extra, "command": list(task.command)},
        )
        cancel_marker(task.folder).unlink(missing_ok=True)
        if task.services:
            remember(task.folder, task.services)
        scoring = FileScoring(task, catalogue, lease, progress, after)
        with lease.beating():
            scoring.prepare()
        if not scoring.progression.is_over or catalogue.settings.watch:
            run(place, scoring)
        cancel_marker(task.folder).unlink(missing_ok=True)
        outcome = scoring.outcome()
    if why := scoring.progression.stopped:
        raise CampaignStopped(f"{why}; {outcome.left} files wait")
    outcome.seconds = time.monotonic() - began_at
    return outcome
