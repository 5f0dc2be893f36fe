"""The client's heartbeats to the broker: one lane that asks `mmi.broker`. Pure.

While any request is in flight, the probe asks each interval, and names the lanes in flight. The
last frame of the question is the client's lease: if the broker hears nothing from the client for
that long, it cancels what the client waits for. The answer has the broker's instance id, new after
a restart, the lanes without a request, and the largest request that the broker takes.

If no answer comes for liveness * interval, the probe is closed and opened again: its connection may
be dead. That wait doubles up to 4 s (or stays at liveness * interval, if that is longer) while no
broker has ever answered, so that the client is back soon after a broker is; each repeated wait is
shortened by up to a quarter, at random, so that many clients do not come at the same instant. If
answers come on other lanes, the broker is of another kind, and does not know `mmi.broker`: then the
wait doubles up to 60 s, or, after an answer that it does not know it, no question follows.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgpack

from .. import wire
from ..settings import ClientSettings
from ..wire import CANCEL, MDP02
from .steps import CloseLane, OpenLane, SendOnLane, Step

log = logging.getLogger(__name__)

_MAX_WAIT_S = 4.0
_MAX_FOREIGN_WAIT_S = 60.0
_NAME_LENGTH = 128
_LIMITS = {"max_queue_bytes": "--max-queue-bytes", "max_bytes": "--max-bytes"}


class Limit(NamedTuple):
    """The largest request that the broker takes, and the option of `mdp broker` for it."""

    max_bytes: float = math.inf
    option: str = ""


class Pause(NamedTuple):
    """Who has paused a service, and for how long it has been paused, in s."""

    by: str
    for_s: float


class Report(NamedTuple):
    """A broker's answer."""

    is_restarted: bool
    """Another broker answered last time."""
    lost: set[Any]
    """The lanes for which it holds no request."""
    is_new: bool = False
    """It is the first answer of this broker."""
    draining: bool = False
    """It is about to stop."""
    unserved: Mapping[str, float] = {}
    """The services without workers for which it holds requests of this client: since when, in s."""
    user: str = ""
    host: str = ""
    paused: Mapping[str, Pause] = {}
    """The paused services for which it holds requests of this client."""


class Stranger(NamedTuple):
    """The answer of another broker than that of the contact file."""

    text: str


