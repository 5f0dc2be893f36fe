"""All settings, with units and reasons. They are frozen, and refuse values out of range."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real

from .errors import SettingsError

MAX_LANES = 1000  # one message of at most 1024 frames names all of them
DEFAULT_ENDPOINT = "tcp://127.0.0.1:5555"


def check_number(name: str, value: object) -> None:
    """Raise `TypeError` for a value that is not a number, such as the text "5"."""
    if not isinstance(value, Real):
        raise TypeError(f"want {name} as a number, got {value!r} ({type(value).__name__})")


_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_WITH_UNIT = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)")
_CLOCK = re.compile(r"(?:([0-9]+)-)?([0-9]+):([0-9]{1,2}):([0-9]{1,2})")


def seconds_of(text: str) -> float:
    """Parse a duration: `90`, `90s`, `5m`, `2h`, `1d`, `4:00:00`, `1-00:00:00` (days first).

    Raises `SettingsError`. A duration of two parts is refused: Slurm takes 4:00 as minutes, most
    people as hours.
    """
    if match := _WITH_UNIT.fullmatch(text):
        return float(match[1]) * _UNITS_S[match[2]]
    if match := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        if minutes < 60 and seconds < 60:
            return float(86400 * days + 3600 * hours + 60 * minutes + seconds)
    raise SettingsError(f"want a duration such as 90s, 5m, 2h, 1d or 4:00:00, got {text!r}")


def clock_text(duration_s: float) -> str:
    """Format a duration, rounded up to seconds, as Slurm does: `4:00:00`, `1-00:00:00`."""
    minutes, second = divmod(math.ceil(duration_s), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour}:{minute:02}:{second:02}"
    return f"{days}-{hour:02}:{minute:02}:{second:02}" if days else clock


def short_text(duration_s: float) -> str:
    """Format a duration for people: `40 s`, `5 min`, `3 h 20 min`, `2 d 4 h`."""
    if duration_s < 120:
        return f"{duration_s:.0f} s"
    minutes = round(duration_s / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minute = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minute} min" if minute else f"{hours} h"
    days, hour = divmod(hours, 24)
    return f"{days} d {hour} h" if hour else f"{days} d"


def _positive(**values: float) -> None:
    for name, value in values.items():
        check_number(name, value)
        if not (value > 0 and math.isfinite(value)):
            finite = "" if math.isfinite(value) else " and finite"
            raise SettingsError(f"want {name} above 0{finite}, got {value}")


def _ordered(first: str, low: float, last: str, high: float) -> None:
    if low > high:
        raise SettingsError(f"want {first} of at most {last} ({high}), got {low}")


@dataclass(frozen=True)
class Heartbeats:
    """The heartbeats of Paranoid Pirate: their interval, and the limit of silence."""

    interval_s: float = 1.0
    """A peer that has sent nothing else for this long sends a HEARTBEAT."""
    liveness: int = 3
    """A peer that is silent for this many intervals counts as gone."""

    def __post_init__(self) -> None:
        _positive(interval_s=self.interval_s, liveness=self.liveness)

    @property
    def silence_s(self) -> float:
        return self.interval_s * self.liveness


@dataclass(frozen=True)
class BrokerSettings:
    """A broker's limits: what it holds, how long it waits, how often it tries."""

    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    max_attempts: int = 3
    """After this many workers died of one request (their child process crashed, or a foreign worker
    left), its client gets error 502."""
    max_queue: int = 100_000
    """The most requests of one client in the queue of a service; a further one gets error 429."""
    max_queue_bytes: int = 2 << 30
    """The most bytes of a service's requests, queued or held by workers; above it, error 429.
    Also the most bytes of one request or one answer; above it, error 413."""
    max_bytes: int = 4 << 30
    """The most memory of the requests of all services, in bytes. A client may take as much as is
    free, so one client takes about half at most. Above it, error 429. It also limits the bytes of
    large messages (16 KiB) that peers have not read."""
    expiry_s: float = 60.0
    """A request for a service without workers waits this long, then gets error 404."""
    time_limits_s: Mapping[str, float | None] = field(default_factory=dict)
    """The time, by service, that a worker may hold a request; infinite: no limit; None: a limit
    that follows from the times measured, which is also the default for a service whose workers say
    that their requests take equally long (`Worker.regular`). After it the worker's process is
    killed, and the request is given to another worker, once; then its client gets error 504."""
    max_services: int = 10_000
    """The most service names known at a time, so that false names cannot fill the memory."""
    max_lost: int = 12
    """After this many workers were lost while they held one request, its client gets error 502:
    their hosts or connections went away, for which the request is hardly the cause."""
    drain_s: float = 60.0
    """How long a broker that is to stop waits for the requests that its workers hold."""

    def __post_init__(self) -> None:
        _positive(
            max_attempts=self.max_attempts,
            max_lost=self.max_lost,
            max_queue=self.max_queue,
            max_queue_bytes=self.max_queue_bytes,
            max_bytes=self.max_bytes,
            expiry_s=self.expiry_s,
            max_services=self.max_services,
            **{
                f"the time limit of {name}": limit
                for name, limit in self.time_limits_s.items()
                if limit not in (None, math.inf)
            },
        )
        for name in ("max_attempts", "max_lost", "max_queue", "max_services", "max_bytes"):
            if getattr(self, name) >= 1 << 63:  # they are sent as msgpack
                raise SettingsError(f"want {name} below 2**63, got {getattr(self, name)}")
        if self.max_queue_bytes > self.max_bytes // 2:
            half = f"want max_queue_bytes of at most half of max_bytes ({self.max_bytes})"
            raise SettingsError(f"{half}, got {self.max_queue_bytes}")
        if not (self.drain_s >= 0 and math.isfinite(self.drain_s)):
            raise SettingsError(f"want drain_s of at least 0 and finite, got {self.drain_s}")


