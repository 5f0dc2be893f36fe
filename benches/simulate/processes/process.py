"""A process of a simulated site: it drives a core as its loop does. Its clock; its pauses.

A turn of a loop is: receive what is there, tick, carry out what the core returns, wait until its
deadline. Each process has its own clock, which a fault can set forward. A process that is paused
receives what has arrived meanwhile before its next tick.
"""

from __future__ import annotations

import math
from collections import deque
from random import Random
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from mdp.wire import Frame

from ..calls import Calls, Violation
from ..network import Network
from ..sizes import SiteSettings
from ..timeline import Action, Timeline

_ROUND_UP_S = 0.001  # a poll waits whole milliseconds
_SPINS = 1000


class Core(Protocol):
    """What every core has."""

    def deadline(self) -> float: ...


class Task(NamedTuple):
    """What a worker does with a request."""

    serve_s: float
    parts: int = 0
    crashes: bool = False
    hangs: bool = False


class Surroundings(Protocol):
    """The site, as its processes see it."""

    settings: SiteSettings
    timeline: Timeline
    network: Network
    calls: Calls
    names: Random
    """Chooses the names of sockets."""

    def name_of(self, socket: bytes) -> str: ...
    def named(self, socket: bytes, text: str) -> None: ...
    def body(self, request: int) -> list[Frame]: ...
    def task(self, request: int) -> Task: ...
    def fingerprint(self, place: int) -> bytes: ...
    def setup_fails(self, host: Any) -> bool: ...
    def ended(self, process: Any) -> None: ...
    def lag_s(self, request: int) -> float: ...
    def has_no_descriptors(self, client: Any) -> bool: ...
    def call_ended(self, client: Any) -> None: ...


C = TypeVar("C", bound=Core)


class Process(Generic[C]):
    """One process: its clock, its pauses and its wake-ups."""

    core: C

    def __init__(self, site: Surroundings, name: str, place: int) -> None:
        self.site = site
        self.timeline = site.timeline
        self.name = name
        self.place = place
        self.alive = True
        self.clock_ahead_s = 0.0
        self._paused = False
        self._inbox: deque[tuple[Action, tuple[Any, ...]]] = deque()
        self._wake_at = math.inf
        self._spins = 0

    def now(self) -> float:
        """Return what this process takes for the time."""
        return self.timeline.now + self.clock_ahead_s

    def take(self, action: Action, *values: Any) -> None:
        """Let the process handle one input: now or, while it is paused, later."""
        if not self.alive:
            return
        if self._paused:
            self._inbox.append((action, values))
            return
        action(*values)
        self._spins = 0
        self.turn()

    def turn(self) -> None:
        """Do what is due, and wait until the core's deadline."""
        if not self.alive:
            return
        self.tick()
        due = self.core.deadline() - self.clock_ahead_s
        if due < self._wake_at:
            self._wake_at = due
            self.timeline.at(due + _ROUND_UP_S, self._wake, due)

    def tick(self) -> None:
        raise NotImplementedError

    def _wake(self, due: float) -> None:
        if due != self._wake_at:
            return  # an earlier wake-up has replaced this one
        self._wake_at = math.inf
        if self.alive and not self._paused:
            self._spins += 1
            if self._spins > _SPINS and self.core.deadline() <= self.now() - _ROUND_UP_S:
                raise Violation(f"{self.name} spins: its deadline is in the past")
            self.turn()

    def pause(self, seconds: float) -> None:
        if self.alive and not self._paused:
            self._paused = True
            self.timeline.after(seconds, self.resume)

    def resume(self) -> None:
        if not self._paused:
            return
        self._paused = False
        inbox, self._inbox = self._inbox, deque()
        for action, values in sorted(inbox, key=self.turn_of):
            if self.alive:
                action(*values)
        self.turn()

    def turn_of(self, entry: tuple[Action, tuple[Any, ...]]) -> int:
        """Return the place of an input in the loop's turn; equal ones stay in their order."""
        return 0

    def jump(self, seconds: float) -> None:
        """Set the clock of this process forward."""
        if self.alive:
            self.clock_ahead_s += seconds
            if not self._paused:
                self.turn()

    def note(self, what: str) -> None:
        self.timeline.note(self.name, what)
