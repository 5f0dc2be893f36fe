"""A worker's side of the conversation with a broker, in MDP/0.2. Pure: no socket, no clock.

Paranoid Pirate (https://rfc.zeromq.org/spec/6/): READY opens it, heartbeats keep it, silence ends
it, and then a new socket is tried after a wait that doubles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .. import wire
from ..errors import WireError
from ..settings import WorkerSettings
from ..wire import FINGERPRINT, MDP02, RETIRE, Frame, Frames, one_line


class Open(NamedTuple):
    """Connect a new socket to the broker."""


class Send(NamedTuple):
    """Send on that socket."""

    frames: Frames


class Close(NamedTuple):
    """Close that socket, when what was sent is out."""


SocketStep = Open | Send | Close


class Session:
    """Open or closed; while it is open it may hold one request, under the broker's token."""

    def __init__(self, service: bytes, settings: WorkerSettings) -> None:
        self.service = service
        self.settings = settings
        self.is_open = False
        self.token: bytes | None = None
        self.retired = False  # the broker knows that we are about to leave
        self.fingerprint = b""  # of what computes; known before the session is opened
        self.refusal: str | None = None  # why the broker did not take us, the last time it said so
        self.refused_s = 0.0  # how long it had not taken us then
        self._refused_at = 0.0  # meaningful with a refusal: the first one in a row
        self.rest_until = 0.0  # meaningful while closed: not to be opened before
        self._wait_s = settings.reconnect_s
        self._heard_at = 0.0
        self._sent_at = 0.0

    def open(self, now: float) -> list[SocketStep]:
        self.is_open, self.retired = True, False
        self._heard_at = self._sent_at = now
        out: list[SocketStep] = [Open()]
        if self.fingerprint:  # other brokers answer 501, or nothing
            out.append(Send(MDP02.request(FINGERPRINT, [self.service, self.fingerprint])))
        return [*out, Send(MDP02.ready(self.service))]

    def retire(self) -> list[SocketStep]:
        """Ask for no more requests; what is held, or on its way, is still to be answered."""
        return [Send(MDP02.request(RETIRE, []))]

    def close(self, now: float) -> list[SocketStep]:
        """Leave, on the worker's own wish: it may come back at once."""
        if not self.is_open:
            return []
        self.is_open, self.token, self.rest_until = False, None, now
        return [Send(MDP02.disconnect_to(b"")[1:]), Close()]

    def receive(self, frames: Frames, now: float) -> tuple[list[SocketStep], Frames | None]:
        """Take one message from the broker: what to do, and the request's body if it is one."""
        if frames[:3] == [*MDP02.client_prefix, *MDP02.client_final, RETIRE]:
            self.retired, self._heard_at = True, now
            return [], None
        if frames[:3] == [*MDP02.client_prefix, *MDP02.client_final, FINGERPRINT]:
            self._heard_at = now
            self._judged(frames[3:], now)
            return [], None
        try:
            order = wire.parse_order(frames)
        except WireError:
            return [], None  # what cannot be parsed is dropped
        self._heard_at = now
        self._wait_s = self.settings.reconnect_s
        if isinstance(order, wire.Disconnect):
            return self._rest(now), None
        if isinstance(order, wire.Asked) and self.token is None:
            self.token = order.token
            return [], order.body
        return [], None

    def _judged(self, verdict: Frames, now: float) -> None:
        """The broker has compared our fingerprint with those of the service's other workers."""
        if verdict[:1] == [b"200"]:
            self.refusal, self.refused_s = None, 0.0
        if len(verdict) == 2 and verdict[0] == b"409":
            if self.refusal is None:
                self._refused_at = now
            self.refused_s = now - self._refused_at
            self.refusal = one_line(bytes(verdict[1]).decode("utf-8", "replace"))  # type: ignore[call-overload]

    def reply(self, body: Sequence[Frame], *, final: bool, now: float) -> list[SocketStep]:
        """Answer the request that is held."""
        if self.token is None:
            return []
        frames = MDP02.reply(self.token, body, final=final)
        self._sent_at = now
        if final:
            self.token = None
        return [Send(frames)]

    def tick(self, now: float) -> list[SocketStep]:
        if not self.is_open:
            return []
        if now >= self._heard_at + self.settings.pulse.silence_s:
            self.refusal, self.refused_s = None, 0.0  # the next broker may think otherwise
            return self._rest(now)
        if now >= self._sent_at + self.settings.pulse.interval_s:
            self._sent_at = now
            return [Send([*MDP02.worker_prefix, MDP02.heartbeat])]
        return []

    def deadline(self) -> float:
        """When `tick` has something to do; while closed, when the session may be opened."""
        if not self.is_open:
            return self.rest_until
        pulse = self.settings.pulse
        return min(self._heard_at + pulse.silence_s, self._sent_at + pulse.interval_s)

    def _rest(self, now: float) -> list[SocketStep]:
        """The broker is gone, or wants this conversation to end."""
        self.is_open, self.token = False, None
        self.rest_until = now + self._wait_s
        self._wait_s = min(2 * self._wait_s, self.settings.reconnect_max_s)
        return [Close()]
