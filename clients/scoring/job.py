"""What the production client is told. Refuses numbers that no run could use."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from lartpc.crops import chain
from mdp import Pulse, SettingsError

from ..files.file_job import FileJob

PLANES = (0, 1, 2)
BadInput = Literal["stop", "fail"]


@dataclass(frozen=True, kw_only=True)
class ScoringJob(FileJob):
    """What is scored, by whom, and where the scores go. A question is an event."""

    mode: chain.Mode = field(default_factory=chain.Croi)
    producer: str = "wire"
    """Of the images: one of each plane."""
    mode_taken: bool = False
    """Nobody asked for the mode: it is what the first file leaves (`choices.scored`)."""
    planes: tuple[int, ...] = PLANES
    """Which are scored; images of the others are passed over."""
    low_adc: float = chain.LOW_ADC
    """Below, a pixel is no charge: 0 for the network, and scored 0."""
    high_adc: float = chain.HIGH_ADC
    """Above, a pixel is cut off to this."""
    timeout_s: float = 3600.0
    """For one try of one crop, the wait in the broker's queue included."""
    wait_s: float = 10.0
    """How long to wait for the first worker of a plane."""
    pulse: Pulse = field(default_factory=Pulse)
    """How soon a broker that was restarted is noticed: as the broker's own."""
    ledger: Path | None = None
    """Where every event's times go."""
    part_s: float = 60.0
    """After how long what is written is made safe: as much is lost at most, when all is killed."""
    fresh: bool = False
    """Give up what an earlier run has made safe."""
    max_failed: float = 0.1
    """Share of the events so far that may fail, once ten have: beyond it the run ends."""
    strict: bool = False
    """End at the first event that fails."""
    bad_input: BadInput = "stop"
    """What an entry that cannot be read, planned or cut does: it stops the run, or it fails."""
    retry_failed: bool = False
    """Only the events that failed before, into a new file with the others as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.planes or not set(self.planes) <= set(PLANES):
            raise SettingsError(f"want planes of {PLANES}, got {self.planes}")
        if not 0 <= self.low_adc < self.high_adc < math.inf:
            got = f"{self.low_adc} and {self.high_adc} (--threshold, --ceiling)"
            raise SettingsError(f"want 0 <= threshold < ceiling, in ADC, got {got}")
        if not 0 <= self.wait_s < math.inf:
            raise SettingsError(f"want a wait from 0 s on, got {self.wait_s}")
        if self.ledger in (self.output, *self.inputs):
            raise SettingsError(f"want a ledger apart from inputs and output, got {self.ledger}")
        if not 0 <= self.part_s < math.inf:
            raise SettingsError(f"want parts of 0 s or more, got {self.part_s}")
        if self.bad_input not in get_args(BadInput):
            raise SettingsError(f"want bad_input stop or fail, got {self.bad_input}")
        if not 0 <= self.max_failed <= 1:
            raise SettingsError(f"want a share of failed events in 0 to 1, got {self.max_failed}")
