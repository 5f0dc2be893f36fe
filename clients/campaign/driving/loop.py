"""The loop of a driver: it asks readers for files, takes their answers, and renews the lease.

What is asked, and what becomes of an answer, is the matter of the `Work`: `driver` scores files,
and `ssnet campaign check` compares them. The loop blocks only to wait for answers; whatever may
take long, such as a look at a batch system, runs in a thread.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgpack

from mdp import (
    Client,
    ClientClosed,
    ClientSettings,
    Draining,
    Heartbeats,
    MDPError,
    NotServed,
    QueueFull,
    RequestTimeout,
)
from mdp.client.patience import Patience
from mdp.pool.observe import Outlook, pool_of

from ..file_request import SERVICE, FileReport, FileRequest
from .progression import MOST_IN_FLIGHT, Progression
from .publish import WORK

log = logging.getLogger(__name__)

BEAT_S = 2.0
_LOOK_S = 1.0  # between two looks at the marker of `cancel`, and at the number of readers
_ASK_S = 5.0  # for an answer of the broker's own
_TURN_S = 0.5
_WARN_S = 60.0  # between two lines about files that are asked for again
_BATCH = 500  # answers that are taken at once
_DAYS_30 = 30 * 86400.0
_LANES = MOST_IN_FLIGHT + 8
_AGAIN = (NotServed, RequestTimeout, QueueFull, Draining)
"""Errors that say nothing about a file: it is asked for again."""

Answer = tuple[int, "FileReport | MDPError"]


class Beats(Protocol):
    """What the loop needs of a lease."""

    def renew(self, extra: dict[str, Any]) -> None: ...

    def check(self) -> None: ...


class Work(Protocol):
    """What a loop does: which files it asks for, and what becomes of the answers."""

    progression: Progression

    def request(self, number: int) -> FileRequest:
        """Return the request to send for a file."""

    def take(self, answers: list[Answer]) -> None:
        """Take the answers that have come since the last call, at least one."""

    def turn(self, now: float) -> bool:
        """Do what is due at least twice a second; True: wait for more files when all are over."""


@dataclass
class Place:
    """Where a loop works."""

    folder: Path
    """The campaign's folder."""
    broker: str
    lease: Beats
    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    hint: str = ""
    """What to type to start readers."""
    plane_hints: Mapping[str, str] = field(default_factory=dict)
    """What to type to start workers of each service that the readers ask."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What else the lease's file says about this driver."""


def cancel_marker(folder: Path) -> Path:
    """Return the file that makes the driver of a campaign end, when it appears."""
    return folder / ".campaign" / "cancel"


def run(place: Place, work: Work) -> None:
    """Run until all files are over, or the campaign is cancelled or stopped."""
    settings = ClientSettings(
        heartbeats=place.heartbeats, timeout_s=_DAYS_30, lanes=_LANES, waits=True
    )
    with Client(place.broker, settings) as client:
        _Loop(place, work, client).run()


class Background:
    """Runs a function in a thread, one call at a time, and keeps the newest result."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._thread: threading.Thread | None = None
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def start(self) -> None:
        """Call the function, unless a call runs."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def result(self) -> Any:
        """Return the result of a call that has ended, once; None: there is none.

        Raises an `MDPError` or `OSError` of the function.
        """
        try:
            result = self._results.get_nowait()
        except queue.Empty:
            return None
        if isinstance(result, Exception):
            raise result
        return result

    def _run(self) -> None:
        try:
            self._results.put(self._function())
        except (MDPError, OSError) as error:
            self._results.put(error)


