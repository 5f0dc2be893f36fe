"""What a process of workers does while no broker answers: it says why, and gives up. Pure.

A worker looks for a broker while its child is idle and no broker has answered in its session. The
time counts while workers of the process look for one and none of them has found one; a long
`setup()` does not count. A line comes after `_FIRST_S`, and then each `_EVERY_S`. Its reason has to
be looked up (a host's name, a connection), which takes seconds: `asks` is true when it is needed,
and `explained` gives it.
"""

from __future__ import annotations

import math

_FIRST_S, _EVERY_S = 10.0, 60.0
_PATIENCE_S = 10.0  # for the last reason, before the process ends without it


class BrokerSearch:
    """The search of all workers of a process for their one broker. wait_s: it gives up then."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._since = math.inf
        self._due = math.inf  # the next line
        self._is_asked = False
        self._is_over = False
        self._reason = ""

    def update(self, is_looking: bool, now: float) -> None:
        """Note whether workers look for a broker, and none of them has one."""
        if not is_looking:
            self._since = self._due = math.inf
            self._is_over, self._reason = False, ""
        elif self._since == math.inf:
            self._since, self._due = now, now + min(_FIRST_S, self._wait_s)

    def asks(self, now: float) -> bool:
        """Return whether the reason must be looked up now; true once for each line."""
        if now < self._due or self._is_asked:
            return False
        self._is_asked = True
        return True

    def explained(self, reason: str, now: float) -> str | None:
        """Take the reason; return the line to log: `for 61 s: REASON`."""
        self._is_asked = False
        if self._since == math.inf:
            return None  # a broker has answered meanwhile
        self._reason = reason
        if self._due >= self._give_up_at:
            self._is_over = True
            return None
        passed_s = now - self._since
        next_s = (passed_s // _EVERY_S + 1) * _EVERY_S
        self._due = min(self._since + next_s, self._give_up_at)
        return f"for {passed_s:.0f} s: {reason}"

    def verdict(self, now: float) -> str | None:
        """Return why the process is to end: `within 300 s: REASON`; None while it may go on."""
        if self._is_over or now >= self._give_up_at + _PATIENCE_S:
            return f"within {self._wait_s:g} s: {self._reason or 'the reason is not known'}"
        return None

    def deadline(self) -> float:
        if self._since == math.inf:
            return math.inf
        due = math.inf if self._is_asked else self._due
        return min(due, self._give_up_at + _PATIENCE_S)

    @property
    def _give_up_at(self) -> float:
        return self._since + self._wait_s
