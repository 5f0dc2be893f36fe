"""Events that failed permanently: which errors count, and how many are too many."""

from __future__ import annotations

import re

from mdp import MDPError, Refused, ServiceError, TooSlow, WorkersDied

from ...files.failed_report import Failure

_FEW = 10  # with fewer failures, the services do not count as broken
_MAX_REASON = 500  # characters
_HANDLER_RAISED = 500
_AT_WORKER = re.compile(r"(?<= at worker )(\S+):\d+")  # as mdp.worker.child ends its error 500
BAD_INPUT = 422
"""The code of an entry that cannot be read, planned or cut; no request was sent for it."""


class TooManyFailed(MDPError):
    """So many events failed that the services are probably broken, and not the events."""

    is_of_input = False
    """At least half of these events are bad entries of the input."""


class EventFailed(MDPError):
    """An event failed permanently, and the job is strict: it stops at the first failure."""

    is_of_input = False
    """The event is a bad entry of the input."""


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
        self._bad_entries = 0
        self.failed = 0

    def count(self, failures: list[Failure]) -> None:
        """Count one more event. Raises `EventFailed` and `TooManyFailed`."""
        self._events += 1
        if not failures:
            return
        self.failed += 1
        self._bad_entries += failures[0].code == BAD_INPUT
        if self._strict:
            refusal = EventFailed(f"{failures[0]} (--strict)")
            refusal.is_of_input = failures[0].code == BAD_INPUT
            raise refusal
        if self.failed >= _FEW and self.failed > self._max_failed * self._events:
            end = TooManyFailed(
                f"{self.failed} of {self._events} events failed, more than a share of"
                f" {self._max_failed:g} (--max-failed); the last: {failures[0]}"
            )
            end.is_of_input = 2 * self._bad_entries >= self.failed
            raise end
