"""A worker's session with a broker, in MDP/0.2. Pure: no socket, no clock.

The rules are those of Paranoid Pirate (https://rfc.zeromq.org/spec/6/): READY opens a session,
heartbeats keep it alive, and silence ends it; then the worker opens a new one on a new socket,
after a wait that doubles. A connection that breaks ends the session at once, because messages that
were on their way are lost with it. The session is closed, open, or open with a request:

event                            closed              open            open with a request
-------------------------------  ------------------  --------------  -----------------------------
`open`                           READY, -> open      (not called)    (not called)
REQUEST                          -                   -> request (1)  ignored
`reply`, final                   dropped             dropped         FINAL, -> open
`reply`, not final               dropped             dropped         PARTIAL
mmi.stop with its token          -                   -               passed to the host
mmi.leave                        -                   passed on       passed to the host
mmi.paused                       -                   noted           noted
`crashed`                        -                   -               mmi.crashed with its token
DISCONNECT                       -                   -> closed (2)   -> closed (2)
the connection breaks            -                   -> closed (2)   -> closed (2)
silence for liveness * interval  -                   -> closed (2)   -> closed (2)
nothing sent for an interval     -                   HEARTBEAT       HEARTBEAT
`close`                          -                   DISCONNECT, -> closed; may open again at once

`open` first locates the broker, which may have moved: a contact file is read again. If the broker's
place is not known, the session stays closed, for the wait of a silent broker (2). Then `open`
announces the worker (mmi.fingerprint): its fingerprint, and facts about it. The broker may refuse
the fingerprint (409) or the key (403), or say that it is not the broker that the worker looks for
(410), which ends the session. Else it answers with its limits. Such a broker gets the parts of an
answer with numbers, so that it notices a part that was lost.
(1) It keeps the broker's token, under which it replies.
(2) It may open again after `reconnect_s`, which doubles with each session in a row in which the
    broker sent nothing, up to `reconnect_max_s`. REQUEST, HEARTBEAT and DISCONNECT reset the wait.
    `jitter` shortens each wait by up to a quarter.

With the default settings a worker is back less than 5 s after its broker: a closed session waits at
most 4 s; an open one waits for the broker while libzmq tries to connect, within 1.2 s each time,
and is given up after 3 s of silence. A session that is given up just before libzmq tries again
costs both: 0.8 s and 4 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgpack

from .. import wire
from ..broker.fingerprints import known_facts
from ..errors import MDPError, WireError
from ..settings import WorkerSettings
from ..sockets.addresses import ClientKeys, Place
from ..wire import (
    CRASHED,
    FINGERPRINT,
    GRACE,
    ID_BYTES,
    LEAVE,
    MDP02,
    NOW,
    PAUSED,
    RETIRE,
    STOP,
    Frame,
    Frames,
    one_line,
)

_JITTER = 0.25  # of a wait: it is shortened by up to this share
_ANSWER = [*MDP02.client_prefix, *MDP02.client_final]


class Open(NamedTuple):
    """Connect a new socket to the broker."""

    address: str = ""
    """The broker's address, as it was located."""
    keys: ClientKeys | None = None


class Send(NamedTuple):
    """Send on that socket."""

    frames: Frames


class Close(NamedTuple):
    """Close that socket; `flush`: after all messages were sent. Else they are dropped.

    A READY that is sent later, when a broker is back, would offer a worker that is not there.
    """

    flush: bool = False


SocketStep = Open | Send | Close


class Leave(NamedTuple):
    """The broker's message that an operator has dismissed this worker: it is to end."""


class Stop(NamedTuple):
    """The broker's message that nobody waits for the held request; `at_once`: without a grace."""

    at_once: bool


def no_jitter() -> float:
    return 0.0


def fixed_place() -> Place:
    """Return the place of a broker that the loop knows."""
    return Place("")


