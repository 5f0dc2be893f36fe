"""When the log says what a client waits for: after 10 s, then each minute. Pure."""

from __future__ import annotations

from collections.abc import Mapping

FIRST_S, EVERY_S = 10.0, 60.0


class Patience:
    """Remembers which waits the log has named."""

    def __init__(self) -> None:
        self._next_s: dict[str, float] = {}  # when each thing is named again

    def due(self, since: Mapping[str, float], now: float) -> dict[str, float]:
        """Return the things to name now, each with the seconds that it has been waited for.

        since: all that is waited for now, and the time at which each wait began.
        """
        waited = {thing: now - began for thing, began in since.items() if now - began >= FIRST_S}
        self._next_s = {thing: self._next_s.get(thing, FIRST_S) for thing in waited}
        due = {thing: s for thing, s in waited.items() if s >= self._next_s[thing]}
        for thing, waited_s in due.items():
            self._next_s[thing] = (waited_s // EVERY_S + 1) * EVERY_S
        return due
