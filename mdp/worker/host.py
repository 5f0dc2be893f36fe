"""One worker: its conversation with the broker and the child that computes. Pure.

The host keeps the heartbeats whatever its child does, starts the child again when it dies, and
offers the worker to the broker only while the child is ready and idle. `sockets.serve_workers`
carries out the steps.
"""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

from ..settings import WorkerSettings
from ..wire import Frame, Frames, printable
from .session import Session, SocketStep

log = logging.getLogger(__name__)

_AT_ONCE = 3  # restarts since an answer: as often a lone worker dies of one poisonous request


class StartChild(NamedTuple):
    """Start the process that computes."""


class KillChild(NamedTuple):
    """Kill it; that it died will be reported like any death."""


class Work(NamedTuple):
    """Hand the child a request. Its answers carry the number back."""

    number: int
    body: Frames


Step = SocketStep | StartChild | KillChild | Work


class Child(enum.Enum):
    """Where the child stands."""

    DEAD = "dead"
    STARTING = "starting"  # setup() runs
    IDLE = "idle"
    BUSY = "busy"
    KILLED = "being killed"  # its death has not been seen yet
    ENDED = "ended"  # and will not be started again


class Host:
    """Events and the time in, steps out; `ended` when the worker is over, `failure` says why."""

    def __init__(self, service: bytes, settings: WorkerSettings, *, name: str = "") -> None:
        self.settings = settings
        self.session = Session(service, settings)
        self.name = name or printable(service)
        self.child = Child.DEAD
        self.failure: str | None = None
        self.draining = False
        self._leave_at = math.inf  # draining: the broker had its time to say that it knows
        self._number = 0  # of the request that the child has, or had last
        self._asked_at = 0.0
        self._orphan_until = math.inf  # the child's request was taken from it: its grace
        self._restart_at = 0.0
        self._crashes = 0  # since an answer
        self._setup_failures = 0  # in a row
        self._setup_reason: str | None = None  # why the latest one failed, as the child said

    @property
    def ended(self) -> bool:
        return self.child is Child.ENDED

    # What the child does.

    def ready(self, now: float, fingerprint: bytes = b"") -> list[Step]:
        """The child's `setup()` is done, and it says what decides its answers."""
        self.session.fingerprint = fingerprint
        self._setup_failures = 0
        self.child = Child.IDLE
        return self.tick(now)

    def setup_failed(self, reason: str, now: float) -> list[Step]:
        """The child's `setup()` raised; its death follows, and is what counts."""
        self._setup_reason = reason
        return []

    def answered(
        self, number: int, body: Sequence[Frame], *, final: bool, now: float
    ) -> list[Step]:
        """The child answered; an answer to a request that was taken away goes nowhere."""
        if number != self._number or self.child is not Child.BUSY:
            return []
        out: list[Step] = list(self.session.reply(body, final=final, now=now))
        if not final:
            return out
        log.debug("%s: answered after %.3f s", self.name, now - self._asked_at)
        self._crashes = 0
        self.child = Child.IDLE
        self._orphan_until = math.inf
        return out + self.tick(now)

    def died(self, how: str, now: float) -> list[Step]:
        """The child is gone. Saying so to the broker puts its request back in the queue."""
        was = self.child
        if was is Child.STARTING:
            self._count_setup_failure(self._setup_reason or f"the child {how} in setup()")
        self.child = Child.ENDED if self.draining or self.failure else Child.DEAD
        self._orphan_until = math.inf
        wait_s = self._rest_s(was)
        self._restart_at = now + wait_s
        if self.child is Child.DEAD:
            line = "%s: the child %s while %s; started again in %.1f s"
            log.warning(line, self.name, how, was.value, wait_s)
        return list(self.session.close(now))

    def _rest_s(self, was: Child) -> float:
        """How long to wait before the child that died is started again."""
        if was is Child.STARTING:
            self._crashes = max(self._crashes, _AT_ONCE)
        doublings = self._crashes - _AT_ONCE
        self._crashes += 1
        if doublings < 0:
            return 0.0
        return min(self.settings.restart_s * 2.0 ** min(doublings, 32), self.settings.restart_max_s)

    def _count_setup_failure(self, reason: str) -> None:
        self._setup_failures += 1
        limit = self.settings.max_setup_failures
        log.error(
            "%s: setup() failed (%d of %d): %s", self.name, self._setup_failures, limit, reason
        )
        if self._setup_failures >= limit:
            self.failure = f"{self.name}: setup() failed {limit} times; the last: {reason}"

    # What the broker does.

    def receive(self, frames: Frames, now: float) -> list[Step]:
        was_open = self.session.is_open
        steps, body = self.session.receive(frames, now)
        out: list[Step] = list(steps)
        if body is not None and self.child is Child.IDLE:
            self._number += 1
            self._asked_at = now
            self.child = Child.BUSY
            out.append(Work(self._number, body))
        if self.draining and self.session.retired:
            self._leave_at = min(now, self._leave_at)
        if self.session.refused_s >= self.settings.pulse.silence_s:
            return out + self._give_up(now)
        if was_open and not self.session.is_open:
            self._lost(self.session.refusal or "the broker ended the conversation", now)
        return out

    def _give_up(self, now: float) -> list[Step]:
        """Others serve the name: had they died unseen, the broker would know by now."""
        self.failure = f"{self.name}: {self.session.refusal}"
        log.error("%s", self.failure)
        self.child = Child.ENDED
        return [*self.session.close(now), KillChild()]

    def _lost(self, why: str, now: float) -> None:
        wait_s = self.session.rest_until - now
        log.warning("%s: %s; back in %.1f s", self.name, why, wait_s)
        if self.child is Child.BUSY:
            self._orphan_until = now + self.settings.orphan_s

    # What time does, and the person at the terminal.

    def tick(self, now: float) -> list[Step]:
        was_open = self.session.is_open
        out: list[Step] = list(self.session.tick(now))
        if was_open and not self.session.is_open:
            self._lost("the broker is silent", now)
        if self.child is Child.DEAD and now >= self._restart_at:
            self.child, self._setup_reason = Child.STARTING, None
            out.append(StartChild())
        if self.child is Child.IDLE and self.draining and self._may_leave(now):
            log.info("%s: leaving", self.name)
            self.child = Child.ENDED
            out += [*self.session.close(now), KillChild()]
        if self.child is Child.IDLE and self._may_open(now):
            log.info("%s: ready", self.name)
            out += self.session.open(now)
        if self.child is Child.BUSY and now >= self._orphan_until:
            log.warning("%s: killed the child: it goes on with what was taken from it", self.name)
            self._orphan_until = math.inf
            self.child = Child.KILLED
            out.append(KillChild())
        return out

    def _may_open(self, now: float) -> bool:
        return not self.session.is_open and not self.draining and now >= self.session.rest_until

    def _may_leave(self, now: float) -> bool:
        """A request may be on its way until the broker knows; it would count as tried."""
        return not self.session.is_open or now >= self._leave_at

    def deadline(self) -> float:
        if self.child is Child.ENDED:
            return math.inf
        due = self._orphan_until
        if self.child is Child.DEAD:
            due = min(due, self._restart_at)
        if self.session.is_open or self.child is Child.IDLE:
            due = min(due, self.session.deadline())
        if self.child is Child.IDLE:
            due = min(due, self._leave_at)
        return due

    def drain(self, now: float) -> list[Step]:
        """Finish what is held, then leave."""
        if self.draining:
            return self.tick(now)
        self.draining = True
        if self.child is Child.DEAD:
            self.child = Child.ENDED
        elif self.child not in (Child.IDLE, Child.BUSY) or self._orphaned:
            self.child = Child.ENDED
            return [*self.session.close(now), KillChild()]
        out: list[Step] = []
        if self.session.is_open:
            self._leave_at = now + self.settings.pulse.silence_s
            out += self.session.retire()
        return out + self.tick(now)

    @property
    def _orphaned(self) -> bool:
        """The child computes what was taken from it."""
        return self.child is Child.BUSY and self.session.token is None

    def stop(self, now: float) -> list[Step]:
        """Leave at once; the broker hands what is held to someone else."""
        self.draining = True
        self.child = Child.ENDED
        return [*self.session.close(now), KillChild()]