class Session:
    """One worker's session, open or closed. `token` is the token of the held request, or None.

    jitter: returns a random number from 0 to below 1 for each wait; 0 is the whole wait.
    locate: returns the place of the broker now, or raises `MDPError`.
    """

    def __init__(
        self,
        service: bytes,
        settings: WorkerSettings,
        *,
        jitter: Callable[[], float] = no_jitter,
        locate: Callable[[], Place] = fixed_place,
    ) -> None:
        self.service = service
        self.settings = settings
        self._jitter = jitter
        self._locate = locate
        self.is_open = False
        self.is_heard = False  # the broker has sent something in this session
        self.token: bytes | None = None
        self.retired = False  # the broker has confirmed that it sends no more requests
        self.paused = False  # an operator has paused the service
        self.fingerprint = b""  # of the child; known when the session is opened
        self.regular = False  # of the child: each of its requests takes about equally long
        self.facts: dict[str, Any] = {}  # more facts of the announcement
        self.wrong_broker: str | None = None  # why the broker is not the one that is looked for
        self.max_bytes: int | None = None  # the largest answer that the broker takes, if known
        self.broker_user, self.broker_host = "", ""  # who runs the broker, and where, if known
        self.broker_instance = b""  # of a broker of ours
        self.refusal: str | None = None  # the broker's latest reason for refusing the fingerprint
        self.refused_s = 0.0  # how long it has refused it, up to its latest answer
        self._refused_at = 0.0  # the first refusal in a row; only with a refusal
        self.closed_until = 0.0  # only while closed: not to be opened earlier
        self._wait_s = settings.reconnect_s
        self._parts = 0  # of the answer that were sent under the token
        self._heard_at = 0.0
        self._sent_at = 0.0

    @property
    def request(self) -> bytes:
        """The id of the request that is held; empty if the broker has given it none.

        A broker of ours puts its instance, a number and the id into its tokens.
        """
        token = self.token or b""
        is_ours = len(token) == 16 + ID_BYTES and token[:8] == self.broker_instance
        return token[-ID_BYTES:] if is_ours else b""

    def open(self, now: float) -> list[SocketStep]:
        """Open a session; return no steps, and stay closed, if the broker cannot be located."""
        try:
            place = self._locate()
        except MDPError:
            self._wait(now)
            return []
        self.is_open, self.retired, self.max_bytes = True, False, None
        self.is_heard, self.wrong_broker, self.paused = False, None, False
        self._heard_at = self._sent_at = now
        facts = {"regular": self.regular, **self.facts}
        if place.instance is not None:
            facts["instance"] = place.instance
        # Cut here, because a broker refuses facts that are too long, and the fingerprint with them.
        packed = msgpack.packb(known_facts(facts))
        # foreign brokers answer 501, or nothing
        announcement = MDP02.request(FINGERPRINT, [self.service, self.fingerprint, packed])
        return [
            Open(place.address, place.keys),
            Send(announcement),
            Send(MDP02.ready(self.service)),
        ]

    def retire(self) -> list[SocketStep]:
        """Ask for no more requests. A request that is held, or on its way, is still answered."""
        return [Send(MDP02.request(RETIRE, []))]

    def crashed(self) -> list[SocketStep]:
        """Say that the child died of the request that is held; a DISCONNECT follows."""
        return [] if self.token is None else [Send(MDP02.request(CRASHED, [self.token]))]

    def close(self, now: float) -> list[SocketStep]:
        """Leave at the worker's own wish, so that a session may be opened again without a wait."""
        if not self.is_open:
            return []
        self.is_open, self.token, self.closed_until = False, None, now
        return [Send(MDP02.disconnect_to(b"")[1:]), Close(flush=True)]

    def receive(
        self, frames: Frames, now: float
    ) -> tuple[list[SocketStep], Frames | Stop | Leave | None]:
        """Handle one message of the broker; return the steps, and what the worker is to do.

        That is the body of a request, `Stop` for the request that is held, `Leave`, or None.
        """
        if frames[:2] == _ANSWER:
            wish = self._on_answer(frames[2:], now)
            return self._break_off(now) if self.wrong_broker else [], wish
        try:
            order = wire.parse_order(frames)
        except WireError:
            return [], None  # a message that cannot be parsed is dropped
        self._heard_at, self.is_heard = now, True
        self._wait_s = self.settings.reconnect_s
        match order:
            case wire.Disconnect():
                return self._break_off(now), None
            case wire.Order(token, body) if self.token is None:
                self.token, self._parts = token, 0
                return [], body
        return [], None

    def _on_answer(self, frames: Frames, now: float) -> Stop | Leave | None:
        """Handle a message of one of the broker's own services."""
        match frames:
            case [bytes(service), *_] if service == RETIRE:
                self.retired, self._heard_at = True, now
            case [bytes(service), *verdict] if service == FINGERPRINT:
                self._heard_at, self.is_heard = now, True
                self._on_verdict(verdict, now)
            case [bytes(service), token, how] if service == STOP:
                self._heard_at, self._wait_s = now, self.settings.reconnect_s
                if self.token is not None and token == self.token and how in (GRACE, NOW):
                    return Stop(at_once=how == NOW)
            case [bytes(service)] if service == LEAVE:
                self._heard_at, self.is_heard = now, True
                return Leave()
            case [bytes(service), flag] if service == PAUSED:
                self._heard_at, self.is_heard, self.paused = now, True, flag == b"1"
        return None

    def _on_verdict(self, verdict: Frames, now: float) -> None:
        """Note whether the broker accepts our fingerprint, which a service's workers must share."""
        if verdict[:1] == [b"200"]:
            self.refusal, self.refused_s = None, 0.0
            self.max_bytes = _max_bytes(verdict[1:])
            self.broker_user, self.broker_host = _who(verdict[1:])
            self.broker_instance = _instance(verdict[1:])
        if len(verdict) == 2 and verdict[0] in (b"409", b"403"):
            if self.refusal is None:
                self._refused_at = now
            self.refused_s = now - self._refused_at
            self.refusal = _text(verdict[1])
        if len(verdict) == 2 and verdict[0] == b"410":
            self.wrong_broker = _text(verdict[1])
            self.is_heard = False  # the broker that it looks for has not answered

    def reply(self, body: Sequence[Frame], *, final: bool, now: float) -> list[SocketStep]:
        """Answer the request that is held; return no steps if there is none."""
        if self.token is None:
            return []
        # only a broker that states its limits knows numbers; without parts none can be missing
        is_numbered = self.max_bytes is not None and (self._parts > 0 or not final)
        number = self._parts if is_numbered else None
        frames = MDP02.reply(self.token, body, final=final, number=number)
        self._parts += 1
        self._sent_at = now
        if final:
            self.token = None
        return [Send(frames)]

    def tick(self, now: float) -> list[SocketStep]:
        if not self.is_open:
            return []
        if now >= self._heard_at + self.settings.heartbeats.silence_s:
            return self.disconnected(now)
        if now >= self._sent_at + self.settings.heartbeats.interval_s:
            self._sent_at = now
            return [Send([*MDP02.worker_prefix, MDP02.heartbeat])]
        return []

    def disconnected(self, now: float) -> list[SocketStep]:
        """Handle a connection that broke, as silence: what was on its way is lost."""
        if not self.is_open:
            return []
        self.refusal, self.refused_s = None, 0.0  # the next broker may accept it
        return self._break_off(now)

    def deadline(self) -> float:
        """Return when `tick` must be called next or, while closed, when a session may be opened."""
        if not self.is_open:
            return self.closed_until
        heartbeats = self.settings.heartbeats
        return min(self._heard_at + heartbeats.silence_s, self._sent_at + heartbeats.interval_s)

    def _break_off(self, now: float) -> list[SocketStep]:
        """Close the session: the broker is gone, or has sent DISCONNECT."""
        self.is_open, self.token = False, None
        self._wait(now)
        return [Close()]

    def _wait(self, now: float) -> None:
        """Stay closed for a while; each time in a row for twice as long."""
        self.closed_until = now + self._wait_s * (1 - _JITTER * self._jitter())
        self._wait_s = min(2 * self._wait_s, self.settings.reconnect_max_s)


def _text(frame: Frame) -> str:
    return one_line(bytes(frame).decode("utf-8", "replace"))  # type: ignore[call-overload]


def _who(limits: Frames) -> tuple[str, str]:
    """Return who runs the broker, and on which host; empty if it does not say so."""
    try:
        (packed,) = limits
        user, host = map(msgpack.unpackb(packed).get, ("user", "host"))
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException):
        return "", ""
    if not (isinstance(user, str) and isinstance(host, str)):
        return "", ""
    return one_line(user), one_line(host)


def _instance(limits: Frames) -> bytes:
    """Return the instance of the broker; empty if it does not say so."""
    try:
        (packed,) = limits
        return bytes.fromhex(msgpack.unpackb(packed)["instance"])
    except (ValueError, TypeError, KeyError, msgpack.UnpackException):
        return b""


def _max_bytes(limits: Frames) -> int | None:
    """Return the largest answer that the broker takes; None if it does not say so."""
    try:
        (packed,) = limits
        most = msgpack.unpackb(packed)["max_bytes"]
    except (ValueError, TypeError, KeyError, msgpack.UnpackException):
        return None  # a broker of older software, or a foreign one
    return most if type(most) is int and most > 0 else None
