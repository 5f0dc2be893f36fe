"""One worker's host as a state machine: it joins the broker and the child that computes. Pure.

A Majordomo worker must send heartbeats while it computes, but the user's `handle()` may hold the
GIL, run for hours or crash. So `setup()` and `handle()` run in a child process, and the host, which
is a process here and not a machine, is another one. The host has the session with the broker
(`session.Session`): it sends the heartbeats, passes requests to the child and answers to the
broker, and starts the child again when it dies. It sends READY only while the child is idle, and
closes the session when the child dies, so that the broker gives the request to another worker.
Events and the time go in, steps come out; `worker_loop` carries out the steps.

child      event                                    next      steps, and what follows
---------  ---------------------------------------  --------  -----------------------------------
dead       restart time is reached                  starting  StartChild
starting   `setup()` returned                       idle      open the session when it may be
starting   child died: `setup()` failed             dead      restart time: `restart_s`, doubling
starting   the same, `max_setup_failures` in a row  ended     `failure` has the reason
starting   child could not be started               dead      restart time: `restart_s`, doubling
idle       REQUEST from the broker                  busy      Work
busy       PARTIAL from the child                   busy      send it to the broker
busy       FINAL from the child                     idle      send it to the broker
busy       session lost: the request is orphaned    busy      wait `orphan_s`; drop its answers
busy       mmi.stop, grace: the request is          busy      wait `orphan_s`; send its answers as
           cancelled                                          ever: the broker drops them
busy       `orphan_s` is over                       killed    KillChild
busy       mmi.stop, now: the time limit is over    killed    KillChild
idle       session lost                             idle      open a new one when it may be
killed     child died                               dead      close the session; restart at once
any        mmi.leave: an operator has dismissed it  -         as `drain`
any other  child died                               dead      close the session; restart time (1)
any        fingerprint refused for too long (2)     ended     KillChild; `failure` has the reason
any        `stop`                                   ended     close the session, KillChild

An answer larger than the broker takes is replaced by error 413; if it comes in parts, the error is
sent in place of the last one, because the child is busy until then.

`drain` ends a child that is dead, starting or killed at once, and one whose request is orphaned or
cancelled. Otherwise the host sends mmi.retire. The child answers the request that it holds, and
ends when it is idle and the broker has confirmed (or the session is closed, or liveness * interval
is over). If the child dies while the host drains, the worker has ended, too.

(1) The first `_AT_ONCE` crashes since an answer: at once. Then after `restart_s`, doubling.
(2) For liveness * interval: by then the broker has noticed the death of every other worker.
"""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..broker.throttle import Throttle
from ..settings import WorkerSettings
from ..sockets.addresses import Place
from ..wire import Frame, Frames, error_body, printable
from .lifetime import Lifetime
from .session import Leave, Session, SocketStep, Stop, fixed_place, no_jitter

log = logging.getLogger(__name__)

_MAX_LEAVE_S = 10.0  # the longest wait for a broker that does not confirm mmi.retire
_AT_ONCE = 3  # restarts since an answer: one poisonous request kills a lone worker this often


class StartChild(NamedTuple):
    """Start the process that computes."""


class KillChild(NamedTuple):
    """Kill that process. Its death is then reported to `died`, like any death."""


class Work(NamedTuple):
    """Give the child a request. Its answers carry the same number."""

    number: int
    body: Frames
    request: bytes = b""
    """The request's id, for the log; empty if the broker has given it none."""


Step = SocketStep | StartChild | KillChild | Work


class Child(enum.Enum):
    """The child's state."""

    DEAD = "dead"
    STARTING = "starting"  # setup() is running
    IDLE = "idle"
    BUSY = "busy"
    KILLED = "being killed"  # its death has not been seen yet
    ENDED = "ended"  # it is not started again


