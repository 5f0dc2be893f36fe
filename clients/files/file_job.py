"""What every client of files is told: which files, which broker, how much at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lartpc import AskedOrder
from mdp import SettingsError
from mdp.settings import DEFAULT_ENDPOINT

from .entries import check_range


@dataclass(frozen=True, kw_only=True)
class FileJob:
    """From files to a file, through a broker. Raises `SettingsError`."""

    inputs: tuple[Path, ...]
    output: Path
    broker: str = DEFAULT_ENDPOINT
    start: int = 0
    end: int | None = None
    """The range of entries, counted over all files; None: to the end."""
    timeout_s: float = 300.0
    """For one try, the wait in the broker's queue included."""
    tries: int = 3
    window: int = 8
    """Questions in flight, those included whose answers wait to be written."""
    window_bytes: int = 256 << 20
    """Bytes of these questions and answers, packed; one question is always allowed."""
    copy_input: bool = False
    """The input's other products come along, entry by entry."""
    repeat_inputs: bool = False
    """Take an input that is given twice."""
    tick_order: AskedOrder = "auto"
    trust_tick_order: bool = False
    """Take `tick_order` even where the files contradict it."""
    force: bool = False
    """Replace the output if it is there."""
    command: tuple[str, ...] = ()
    """What was typed, for the output's provenance."""

    def __post_init__(self) -> None:
        for name in ("tries", "window", "window_bytes"):
            if getattr(self, name) < 1:
                raise SettingsError(f"want {name} of at least 1, got {getattr(self, name)}")
        check_range(self.start, self.end)
