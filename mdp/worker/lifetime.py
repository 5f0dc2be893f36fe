"""When a worker leaves by itself: before the end of its batch job, or when nobody asks. Pure.

A worker leaves early enough that it never begins a request which it cannot end. So it leaves when
the time left is at most a margin and what a request takes: the 95 % quantile of its own times, or
the longest one while it has measured fewer than `_ENOUGH`, and at least the time that its present
request has taken so far. It leaves earlier by a random part of the stagger, so that the workers of
an array of jobs, which all end at the same time, do not leave at once.

Before it leaves it has the end asked for again, because an administrator may have moved it: from
`_ASK_AHEAD_S` before, `wants_end` is true until `end_known` has been called.
"""

from __future__ import annotations

import math

from ..broker.serving_times import ServingTimes
from ..settings import WorkerLife

_ENOUGH = 20  # times, for a quantile
_MAX_STAGGER_S, _STAGGER = 60.0, 0.1  # and this share of the time left when the end is first known
_ASK_AHEAD_S = 20.0  # squeue takes 9 s to fail if its controller is down
_SAME_S = 1.0  # ends that differ by less are the same: they come from clocks that drift


class Lifetime:
    """One worker's life. jitter: a random number from 0 to below 1."""

    def __init__(self, settings: WorkerLife, *, jitter: float) -> None:
        self._settings = settings
        self._jitter = jitter
        self._times = ServingTimes()
        self._usual_s = 0.0  # what a request takes: the quantile, or the longest time
        self._began_at = math.inf  # of the request that is computed; infinite: there is none
        self._idle_since = math.inf  # infinite: no broker could ask
        self._is_paused = False  # the broker hands out no requests of the service
        self.ends_at = math.inf
        self._stagger_s = 0.0
        self._confirmed_end: float | None = None  # the end for which it was asked again
        self._is_asking = False

    # What happens to the worker.

    def began(self, now: float) -> None:
        self._began_at, self._idle_since = now, math.inf

    def finished(self, now: float) -> None:
        """Note the end of a request, answered."""
        if self._began_at == math.inf:
            return
        took_s = now - self._began_at
        self._times.add(took_s)
        is_enough = self._times.measured >= _ENOUGH
        self._usual_s = self._times.quantile(0.95) if is_enough else max(self._usual_s, took_s)
        self._began_at, self._idle_since = math.inf, self._idle_from(now)

    def offered(self, now: float) -> None:
        """Note that a broker can ask from now on."""
        if self._began_at == math.inf:
            self._idle_since = self._idle_from(now)

    def _idle_from(self, now: float) -> float:
        return math.inf if self._is_paused else now

    def paused(self, paused: bool, now: float) -> None:
        """Note that the broker hands out no requests, or does so again: this is no idle time."""
        self._is_paused = paused
        if self._began_at == math.inf:
            self._idle_since = self._idle_from(now)

    def withdrawn(self) -> None:
        """Note that no broker can ask: the session was lost, or the child died."""
        self._idle_since, self._is_paused = math.inf, False

    def died(self) -> None:
        self._began_at = self._idle_since = math.inf

    def end_known(self, ends_at: float | None, now: float) -> None:
        """Note when the job ends; infinite: never; None: it was asked for, and is not known."""
        self._is_asking = False
        is_same = ends_at is None or abs(ends_at - self.ends_at) < _SAME_S
        if self.ends_at < math.inf and is_same:
            self._confirmed_end = self.ends_at
        if ends_at is None or ends_at == self.ends_at:
            return
        if self.ends_at == math.inf:
            longest_s = min(_MAX_STAGGER_S, _STAGGER * max(0.0, ends_at - now))
            self._stagger_s = self._jitter * longest_s
        if not is_same:
            self.ends_at = ends_at

    # What follows from it.

    def why_leave(self, now: float) -> str | None:
        """Return why the worker is to leave now, or None."""
        if now >= self._leave_at(0.0):
            left_s = max(0.0, self.ends_at - now)
            return f"its job ends in {left_s:.0f} s, and a request {self._takes(now)}"
        if now >= self._idle_since + self._settings.idle_s:
            return f"no request has come for {self._settings.idle_s:g} s"
        return None

    def _takes(self, now: float) -> str:
        running_s = 0.0 if self._began_at == math.inf else now - self._began_at
        usual_s, margin_s = max(self._usual_s, running_s), self._settings.margin_s
        return f"may take {usual_s:.1f} s, with a margin of {margin_s:g} s"

    def wants_end(self, now: float) -> bool:
        """Return whether the end must be asked for again, before the worker leaves for it."""
        if self._is_confirmed or now < self._leave_at(_ASK_AHEAD_S):
            return False
        self._is_asking = True
        return True

    def deadline(self) -> float:
        """Return when `why_leave` or `wants_end` may change, if nothing happens before."""
        ahead_s = 0.0 if self._is_asking or self._is_confirmed else _ASK_AHEAD_S
        return min(self._leave_at(ahead_s), self._idle_since + self._settings.idle_s)

    @property
    def _is_confirmed(self) -> bool:
        return self.ends_at in (math.inf, self._confirmed_end)

    def _leave_at(self, ahead_s: float) -> float:
        """Return when the worker must leave, less `ahead_s`.

        The present request has taken now - began; so half of what is left when it began is over
        when it has taken as long as there is time left.
        """
        latest = self.ends_at - self._settings.margin_s - self._stagger_s - ahead_s
        leave_at = latest - self._usual_s
        if self._began_at < math.inf and self._times.measured < _ENOUGH:
            return min(leave_at, (latest + self._began_at) / 2)
        return leave_at
