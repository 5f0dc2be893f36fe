"""Everything that a campaign's page shows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..host_sums import HostSums
from ..standing import Standing, WorstFile
from .report_figures import FailedEvent, Pace, Part, Rates, ReasonRow, WorkerHost


@dataclass(frozen=True)
class Picture:
    """An event display, or why there is none."""

    title: str
    """`the first output`."""
    path: str
    caption: str
    png: str = ""
    """Base64."""
    width: int = 0
    height: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    name: str
    folder: str
    made_at: float
    made_by: str
    """`user on host`."""
    software: str
    driven_by: str
    """Who drives the campaign, or that nobody does, in a sentence."""
    is_driven: bool
    standing: Standing
    rates: Rates
    pace: Pace
    reasons: Part[ReasonRow]
    """Why files failed in the end."""
    try_reasons: Part[ReasonRow]
    """Why tries failed whose file was scored later, or waits."""
    event_reasons: Part[ReasonRow]
    hosts: Part[HostSums]
    worker_hosts: Part[WorkerHost]
    failed_files: Part[WorstFile]
    lossy_files: Part[WorstFile]
    """Files that were scored, but lost events; the file that lost the largest share first."""
    changed_files: Part[WorstFile]
    wrong_files: Part[WorstFile]
    """Files in which a check found something wrong, besides inputs that changed."""
    failed_events: Part[FailedEvent]
    pictures: Sequence[Picture] = ()
    settings: Sequence[tuple[str, str]] = ()
    networks: Sequence[Mapping[str, str]] = ()
    merged: Sequence[tuple[str, int, int]] = ()
    """Files that outputs were merged into: name, bytes, how many outputs."""
    began_at: float | None = None
    troubles: Sequence[str] = ()
    """What could not be read."""
