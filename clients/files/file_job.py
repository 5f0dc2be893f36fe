"""The settings that all clients of files share: files, broker, limits and tick order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lartpc import AskedOrder, Format
from mdp import SettingsError
from mdp.settings import DEFAULT_ENDPOINT

from .entries import check_range


@dataclass(frozen=True, kw_only=True)
class FileJob:
    """A job that reads files, asks services through a broker, and writes one file.

    Raises `SettingsError` for values out of range.
    """

    inputs: tuple[Path, ...]
    output: Path
    broker: str = DEFAULT_ENDPOINT
    start: int = 0
    end: int | None = None
    """The end of the range of entries, exclusive, counted over all files; None: the last entry."""
    timeout_s: float = 300.0
    """Seconds for one try, including the wait in the broker's queue."""
    tries: int = 3
    window: int = 8
    """The most questions in flight, including those whose answers wait to be written."""
    window_bytes: int = 256 << 20
    """The most packed bytes of these questions and answers; one question is always allowed."""
    format: Format | None = None
    """The format of the output; None: as `lartpc.format_to_write` chooses."""
    copy_input: bool = False
    """Copy the input's other products to the output, entry by entry."""
    repeat_inputs: bool = False
    """Allow an input that is given twice."""
    tick_order: AskedOrder = "auto"
    trust_tick_order: bool = False
    """Use `tick_order` even if the files contradict it."""
    force: bool = False
    """Replace an output that exists."""
    command: tuple[str, ...] = ()
    """The command line, for the provenance of the output."""

    def __post_init__(self) -> None:
        for name in ("tries", "window", "window_bytes"):
            if getattr(self, name) < 1:
                raise SettingsError(f"want {name} of at least 1, got {getattr(self, name)}")
        check_range(self.start, self.end)
