"""Looks at the broker for all pages: one thread, once a second while a page is open."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgpack

from mdp import Client, MDPError
from mdp.errors import ClientClosed

from . import lanes
from .site_figures import History, Look, headline, run_rows, service_rows, tiles
from .sources import Sources

log = logging.getLogger(__name__)

WATCHED_S, UNWATCHED_S = 1.0, 10.0
"""Seconds between looks while a page is open, and while none is."""
_KEPT_LOOKS = 6
_ODD = (KeyError, TypeError, ValueError, AttributeError)

Message = dict[str, Any]


class Watcher:
    """Looks at a broker in a thread, and gives each look to `publish` as a message for the pages.

    A message has a number. A page that gets `snapshot` with number N needs the messages from N + 1
    on.
    """

    def __init__(
        self,
        client: Client,
        sources: Sources,
        publish: Callable[[Message], None],
        *,
        timeout_s: float,
    ) -> None:
        self._client = client
        self._sources = sources
        self._publish = publish
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_over = False
        self._pages = 0
        self._lanes = lanes.Lanes()
        self._history = History()
        self._looks: deque[Look] = deque(maxlen=_KEPT_LOOKS)
        self._number = 0
        self._message: Message = {}
        self._answered_at: float | None = None
        self._silent_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="dashboard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; it may take as long as one question to the broker."""
        self._is_over = True
        self._wake.set()
        self._thread.join()

    def set_pages(self, count: int) -> None:
        """Say how many pages are open."""
        is_first = count > self._pages
        self._pages = count
        self._sources.is_watched = count > 0
        if is_first:
            self._wake.set()

    def look_now(self) -> None:
        """Look at once, after an order."""
        self._wake.set()

    def snapshot(self) -> Message:
        """Return all that a new page needs."""
        with self._lock:
            opened = lanes.Changes(opened=self._lanes.segments)
            return {
                **self._message,
                "number": self._number,
                "snapshot": True,
                "lanes": lanes.message(self._lanes.ordered, opened, self._lanes.left_out),
                "points": list(self._history.points),
                **self._sources.figures(),
            }

    def _run(self) -> None:
        while not self._is_over:
            began_at = time.monotonic()
            self._step()
            pause_s = WATCHED_S if self._pages else UNWATCHED_S
            self._wake.wait(max(pause_s - (time.monotonic() - began_at), 0.0))
            self._wake.clear()

    def _step(self) -> None:
        look = self._look()
        if self._is_over:
            return
        with self._lock:
            try:
                message = self._taken(look)
            except _ODD as error:  # a broker of another version
                self._looks.clear()
                why = f"its reports are not understood: {type(error).__name__}: {error}"
                message = self._taken({"at": look["at"], "error": why})
        self._publish({**message, **self._sources.figures()})

    def _look(self) -> Look:
        look: dict[str, Any] = {"at": time.time()}
        try:
            look["metrics"] = self._client.management("metrics", timeout_s=self._timeout_s)
            look["services"] = self._client.services(timeout_s=self._timeout_s)
            if "no_peers" not in look["metrics"]:
                for name in ("workers", "clients"):
                    report = self._client.management(name, timeout_s=self._timeout_s)
                    look[name] = report[name]
        except (MDPError, msgpack.UnpackException, *_ODD) as error:
            return {"at": look["at"], "error": self._why_silent(error)}
        return {**look, "at": time.time()}

    def _why_silent(self, error: Exception) -> str:
        if not isinstance(error, TimeoutError):
            return " ".join(str(error).split())
        try:
            return self._client.why_silent()
        except ClientClosed:
            return "this dashboard ends"

    def _taken(self, look: Look) -> Message:
        """Add a look to what is kept; return the message about it."""
        self._number += 1
        error = look.get("error", "")
        if error:
            if self._silent_since is None:
                self._silent_since = self._answered_at or look["at"]
                log.warning("no answer from %s: %s", self._client.broker_shown, error)
            return self._with_headline(look, error, new={})
        if self._silent_since is not None:
            log.info("the broker answers again at %s", self._client.broker_shown)
        self._silent_since, self._answered_at = None, look["at"]
        self._looks.append(look)
        self._history.see(look)
        changes = self._lanes.see(look.get("workers", ()), look["at"])
        named = self._lanes.ordered if changes.has_other_lanes else None
        new = {
            "lanes": lanes.message(named, changes, self._lanes.left_out),
            "points": list(self._history.points)[-1:],
        }
        rows, runs = service_rows(look, self._history.rates), run_rows(look)
        self._message = {
            "broker": self._client.broker_shown,
            "version": look["metrics"]["version"],
            "refused": look["metrics"].get("no_peers", ""),
            "services": rows,
            "runs": runs,
            "tiles": tiles(rows, runs, self._sources.campaigns),
        }
        return self._with_headline(look, "", new=new)

    def _with_headline(self, look: Look, error: str, *, new: Message) -> Message:
        state = headline(
            list(self._looks),
            silent_since=self._silent_since,
            reason=error,
            now=look["at"],
            limits=self._sources.limits,
        )
        self._message = {
            **self._message,
            "at": look["at"],
            "silent_since": self._silent_since,
            "headline": state._asdict(),
        }
        return {**self._message, "number": self._number, **new}
