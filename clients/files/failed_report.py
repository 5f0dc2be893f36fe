"""The report of failed events, a JSON file beside the output. Refuses files of other programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lartpc.files.whole_file import write_whole
from mdp import SettingsError


@dataclass(frozen=True)
class Failure:
    """A crop that could not be scored, or a bad entry; its event is empty in the output."""

    entry: int
    """The entry number, counted from 0 over all input files."""
    where: str
    """File and entry: `run7.root entry 41`."""
    run: int
    subrun: int
    event: int
    plane: int | None
    """None if the input of the whole event is bad."""
    crop: int | None
    """The number of the crop, counted from 0 in its plane; None: the whole event."""
    code: int
    """The code of the error reply: 400 refused, 500 the handler raised, 502 workers died, 504 too
    slow; or 422: the entry cannot be read, planned or cut."""
    reason: str
    worker: str = ""
    """`host:pid` of the worker that failed; empty if the error does not name it."""
    host: str = ""
    """The host of that worker; empty if it is not known."""

    def __str__(self) -> str:
        if self.plane is None:
            return f"{self.where}: {self.reason}"
        return f"{self.where} plane {self.plane} crop {self.crop}: {self.reason}"


@dataclass(frozen=True)
class FailedReport:
    """The report next to an output, which names the events that failed and are empty in it."""

    run: dict[str, Any]
    """The settings of the run, as in its state."""
    networks: dict[str, Any]
    """The origin of each plane's scores."""
    output: dict[str, Any]
    """The name and checksum of the output."""
    failed: tuple[Failure, ...]

    def write(self, path: Path) -> None:
        """Write the report as JSON. Raises `WriteError`."""
        text = json.dumps(asdict(self), indent=1) + "\n"
        write_whole(path, lambda part: part.write_text(text))

    @classmethod
    def read(cls, path: Path) -> FailedReport:
        """Read a report. Raises `SettingsError` for any other file."""
        try:
            values = json.loads(path.read_bytes())
            failed = tuple(Failure(**failure) for failure in values["failed"])
            return cls(values["run"], values["networks"], values["output"], failed)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SettingsError(f"want a report of failed events, got {path}: {error}") from None


def report_path(output: Path) -> Path:
    """Return the path of the report of an output: `out.root.failed.json`."""
    return output.with_name(f"{output.name}.failed.json")


def events_of(failures: Iterable[Failure]) -> frozenset[int]:
    """Return the entries of the failures; an event may have failed in several crops."""
    return frozenset(failure.entry for failure in failures)
