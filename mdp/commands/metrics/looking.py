"""Asks a broker for its figures, at most once a second, whoever wants them."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

import msgpack

from ...client.client import Client
from ...errors import ClientClosed, MDPError, RequestTimeout
from ...sockets import clock

log = logging.getLogger(__name__)

FRESH_S = 1.0  # a report of this age is not asked for again

Report = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What one question has shown."""

    report: Report | None
    """The answer of `mmi.metrics`; None: the broker has not answered."""
    reason: str = ""
    """Why there is no report, in one line."""
    took_s: float = 0.0
    """Seconds until the answer."""


class Looks:
    """Looks at a broker for several readers, from any thread.

    Readers that come while a question is asked wait for its answer. The log says once when a
    broker stops to answer, when it answers again, and what the key does not allow.
    """

    def __init__(self, client: Client, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._seen: Seen | None = None
        self._fresh_until = 0.0
        self._limited_key = ""  # the last line about what the key does not allow

    def now(self) -> Seen:
        """Return what is seen now, or was seen less than `FRESH_S` ago."""
        with self._lock:
            if self._seen is None or clock() >= self._fresh_until:
                seen = self._ask()
                self._note(seen)
                self._seen = seen
                self._fresh_until = clock() + FRESH_S
            return self._seen

    def _ask(self) -> Seen:
        asked_at = clock()
        try:
            report = self._client.management("metrics", timeout_s=self._timeout_s)
        except RequestTimeout:
            return Seen(None, self._why_silent())
        except (MDPError, ValueError, msgpack.UnpackException) as error:
            shown = self._client.broker_shown
            return Seen(None, f"{shown} does not answer mmi.metrics as this version does: {error}")
        return Seen(report, took_s=clock() - asked_at)

    def _why_silent(self) -> str:
        silent = f"no broker answers at {self._client.broker_shown} within {self._timeout_s:g} s"
        try:
            return f"{silent}: {self._client.why_silent()}"
        except ClientClosed:
            return silent

    def _note(self, seen: Seen) -> None:
        answered = self._seen is None or self._seen.report is not None
        if seen.report is None:
            if answered:
                log.warning("%s", seen.reason)
            return
        if not answered:
            log.info("the broker answers again at %s", self._client.broker_shown)
        limited = str(seen.report.get("no_peers", ""))
        if limited and limited != self._limited_key:
            hint = "`mdp keys new NAME --role operator` makes one"
            log.warning("no figures of single workers and clients: %s; %s", limited, hint)
        self._limited_key = limited
