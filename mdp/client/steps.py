"""A client's request, and the steps that the core (`lane`) returns for its loop. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import MDPError
from ..wire import Frame, Frames, printable


class ClientRequest:
    """One request. `listener` is for the loop with the sockets; the core does not use it."""

    # Only with a contact file; here, so that they cost no time otherwise.
    is_checking = False  # its lane is asked first which broker it has reached
    left_until = -math.inf  # until then it may be answered by a broker that is leaving

    def __init__(
        self,
        service: bytes,
        body: Sequence[Frame],
        listener: Any,
        *,
        timeout_s: float,
        tries: int,
        streams: bool = False,
    ) -> None:
        """streams: its parts are read one by one, perhaps slowly, so it has a lane to itself."""
        self.service = service
        self.body = body
        self.body_bytes = sum(map(len, body))
        self.listener = listener
        self.timeout_s = timeout_s
        self.tries = tries
        self.streams = streams
        self.is_unwanted = False  # given up by the caller, in the caller's thread
        self.id = b""  # from its first try on; in the logs of client, broker and worker
        self.lane: bytes | None = None  # None: pending, backing off, or over
        self.needs_fresh_lane = streams  # or because an idle one may hang on a dead connection
        self.tries_used = 0
        self.started_at = math.nan
        self.sent_at = math.nan
        self.due_at = math.inf  # end of this try or, while backing off, start of the next
        self.paused_at: float | None = None  # since when the reader of its parts lags
        self.parts_seen = 0
        self.parts_skipped = 0  # of this try: parts that an earlier try brought
        self.misses = 0  # answers in a row that the broker does not hold it
        self.patience = 0  # how many misses show that it is lost
        self.closes_lane = streams  # its lane is used for no other call

    @property
    def text(self) -> str:
        """The service's name, for messages."""
        return printable(self.service)

    @property
    def id_text(self) -> str:
        """The id for messages: `, request 5f0c...`; empty before the first try."""
        return f", request {self.id.hex()}" if self.id else ""

    def spent(self, now: float) -> str:
        return f"{now - self.started_at:.1f} s (try {self.tries_used} of {self.tries})"


class OpenLane(NamedTuple):
    """Connect a socket under this name."""

    lane: bytes


class SendOnLane(NamedTuple):
    """Send on that socket."""

    lane: bytes
    frames: Frames


class CloseLane(NamedTuple):
    """Close that socket."""

    lane: bytes


class PartialReply(NamedTuple):
    """A PARTIAL has arrived."""

    call: ClientRequest
    body: Frames


class FinalReply(NamedTuple):
    """The FINAL has arrived: the call is over."""

    call: ClientRequest
    body: Frames


class Failed(NamedTuple):
    """The call has failed with this error: it is over."""

    call: ClientRequest
    error: MDPError


class Met(NamedTuple):
    """A broker has answered for the first time: the user who runs it, and its host."""

    user: str
    host: str


class Paused(NamedTuple):
    """An operator has paused a service for which requests wait; `ends`: not any more."""

    service: str
    by: str
    for_s: float
    ends: bool = False


class Silent(NamedTuple):
    """The broker has not answered for so long. An empty `reason` is not known to the core."""

    silent_s: float
    reason: str


Step = (
    OpenLane | SendOnLane | CloseLane | PartialReply | FinalReply | Failed | Met | Paused | Silent
)
