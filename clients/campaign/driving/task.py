"""What a driver is asked to do, what became of it, and the error that ends a campaign early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mdp import MDPError

from ..inputs import Given
from ..plan import CampaignSettings
from .services import Services


class CampaignStopped(MDPError):
    """A campaign ended before all files were scored; the same command goes on."""


@dataclass(frozen=True)
class Task:
    """What a driver is asked to do."""

    folder: Path
    """DIR, absolute."""
    settings: CampaignSettings | None
    """None: those that the campaign has."""
    inputs: Sequence[Given] = ()
    """Further inputs."""
    retry: bool = False
    """Score failed and changed files again."""
    force: bool = False
    """Replace files that have the names of new outputs."""
    command: tuple[str, ...] = ()
    """The command line, for the provenance of outputs."""
    hint: str = ""
    """What to type to start readers."""
    plane_hints: Mapping[str, str] = field(default_factory=dict)
    """What to type to start workers of each service that the readers ask."""
    services: Services | None = None
    """Who scores the files, to be remembered; None: they are not remembered."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else the lease's file says of this driver."""


@dataclass
class Outcome:
    """What became of a campaign when a driver ended."""

    files: int = 0
    done: int = 0
    repeated: int = 0
    """Their content is that of another file, which is done."""
    failed: int = 0
    changed: int = 0
    """The input changed after it was scored."""
    left: int = 0
    """Files that wait to be scored."""
    events: int = 0
    """In the outputs of the files that are done."""
    failed_events: int = 0
    scored: int = 0
    """Files whose output this driver published."""
    seconds: float = 0.0
    cancelled: bool = False

    @property
    def has_failures(self) -> bool:
        return bool(self.failed or self.changed or self.failed_events)
