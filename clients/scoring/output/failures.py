"""Events that failed for good: which errors say so, how many are too many, and the report of them.

Refuses reports that it did not write.
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

_FEW = 10  # failures that are no sign yet of services that are broken
_MAX_REASON = 500  # characters
_HANDLER_RAISED = 500
_AT_WORKER = re.compile(r"(?<= at worker )(\S+):\d+")  # as mdp.worker.child ends its error 500
BAD_INPUT = 422
"""The code of an entry that cannot be read, planned or cut: nobody was asked about it."""


class TooManyFailed(MDPError):
    """So many events failed that the services must be broken, not the events."""


class EventFailed(MDPError):
    """An event failed for good, and the job was told to stop at the first one."""


@dataclass(frozen=True)
class Failure:
    """A crop that nobody could score, or a bad entry; its event is empty in the output."""

    entry: int
    """Counted over all input files."""
    where: str
    """File and entry: `run7.root entry 41`."""
    run: int
    subrun: int
    event: int
    plane: int | None
    """None: the whole event, whose input is bad."""
    crop: int | None
    """Counted in the plane; None: the whole event."""
    code: int
    """Of the error reply: 400 refused, 500 the handler raised, 502 workers died, 504 too slow; or
    422: the entry cannot be read, planned or cut."""
    reason: str
    worker: str = ""
    """`host:pid` of the worker that failed; empty where the error does not say it."""
    host: str = ""

    def __str__(self) -> str:
        if self.plane is None:
            return f"{self.where}: {self.reason}"
        return f"{self.where} plane {self.plane} crop {self.crop}: {self.reason}"


def is_for_good(error: MDPError) -> bool:
    """Whether the request itself is to blame: another try would end like this one."""
    if isinstance(error, Refused | WorkersDied | TooSlow):
        return True
    return type(error) is ServiceError and error.code == _HANDLER_RAISED


def blamed(error: MDPError) -> dict[str, str]:
    """`worker` and `host` of a failure, as far as the error says them."""
    match = _AT_WORKER.search(str(error))
    return {"worker": match[0], "host": match[1]} if match else {}


def shortened(error: Exception) -> str:
    """The error as one line of a report."""
    return " ".join(str(error).split())[:_MAX_REASON]


class Tally:
    """Counts events as they come, and says when too many of them have failed."""

    def __init__(self, *, max_failed: float, strict: bool, kept: int = 0) -> None:
        """`max_failed`: the share of the events so far, once ten failed; `strict`: none may.

        `kept`: events that were right before, and count among those so far.
        """
        self._max_failed = max_failed
        self._strict = strict
        self._events = kept
        self.failed = 0

    def count(self, failures: list[Failure]) -> None:
        """One more event; raises `EventFailed` and `TooManyFailed`."""
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
    """What stands next to an output in which events are empty that should not be."""

    run: dict[str, Any]
    """What the run was told, as in its state."""
    networks: dict[str, Any]
    output: dict[str, Any]
    """The file's fingerprint."""
    failed: tuple[Failure, ...]

    def write(self, path: Path) -> None:
        """Raises `WriteError`."""
        text = json.dumps(asdict(self), indent=1) + "\n"
        write_whole(path, lambda part: part.write_text(text))

    @classmethod
    def read(cls, path: Path) -> FailedReport:
        """Raises `SettingsError` for a file that is no report."""
        try:
            said = json.loads(path.read_bytes())
            failed = tuple(Failure(**each) for each in said["failed"])
            return cls(said["run"], said["networks"], said["output"], failed)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SettingsError(f"want a report of failed events, got {path}: {error}") from None


def report_path(output: Path) -> Path:
    """`out.root.failed.json`."""
    return output.with_name(f"{output.name}.failed.json")


def events_of(failures: Iterable[Failure]) -> frozenset[int]:
    """Their entries: an event may have failed in several crops."""
    return frozenset(failure.entry for failure in failures)
