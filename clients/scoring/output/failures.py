"""Events that failed permanently: which errors count, how many are too many, and their report.

A report of another program is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lartpc.files.whole_file import write_whole
from mdp import MDPError, Refused, ServiceError, SettingsError, TooSlow, WorkersDied

_FEW = 10  # with fewer failures, the services do not count as broken
_MAX_REASON = 500  # characters
_HANDLER_RAISED = 500
_AT_WORKER = re.compile(r"(?<= at worker )(\S+):\d+")  # as mdp.worker.child ends its error 500
BAD_INPUT = 422
"""The code of an entry that cannot be read, planned or cut; no request was sent for it."""


class TooManyFailed(MDPError):
    """So many events failed that the services are probably broken, and not the events."""


class EventFailed(MDPError):
    """An event failed permanently, and the job is strict: it stops at the first failure."""


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


def is_permanent(error: MDPError) -> bool:
    """Whether the request itself causes the error, so that another try would fail, too."""
    if isinstance(error, Refused | WorkersDied | TooSlow):
        return True
    return type(error) is ServiceError and error.code == _HANDLER_RAISED


def blamed(error: MDPError) -> dict[str, str]:
    """Return `worker` and `host` of a failure; an empty dict if the error does not name them."""
    match = _AT_WORKER.search(str(error))
    return {"worker": match[0], "host": match[1]} if match else {}


def shortened(error: Exception) -> str:
    """Return the error as one line of at most 500 characters, for the report."""
    return " ".join(str(error).split())[:_MAX_REASON]


class Tally:
    """Counts events, and raises an error once too many of them have failed."""

    def __init__(self, *, max_failed: float, strict: bool, copied: int = 0) -> None:
        """`max_failed`: the share of the events so far that may fail, once ten have failed.

        `strict`: no event may fail. `copied`: events that a retry copies; they count among the
        events so far.
        """
        self._max_failed = max_failed
        self._strict = strict
        self._events = copied
        self.failed = 0

    def count(self, failures: list[Failure]) -> None:
        """Count one more event. Raises `EventFailed` and `TooManyFailed`."""
        self._events += 1
        if not failures:
            return
        self.failed += 1
        if self._strict:
            raise EventFailed(f"{failures[0]} (--strict)")
        if self.failed >= _FEW and self.failed > self._max_failed * self._events:
            raise TooManyFailed(
                f"{self.failed} of {self._events} events failed, more than a share of"
                f" {self._max_failed:g} (--max-failed); the last: {failures[0]}"
            )


# The report.


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