@dataclass(frozen=True)
class WorkerLife:
    """When a worker waits, and when it ends by itself. By default it never does."""

    until: float | None = math.inf
    """When it must have ended, in Unix time; infinite: never; None: when its batch job ends."""
    margin_s: float = 10.0
    """The time between the end of its last request and `until`, to leave and to be late."""
    idle_s: float = math.inf
    """It leaves when no request has come for so long."""
    broker_wait_s: float = math.inf
    """The process ends with an error when no broker has answered for so long."""
    standby: bool = False
    """If its fingerprint is refused, it waits until the other workers have left, instead of
    ending; then it takes the name of the service."""

    def __post_init__(self) -> None:
        for name in ("margin_s", "idle_s", "broker_wait_s"):
            value = getattr(self, name)
            check_number(name, value)
            if not value > 0:
                raise SettingsError(f"want {name} above 0, got {value}")
        if self.until is not None and math.isnan(self.until):
            raise SettingsError("want until as a time, got NaN")


@dataclass(frozen=True)
class WorkerSettings:
    """A worker's host: how it treats its session with the broker and its child."""

    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    reconnect_s: float = 1.0
    """The first wait before a new connection; it doubles each time, up to `reconnect_max_s`
    (RFC 6). Each wait is shortened at random by up to a quarter, so that the workers of a broker
    that comes back do not all connect at the same instant."""
    reconnect_max_s: float = 4.0
    """A worker is back at most this long, and about a second, after its broker is back."""
    restart_s: float = 0.5
    """The wait before the restart of a child that crashed in `setup()`, or more than three times
    since its last answer (one bad request can cause three crashes). It doubles with each crash. A
    child that its host killed has not crashed, and is started again at once."""
    restart_max_s: float = 32.0
    max_setup_failures: int = 3
    """After this many failures of `setup()` in a row the worker ends."""
    orphan_s: float = 10.0
    """How long a child may finish a request whose session was lost, or that was cancelled, before
    it is killed."""
    life: WorkerLife = field(default_factory=WorkerLife)

    def __post_init__(self) -> None:
        _positive(
            reconnect_s=self.reconnect_s,
            reconnect_max_s=self.reconnect_max_s,
            restart_s=self.restart_s,
            restart_max_s=self.restart_max_s,
            max_setup_failures=self.max_setup_failures,
            orphan_s=self.orphan_s,
        )
        _ordered("reconnect_s", self.reconnect_s, "reconnect_max_s", self.reconnect_max_s)
        _ordered("restart_s", self.restart_s, "restart_max_s", self.restart_max_s)


@dataclass(frozen=True)
class ClientSettings:
    """A client's limits: how long it waits, how often it tries, how much it has in flight."""

    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    timeout_s: float = 300.0
    """The limit of one try, including the wait in the broker's queue."""
    tries: int = 3
    """How many times a request is sent before the client gives up."""
    lanes: int = 64
    """The most requests in flight at a time, each on its own socket; further ones wait."""
    waits: bool = False
    """True for production: a service without workers (error 404) is no end, the request is sent
    again until its time (`tries` * `timeout_s`) is over. After 10 s without workers or without an
    answer of the broker, and then each minute, the log says what the client waits for."""
    interactive: bool = False
    """True if a person waits for the answers: the broker hands these requests out before those of
    other clients."""

    def __post_init__(self) -> None:
        _positive(timeout_s=self.timeout_s, tries=self.tries, lanes=self.lanes)
        if self.lanes > MAX_LANES:
            raise SettingsError(f"want lanes of at most {MAX_LANES}, got {self.lanes}")