class Host:
    """A worker. `ended` tells whether it has ended, and `failure` why, if it has failed.

    jitter, locate: as in `Session`; facts: what the announcement says about the worker.
    """

    def __init__(
        self,
        service: bytes,
        settings: WorkerSettings,
        *,
        name: str = "",
        jitter: Callable[[], float] = no_jitter,
        locate: Callable[[], Place] = fixed_place,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = settings
        self.session = Session(service, settings, jitter=jitter, locate=locate)
        self.session.facts.update(facts or {})
        self.life = Lifetime(settings.life, jitter=jitter())
        self.name = name or printable(service)
        self.child = Child.DEAD
        self.failure: str | None = None
        self._throttle = Throttle(log)  # for lines that a client can cause
        self._connections = Throttle(log, every_s=60.0, burst=5)  # a broker may be away for days
        self.draining = False
        self._leave_at = math.inf  # draining: an idle child may end, confirmed by the broker or not
        self._request = ""  # the id of the child's request, or of its latest one
        self._number = 0  # of the child's request, or of its latest one
        self._asked_at = 0.0
        self._orphan_until = math.inf  # nobody waits for its answer any more: time to finish
        self._orphan_reason = ""  # only with a finite `_orphan_until`
        self._too_large: Frames | None = None  # the error in place of the answer that it makes
        self._restart_at = 0.0
        self._crashes = 0  # since the last answer
        self._setup_failures = 0  # in a row
        self._setup_reason: str | None = None  # of the latest failure, from the child
        self._stands_by = False  # a line has said so
        self._found_none = False  # no broker answered in the latest session

    @property
    def ended(self) -> bool:
        return self.child is Child.ENDED

    # Events of the child.

    @property
    def is_looking(self) -> bool:
        """Whether it is ready to serve, and no broker has answered."""
        return self.child is Child.IDLE and not (self.session.is_open and self.session.is_heard)

    @property
    def has_broker(self) -> bool:
        return self.session.is_open and self.session.is_heard

    def ready(
        self,
        now: float,
        fingerprint: bytes = b"",
        *,
        regular: bool = False,
        facts: Mapping[str, Any] | None = None,
    ) -> list[Step]:
        """Handle the end of the child's `setup()`, after which its properties are known."""
        self.session.fingerprint, self.session.regular = fingerprint, regular
        self.session.facts.update(facts or {})
        self._setup_failures = 0
        self.child = Child.IDLE
        return self.tick(now)

    def setup_failed(self, reason: str, now: float) -> list[Step]:
        """Note why the child's `setup()` raised. The child's death follows, and is counted."""
        self._setup_reason = reason
        return []

    def answered(
        self, number: int, body: Sequence[Frame], *, final: bool, now: float
    ) -> list[Step]:
        """Handle an answer of the child; drop it if the session of its request was lost."""
        if number != self._number or self.child is not Child.BUSY:
            return []
        self._too_large = self._too_large or self._refused_as_too_large(body, now)
        out: list[Step] = []
        if final:
            self.life.finished(now)
            if not self.session.is_open:
                self.life.withdrawn()
            out += self._leave_if_due(now)  # before the answer, after which a request may follow
        if self.ended:
            return out  # nobody waits for the answer
        if self._too_large is None:
            out += self.session.reply(body, final=final, now=now)
        elif final:
            out += self.session.reply(self._too_large, final=True, now=now)
        if not final:
            return out
        log.debug("%s: answered after %.3f s%s", self.name, now - self._asked_at, self._about)
        self._crashes = 0
        self.child = Child.IDLE
        self._orphan_until = math.inf
        return out + self.tick(now)

    @property
    def _about(self) -> str:
        """The end of a line about the child's request: `: request 5f0c...`."""
        return f": request {self._request}" if self._request else ""

    def _refused_as_too_large(self, body: Sequence[Frame], now: float) -> Frames | None:
        """Return error 413 if the broker does not take an answer, or a part, of this size."""
        limit = self.session.max_bytes
        size = sum(len(frame) for frame in body)
        if limit is None or size <= limit or self.session.token is None:
            return None
        what = f"an answer of {printable(self.session.service)} has {size} bytes"
        text = f"{what}, want at most {limit} (--max-queue-bytes of mdp broker)"
        self._throttle.warning(now, "%s: %s%s", self.name, text, self._about)
        return error_body(413, text)

    def died(self, how: str, now: float) -> list[Step]:
        """Handle the child's death. Closing the session makes the broker requeue its request."""
        state = self.child
        if state is Child.STARTING:
            self._count_setup_failure(self._setup_reason or f"the child {how} in setup()")
        self.child = Child.ENDED if self.draining or self.failure else Child.DEAD
        self._orphan_until = math.inf
        self.life.died()
        crashed = self.session.crashed() if state is Child.BUSY else []
        was_killed = state is Child.KILLED  # by this host, so the service has not crashed
        wait_s = 0.0 if was_killed else self._restart_wait_s(state)
        self._restart_at = now + wait_s
        facts = self.session.facts  # the next session announces them
        facts["restarts"] = facts.get("restarts", 0) + 1
        if self.child is Child.DEAD and was_killed:
            log.info("%s: the killed child is started again", self.name)
        elif self.child is Child.DEAD:
            line = "%s: the child %s while %s; it is started again in %.1f s%s"
            about = self._about if state is Child.BUSY else ""
            log.warning(line, self.name, how, state.value, wait_s, about)
        return [*crashed, *self.session.close(now)]

    def not_started(self, why: str, now: float) -> list[Step]:
        """Handle a child that could not be started: too many open files, or processes, say."""
        self.child = Child.ENDED if self.draining or self.failure else Child.DEAD
        wait_s = self._restart_wait_s(Child.STARTING)
        self._restart_at = now + wait_s
        line = "%s: the child cannot be started: %s; trying again in %.1f s"
        self._connections.warning(now, line, self.name, why, wait_s)
        return list(self.session.close(now))

    def _restart_wait_s(self, state: Child) -> float:
        """Return the wait before the restart of a child that died in this state."""
        if state is Child.STARTING:
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

    # Messages of the broker.

    def receive(self, frames: Frames, now: float) -> list[Step]:
        was_open, was_heard = self.session.is_open, self.has_broker
        was_paused = self.session.paused
        steps, order = self.session.receive(frames, now)
        out: list[Step] = list(steps)
        if self.session.paused != was_paused:
            self.life.paused(self.session.paused, now)
        if self.has_broker and not was_heard:
            self._on_found(now)
        if isinstance(order, Stop):
            out += self._on_stop(order, now)
        elif isinstance(order, Leave):
            log.info("%s: leaving: an operator has dismissed it", self.name)
            out += self.drain(now)
        elif order is not None and self.child is Child.IDLE:
            self._number += 1
            self._asked_at = now
            self._too_large = None
            self.child = Child.BUSY
            self.life.began(now)
            self._request = self.session.request.hex()
            out.append(Work(self._number, order, self.session.request))
        if self.draining and self.session.retired:
            self._leave_at = min(now, self._leave_at)
        if self._is_refused_for_good:
            return out + self._give_up(now)
        if was_open and not self.session.is_open:
            why = self.session.wrong_broker or self.session.refusal
            self._on_lost(why or "the broker ended the session", now)
        return out

    def _on_found(self, now: float) -> None:
        """Handle the first message of a session: a broker has answered."""
        if self.session.refusal is None:
            took_name = "ready: it has taken the name" if self._stands_by else "ready"
            self._stands_by = False
            self._connections.info(now, "%s: %s", self.name, took_name)
            self.life.offered(now)
        elif self.settings.life.standby and not self._stands_by:
            self._stands_by = True
            log.info("%s: standing by: %s", self.name, self.session.refusal)

    @property
    def _is_refused_for_good(self) -> bool:
        is_over = self.session.refused_s >= self.settings.heartbeats.silence_s
        return is_over and not self.settings.life.standby

    def _give_up(self, now: float) -> list[Step]:
        """End the worker: its fingerprint is refused, as live workers serve with another one."""
        self.failure = f"{self.name}: {self.session.refusal}"
        log.error("%s", self.failure)
        self.child = Child.ENDED
        return [*self.session.close(now), KillChild()]

    def _on_stop(self, order: Stop, now: float) -> list[Step]:
        """Give up the child's request: nobody waits for its answer any more."""
        if self.child is not Child.BUSY:
            return []
        if order.at_once:
            return self._kill(f"its request took too long ({now - self._asked_at:.1f} s)")
        if self._orphan_until == math.inf:
            grace_s = self.settings.orphan_s
            line = "%s: the request was cancelled; the child has %g s to finish it%s"
            self._throttle.info(now, line, self.name, grace_s, self._about)
            self._give_grace("it did not finish a cancelled request", now)
        return []

    def _give_grace(self, reason: str, now: float) -> None:
        """Let the child finish a request that nobody waits for; then kill it for this reason."""
        self._orphan_until = min(self._orphan_until, now + self.settings.orphan_s)
        self._orphan_reason = f"{reason} in {self.settings.orphan_s:g} s"

    def _kill(self, reason: str) -> list[Step]:
        log.warning("%s: killed the child: %s%s", self.name, reason, self._about)
        self._orphan_until = math.inf
        self.child = Child.KILLED
        return [KillChild()]

    def disconnected(
        self, now: float, why: str = "the connection to the broker broke"
    ) -> list[Step]:
        """Handle a connection that broke or cannot be made: the session ends, as after silence."""
        if not self.session.is_open:
            return []
        out: list[Step] = list(self.session.disconnected(now))
        self._on_lost(why, now)
        return out

    def _on_lost(self, why: str, now: float) -> None:
        self.life.withdrawn()
        wait_s = self.session.closed_until - now
        line = "%s: %s; connecting again in %.1f s"
        stands_by = self._stands_by and self.session.refusal is not None
        if stands_by or (self._found_none and not self.session.is_heard):
            log.debug(line, self.name, why, wait_s)  # a line has said so
        else:
            self._connections.warning(now, line, self.name, why, wait_s)
        self._found_none = not self.session.is_heard
        if self.child is Child.BUSY:
            self._give_grace("it did not finish a request whose session was lost", now)

    # Time, and the user's signals.

    def tick(self, now: float) -> list[Step]:
        was_open = self.session.is_open
        out: list[Step] = list(self.session.tick(now))
        if was_open and not self.session.is_open:
            self._on_lost("the broker is silent", now)
        out += self._leave_if_due(now)
        if self.child is Child.DEAD and now >= self._restart_at:
            self.child, self._setup_reason = Child.STARTING, None
            out.append(StartChild())
        if self.child is Child.IDLE and self.draining and self._may_leave(now):
            log.info("%s: leaving", self.name)
            self.child = Child.ENDED
            out += [*self.session.close(now), KillChild()]
        if self.child is Child.IDLE and self._may_open(now):
            out += self.session.open(now)
        if self.child is Child.BUSY and now >= self._orphan_until:
            out += self._kill(self._orphan_reason)
        return out

    def _leave_if_due(self, now: float) -> list[Step]:
        """Drain if the end of the job is near, or if nobody has asked for long."""
        if self.draining or (why := self.life.why_leave(now)) is None:
            return []
        log.info("%s: leaving: %s", self.name, why)
        return self.drain(now)

    def end_known(self, ends_at: float | None, until: float | None, now: float) -> list[Step]:
        """Note when the job ends: `ends_at`, and `until` in Unix time; see `Lifetime.end_known`."""
        self.life.end_known(ends_at, now)
        if until is not None and until < math.inf:
            self.session.facts["until"] = until
        return self.tick(now)

    def _may_open(self, now: float) -> bool:
        return not self.session.is_open and not self.draining and now >= self.session.closed_until

    def _may_leave(self, now: float) -> bool:
        """Return False while a request may be on its way: to lose it would count as an attempt."""
        return not self.session.is_open or now >= self._leave_at

    def deadline(self) -> float:
        if self.child is Child.ENDED:
            return math.inf
        due = self._orphan_until if self.draining else min(self._orphan_until, self.life.deadline())
        if self.child is Child.DEAD:
            due = min(due, self._restart_at)
        if self.session.is_open or self.child is Child.IDLE:
            due = min(due, self.session.deadline())
        if self.child is Child.IDLE:
            due = min(due, self._leave_at)
        return due

    def drain(self, now: float) -> list[Step]:
        """Finish the request that the child holds, then end."""
        if self.draining:
            return self.tick(now)
        self.draining = True
        if self.child is Child.DEAD:
            self.child = Child.ENDED
        elif self.child not in (Child.IDLE, Child.BUSY) or self._is_orphan:
            self.child = Child.ENDED
            return [*self.session.close(now), KillChild()]
        out: list[Step] = []
        if self.session.is_open:
            self._leave_at = now + min(self.settings.heartbeats.silence_s, _MAX_LEAVE_S)
            out += self.session.retire()
        return out + self.tick(now)

    @property
    def _is_orphan(self) -> bool:
        """Whether nobody waits for the request that the child computes."""
        return self._orphan_until < math.inf

    def stop(self, now: float) -> list[Step]:
        """End at once; the broker gives the request that the child holds to another worker."""
        self.draining = True
        self.child = Child.ENDED
        return [*self.session.close(now), KillChild()]