class Probe:
    """The lane that asks who the broker is, and what it holds.

    new_name: returns a name for a lane. random: returns a number from 0 to below 1. who: the frame
    that says where this client runs (`wire.who_frame`); empty: none.
    """

    def __init__(
        self,
        settings: ClientSettings,
        new_name: Callable[[], bytes],
        random: Callable[[], float],
        who: bytes = b"",
    ) -> None:
        self._who = [who] if who else []
        self.progress = b""
        """The frame that says how far the client's work is (`wire.progress_frame`); empty: none."""
        self.knows_ids = False
        """The broker understands requests with an id (`Dialect.request_with_id`)."""
        self.lane: bytes | None = None
        self.instance: str | None = None  # the broker's id; None: not known yet
        self.wanted: str | None = None  # the id in the contact file; None: any broker is right
        self.limit = Limit()
        self.asked_at = -math.inf  # the first request asks at once who the broker is
        self._heartbeats = settings.heartbeats
        self._new_name = new_name
        self._random = random
        self._answered = True
        self._works = True  # a foreign broker may not know `mmi.broker`
        self._others_answered = False  # an answer came on another lane since the last question
        self._wait_s = settings.heartbeats.silence_s
        self._due_at = -math.inf
        self._heard_at = -math.inf
        self._late_s = 0.0  # how late the questions are
        self._has_complained = False

    @property
    def was_silent(self) -> bool:
        """True if the last question got no answer, so that the next one needs a new lane."""
        return not self._answered or self.lane is None

    @property
    def knows_mmi(self) -> bool:
        """False for a foreign broker that does not know `mmi.broker`."""
        return self._works

    @property
    def has_others(self) -> bool:
        """True if an answer came on another lane since the last question."""
        return self._others_answered

    @property
    def due_at(self) -> float:
        """When the next question is due, if any request is in flight."""
        return self._due_at if self._works else math.inf

    def ask(self, lanes: Iterable[bytes], now: float) -> list[Step]:
        """Send the question, on a new lane if the last question got no answer."""
        out: list[Step] = []
        was_silent = not self._answered
        if was_silent:
            self.knows_ids = False  # another broker may have taken its place
        if was_silent and self.instance is None:
            longest_s = max(_MAX_WAIT_S, self._heartbeats.silence_s)
            self._wait_s = min(
                2 * self._wait_s, _MAX_FOREIGN_WAIT_S if self._others_answered else longest_s
            )
        if was_silent:
            out += self.close()
        if self.lane is None:
            out += self._open()
        assert self.lane is not None
        if self._due_at > -math.inf:
            self._late_s = max(now - self._due_at, 0.9 * self._late_s)
        self.asked_at = now
        self._due_at = now + self._wait_s * (1.0 - 0.25 * self._random() if was_silent else 1.0)
        self._answered = self._others_answered = False
        # a thread that was late once (another one held the GIL) may be late again
        lease = wire.lease_frame(2 * (self._heartbeats.silence_s + self._late_s))
        about = [self.progress, *self._who] if self._who and self.progress else self._who
        return [
            *out,
            SendOnLane(self.lane, MDP02.request(b"mmi.broker", [*lanes, *about, lease])),
        ]

    def cancel(self, lane: bytes) -> list[Step]:
        """Have the broker drop the request of a lane that was given up."""
        out = [] if self.lane is not None else self._open()
        assert self.lane is not None
        return [*out, SendOnLane(self.lane, MDP02.request(CANCEL, [lane]))]

    def close(self) -> list[Step]:
        if self.lane is None:
            return []
        lane, self.lane = self.lane, None
        return [CloseLane(lane)]

    def rested(self, now: float) -> None:
        """Note that no request was in flight until now, so no question was due."""
        if self._answered and self.instance is not None:
            self.asked_at, self._due_at = now, now + self._heartbeats.interval_s

    def failed(self, error: Exception, now: float) -> list[Step]:
        """Try again after an interval: the socket could not be opened, or not be used."""
        if not self._has_complained:
            log.warning("cannot ask the broker which requests it holds; trying again: %s", error)
        self._has_complained = self._answered = True
        self._due_at = now + self._heartbeats.interval_s
        return self.close()

    def rest(self, now: float) -> list[Step]:
        """Ask again after an interval, on a new lane: nobody knows where the broker is."""
        self.knows_ids = False
        self._answered, self._works = True, True
        self._due_at = now + self._heartbeats.interval_s
        return self.close()

    def ask_now(self) -> list[Step]:
        """Make the next question due at once, on a new lane."""
        self.knows_ids = False
        self._answered, self._works, self._due_at = True, True, -math.inf
        return self.close()

    def leave(self, lanes: Iterable[bytes], lease_s: float) -> list[Step]:
        """Ask a broker that is leaving to go on with these lanes for so long, without heartbeats.

        The next question, on a new lane, is due at once.
        """
        frames = MDP02.request(b"mmi.broker", [*lanes, wire.lease_frame(lease_s)])
        out: list[Step] = [] if self.lane is None else [SendOnLane(self.lane, frames)]
        return out + self.ask_now()

    def others_answered(self) -> None:
        self._others_answered = True

    def receive(self, answer: wire.Answer, now: float) -> Report | Stranger | None:
        """Return the broker's report; None if the answer has none."""
        if answer.service != b"mmi.broker":
            return None  # the answer to mmi.cancel
        self._answered, self._has_complained = True, False
        self._due_at = self.asked_at + self._heartbeats.interval_s
        report = unpacked(answer)
        instance = report.get("instance")
        if self.wanted not in (None, instance):
            return Stranger(_who(report))
        try:
            instance, lost = str(report["instance"]), set(report["lost"])
        except (TypeError, KeyError):
            self.knows_ids = False
            if self.instance is None:
                log.info("the broker does not know mmi.broker: only timeouts show its restarts")
                self._works = False
            return None
        is_new = self.instance != instance
        is_restarted = is_new and self.instance is not None
        self.instance = instance
        self.knows_ids = report.get("request_ids") is True
        self.limit = _limit(report.get("settings"))
        self._heard_at = now
        self._wait_s = self._heartbeats.silence_s
        return Report(
            is_restarted,
            lost,
            is_new=is_new,
            draining=report.get("draining") is True,
            unserved=_unserved(report.get("unserved")),
            user=_name(report, "user"),
            host=_name(report, "host"),
            paused=_paused(report.get("paused")),
        )

    def knows_limit(self, now: float) -> bool:
        """True if the limit is fresh; an old one may be that of an earlier broker."""
        return now <= self._heard_at + self._heartbeats.silence_s

    def _open(self) -> list[Step]:
        self.lane = self._new_name()
        return [OpenLane(self.lane)]


def unpacked(answer: wire.Answer) -> dict[Any, Any]:
    """Return the map in an answer of `mmi.broker`; empty if there is none."""
    try:
        _, packed = answer.body
        report = msgpack.unpackb(bytes(packed))  # type: ignore[call-overload]
    except (ValueError, TypeError, msgpack.UnpackException):
        return {}
    return report if isinstance(report, dict) else {}


def _who(report: dict[Any, Any]) -> str:
    """Describe another broker than that of the contact file."""
    user, host = _name(report, "user"), _name(report, "host")
    by = f", started by {user} on {host}," if user or host else ""
    return f"another broker{by} has the address in the file"


def _unserved(services: object) -> dict[str, float]:
    if not isinstance(services, dict):
        return {}
    return {
        wire.one_line(str(name)): float(seconds)
        for name, seconds in services.items()
        if isinstance(seconds, (int, float)) and seconds >= 0
    }


def _paused(services: object) -> dict[str, Pause]:
    if not isinstance(services, dict):
        return {}
    return {
        wire.one_line(str(name)): Pause(_name(pause, "by"), float(pause["for_s"]))
        for name, pause in services.items()
        if isinstance(pause, dict) and isinstance(pause.get("for_s"), (int, float))
    }


def _name(report: dict[Any, Any], key: str) -> str:
    value = report.get(key)
    return wire.one_line(value)[:_NAME_LENGTH] if isinstance(value, str) else ""


def _limit(settings: object) -> Limit:
    """Return the smallest of the broker's limits; there is none if it reports none."""
    reported = settings if isinstance(settings, dict) else {}
    limits = [Limit(reported[name], option) for name, option in _LIMITS.items() if name in reported]
    return min((limit for limit in limits if _is_size(limit.max_bytes)), default=Limit())


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