class _Loop:
    def __init__(self, place: Place, work: Work, client: Client) -> None:
        self._place = place
        self._work = work
        self._files = work.progression
        self._client = client
        self._answers: queue.SimpleQueue[tuple[int, Future[list[bytes]]]] = queue.SimpleQueue()
        self._futures: dict[int, Future[list[bytes]]] = {}
        self._services: Future[list[bytes]] | None = None
        self._beat_at = self._look_at = self._warn_at = -math.inf
        self._missing = _Missing(place)

    def run(self) -> None:
        try:
            while True:
                now = time.monotonic()
                self._beat(now)
                self._look(now)
                waits_for_more = self._work.turn(now)
                self._ask(now)
                if self._files.is_over and (self._files.draining or not waits_for_more):
                    return
                answers = self._collect(now)
                self._files.batch = len(answers)
                if answers:
                    self._ask(time.monotonic())  # readers go on while the answers are taken
                    self._work.take(answers)
        finally:
            for future in self._futures.values():
                future.cancel()

    def _ask(self, now: float) -> None:
        for number in self._files.next_files(now):
            future = self._client.submit(SERVICE, self._work.request(number).pack())
            self._futures[number] = future
            future.add_done_callback(partial(self._put, number))

    def _put(self, number: int, future: Future[list[bytes]]) -> None:
        self._answers.put((number, future))

    def _collect(self, now: float) -> list[Answer]:
        """Wait for an answer, until something else is due; return all that are there."""
        due_at = min(now + _TURN_S, self._files.deadline())
        answers: list[Answer] = []
        timeout_s = max(due_at - now, 0.0)
        while len(answers) < _BATCH:
            try:
                number, future = self._answers.get(timeout=timeout_s)
            except queue.Empty:
                break
            timeout_s = 0.0
            if self._futures.get(number) is not future:
                continue  # it was cancelled
            del self._futures[number]
            answer = _answer(number, future)
            if isinstance(answer, _AGAIN):
                self._ask_again(number, answer)
            else:
                answers.append((number, answer))
        return answers

    def _ask_again(self, number: int, error: MDPError) -> None:
        now = time.monotonic()
        self._files.returned(number, now)
        if now >= self._warn_at:
            self._warn_at = now + _WARN_S
            log.warning("files are asked for again: %s", error)

    def _beat(self, now: float) -> None:
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            extra = {"in_flight": len(self._futures), "readers": self._files.readers}
            self._place.lease.renew({**self._place.extra, "broker": self._place.broker, **extra})

    def _look(self, now: float) -> None:
        """Look at the marker of `cancel`, and at the number of readers."""
        if self._services is not None and self._services.done():
            self._missing.take(self._services, now)
            self._files.readers = self._missing.readers
            self._services = None
        is_wanted = self._files.left > 0 and not self._files.draining
        self._missing.turn(now, is_wanted=is_wanted)
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_S
        if self._services is None:
            self._services = self._client.submit("mmi.services", [], timeout_s=_ASK_S, tries=1)
        if not self._files.draining and cancel_marker(self._place.folder).exists():
            log.warning("`ssnet campaign cancel`: no further files; those in flight are finished")
            self._files.drain()
        if self._files.draining:
            self._drop_unread(now)

    def _drop_unread(self, now: float) -> None:
        """Cancel the requests that no reader has begun."""
        for number in list(self._futures):
            if not (self._place.folder / WORK / str(number)).exists():
                self._futures.pop(number).cancel()
                self._files.returned(number, now)


def _answer(number: int, future: Future[list[bytes]]) -> FileReport | MDPError:
    try:
        report = FileReport.unpack(future.result())
    except ClientClosed:
        raise
    except MDPError as error:
        return error
    begins = f"{number}/{report.token}/"
    fits = report.number == number and all(
        path.startswith(begins)
        for path in (report.staged, report.failed_report, report.ledger)
        if path
    )
    return report if fits else MDPError(f"want a report about file {number}, got {report!r:.300}")


class _Missing:
    """Which services have no workers: the readers, and the planes that they ask.

    The log says so after 10 s and then each minute, with what to type.
    """

    def __init__(self, place: Place) -> None:
        self._hints = {SERVICE: place.hint, **place.plane_hints}
        pool = pool_of(place.broker)
        self._pool = pool.name if pool else ""
        self._outlook = Background(Outlook(pool).text) if pool else None
        self._coming = ""
        self._patience = Patience()
        self._since: dict[str, float] = {}
        self.readers = 0

    def take(self, services: Future[list[bytes]], now: float) -> None:
        """Take the broker's report.

        If the broker is silent, nothing changes, but a pool is looked at: it may be stopped.
        """
        try:
            code, *packed = services.result()
            rows = msgpack.unpackb(packed[0]) if code == b"200" and packed else {}
            workers = {name: int(rows.get(name, {}).get("workers", 0)) for name in self._hints}
        except (MDPError, ValueError, AttributeError, TypeError) as error:
            log.debug("mmi.services: %s", error)
            if self._outlook:  # else the client itself says that it waits for the broker
                self._since.setdefault(SERVICE, now)
            return
        self.readers = workers[SERVICE]
        missing = [name for name, count in workers.items() if not count]
        self._since = {name: self._since.get(name, now) for name in missing}

    def turn(self, now: float, *, is_wanted: bool) -> None:
        """Log what is missing, if it is due and anything is wanted.

        Raises `PoolError` if the pool was stopped.
        """
        since = self._since if is_wanted else {}
        if since and self._outlook:
            self._outlook.start()
            coming = self._outlook.result()
            self._coming = self._coming if coming is None else coming
        for name, waited_s in self._patience.due(since, now).items():
            what = "readers" if name == SERVICE else f"workers of {name}"
            log.warning("no %s for %.0f s: %s", what, waited_s, self._what_to_do(name))

    def _what_to_do(self, name: str) -> str:
        if self._coming:
            return f"pool {self._pool}: {self._coming}"
        if self._pool:
            return f"`ssnet pool doctor {self._pool}` says why; {self._hints[name]}"
        return self._hints[name]
