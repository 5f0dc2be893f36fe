"""Log lines at a bounded rate: a peer that misbehaves all day fills no disk. Pure."""

from __future__ import annotations

import logging


class Throttle:
    """Of each kind of line (its template) one in `every_s` seconds; the rest are counted."""

    def __init__(self, log: logging.Logger, *, every_s: float = 5.0) -> None:
        self._log = log
        self._every_s = every_s
        self._next_at: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def warning(self, now: float, template: str, *values: object) -> None:
        if now < self._next_at.get(template, now):
            self._unsaid[template] = self._unsaid.get(template, 0) + 1
            return
        self._next_at[template] = now + self._every_s
        unsaid = self._unsaid.pop(template, 0)
        more = f" (and {unsaid} more like it)" if unsaid else ""
        self._log.warning(template + "%s", *values, more)
