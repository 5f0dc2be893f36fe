"""The settings of the production client. Values out of range are refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from lartpc.crops import chain
from mdp import Heartbeats, SettingsError
from services.planes import MAX_PLANE, PLANES

from ..files.file_job import FileJob
from .canary.crop_share import Canary

BadInput = Literal["stop", "fail"]


@dataclass(frozen=True, kw_only=True)
class ScoringJob(FileJob):
    """A job of the production client: inputs, output, mode and limits. A question is an event.

    Raises `SettingsError` for values out of range.
    """

    mode: chain.Mode = field(default_factory=chain.Croi)
    producer: str = "wire"
    """The producer of the images; an event has one image of each plane."""
    mode_taken: bool = False
    """The mode was not asked for: `choices.scored` took it from the first file."""
    planes: tuple[int, ...] = PLANES
    """The planes to score; images of other planes of `PLANES` are skipped."""
    skip_others: bool = False
    """Skip images of all other planes, too: the user named the planes. Otherwise they are bad
    input."""
    low_adc: float = chain.LOW_ADC
    """ADC. A pixel below it counts as no charge: the network gets 0, and its scores are 0."""
    high_adc: float = chain.HIGH_ADC
    """ADC. Pixels above this are set to this value."""
    timeout_s: float = 3600.0
    """Seconds for one try of one crop, including the wait in the broker's queue."""
    wait_s: float | None = None
    """Seconds to wait for the first worker of a plane; None: as long as `timeout_s`."""
    waits: bool = True
    """Wait for workers that have left, and for the broker, until the time of the request is over;
    False, for workers on this machine: an error after a minute without them."""
    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    """The heartbeats, which reveal a restart of the broker; use the broker's own settings."""
    ledger: Path | None = None
    """The file that gets the times of every event; None: no file."""
    part_s: float = 60.0
    """Seconds between checkpoints: at most this much work is lost if the client is killed."""
    fresh: bool = False
    """Discard the checkpoints of an earlier run and score everything again."""
    max_failed: float = 0.1
    """The share, 0 to 1, of the events so far that may fail. The run stops above it, but only after
    ten failures."""
    strict: bool = False
    """Stop at the first event that fails."""
    bad_input: BadInput = "stop"
    """What to do with an entry that cannot be read, planned or cut: stop the run, or count it as a
    failed event."""
    shadow: Canary | None = None
    """The canary that gets a share of the crops as well; None: that of the broker's contact file,
    if it has one. It changes nothing in the output."""
    retry_failed: bool = False
    """Score only the events that failed in an earlier run, and copy all others to the new file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.planes or not 0 <= min(self.planes) <= max(self.planes) <= MAX_PLANE:
            raise SettingsError(f"want planes from 0 to {MAX_PLANE}, got {self.planes}")
        if not 0 <= self.low_adc < self.high_adc < math.inf:
            got = f"{self.low_adc} and {self.high_adc} (--threshold, --ceiling)"
            raise SettingsError(f"want 0 <= threshold < ceiling, in ADC, got {got}")
        if self.wait_s is not None and not 0 <= self.wait_s < math.inf:
            raise SettingsError(f"want a wait of 0 s or more, got {self.wait_s}")
        if self.ledger in (self.output, *self.inputs):
            raise SettingsError(f"want a ledger apart from inputs and output, got {self.ledger}")
        if not 0 <= self.part_s < math.inf:
            raise SettingsError(f"want parts of 0 s or more, got {self.part_s}")
        if self.bad_input not in get_args(BadInput):
            raise SettingsError(f"want bad_input stop or fail, got {self.bad_input}")
        if not 0 <= self.max_failed <= 1:
            raise SettingsError(f"want a share of failed events in 0 to 1, got {self.max_failed}")
