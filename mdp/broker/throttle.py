"""Log lines at a bounded rate, so that a peer's messages cannot fill the disk. Pure."""

from __future__ import annotations

import logging


class Throttle:
    """Logs `burst` lines of each kind (template), then one per `every_s` seconds; counts the rest.

    A kind that was quiet for `every_s` seconds may be logged one more time, up to `burst` times.
    """

    def __init__(self, log: logging.Logger, *, every_s: float = 5.0, burst: int = 1) -> None:
        self._log = log
        self._every_s = every_s
        self._span_s = (burst - 1) * every_s
        self._full_at: dict[str, float] = {}  # when all lines of the burst are allowed again
        self._skipped: dict[str, int] = {}

    def info(self, now: float, template: str, *values: object) -> None:
        self._write(logging.INFO, now, template, values)

    def warning(self, now: float, template: str, *values: object) -> None:
        self._write(logging.WARNING, now, template, values)

    def exception(self, now: float, template: str, *values: object) -> None:
        """Log an error with the traceback of the exception that is handled now."""
        self._write(logging.ERROR, now, template, values, exc_info=True)

    def _write(
        self,
        level: int,
        now: float,
        template: str,
        values: tuple[object, ...],
        *,
        exc_info: bool = False,
    ) -> None:
        if not self._log.isEnabledFor(level):
            return
        full_at = max(now, self._full_at.get(template, now))
        if full_at > now + self._span_s:
            self._skipped[template] = self._skipped.get(template, 0) + 1
            return
        self._full_at[template] = full_at + self._every_s
        skipped = self._skipped.pop(template, 0)
        more = f" (and {skipped} more like it)" if skipped else ""
        self._log.log(level, template + "%s", *values, more, exc_info=exc_info)
