"""Log lines at a bounded rate, so that a peer's errors cannot fill the disk. Pure."""

from __future__ import annotations

import logging


class Throttle:
    """Logs one line of each kind (template) per `every_s` seconds, and counts the others."""

    def __init__(self, log: logging.Logger, *, every_s: float = 5.0) -> None:
        self._log = log
        self._every_s = every_s
        self._next_at: dict[str, float] = {}
        self._skipped: dict[str, int] = {}

    def warning(self, now: float, template: str, *values: object) -> None:
        if now < self._next_at.get(template, now):
            self._skipped[template] = self._skipped.get(template, 0) + 1
            return
        self._next_at[template] = now + self._every_s
        skipped = self._skipped.pop(template, 0)
        more = f" (and {skipped} more like it)" if skipped else ""
        self._log.warning(template + "%s", *values, more)
