"""Parse frames into messages, and build frames, in three dialects. Pure: no socket, no clock.

The dialects are MDP/0.1 (https://rfc.zeromq.org/spec/7/), MDP/0.2
(https://rfc.zeromq.org/spec/18/), and the 0.2 of PyPI's `majortomo`, which has the empty frame of
0.1 and no service in its replies. docs/protocol.md has the table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from .errors import MDPError, SettingsError, WireError, from_code


class Frame(Protocol):
    """One frame: `bytes`, or a reference to bytes (`zmq.Frame`) that is forwarded unread."""

    def __len__(self) -> int: ...


Frames = list[Frame]

EMPTY = b""
READY = b"\x01"
REQUEST = b"\x02"
ERROR = b"MDP-ERROR"
RETIRE = b"mmi.retire"
FINGERPRINT = b"mmi.fingerprint"
CANCEL = b"mmi.cancel"
STOP = b"mmi.stop"
LEAVE = b"mmi.leave"
"""The broker tells a worker of ours to end, as at SIGTERM: an operator has dismissed it."""
PAUSED = b"mmi.paused"
"""The broker tells a worker of ours whether its service is paused; the body: `1` or `0`."""
CRASHED = b"mmi.crashed"
"""A worker of ours says that its child died of the request that it holds; the body: the token."""
NUMBERED_PARTIAL, NUMBERED_FINAL = b"\x12", b"\x13"
"""Commands between peers of ours, for answers in parts; a number comes before the body."""
GRACE, NOW = b"grace", b"now"
ID_BYTES = 8
"""The length of a request's id. It is for logs: nothing is decided by it."""
MAX_SERVICE_BYTES = 255
MAX_FRAMES = 1024
MAX_BODY_FRAMES = MAX_FRAMES - 8  # 8: room for the longest envelope


@dataclass(frozen=True)
class Dialect:
    """The message format of one family of peers. Each prefix follows the peer's address."""

    name: str
    client_prefix: tuple[bytes, ...]
    worker_prefix: tuple[bytes, ...]
    client_request: tuple[bytes, ...]
    client_partial: tuple[bytes, ...]
    client_final: tuple[bytes, ...]
    names_service: bool
    streams: bool
    partial: bytes
    final: bytes
    heartbeat: bytes
    disconnect: bytes
    asked: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", (*self.worker_prefix, REQUEST))

    # Messages of a broker. The first frame is the peer's address on the ROUTER socket.

    def to_worker(self, worker: bytes, token: bytes, body: Sequence[Frame]) -> Frames:
        return [worker, *self.asked, token, EMPTY, *body]

    def to_client(
        self, client: bytes, service: bytes, body: Sequence[Frame], *, final: bool
    ) -> Frames:
        command = self.client_final if final else self.client_partial
        if self.names_service:
            return [client, *self.client_prefix, *command, service, *body]
        return [client, *self.client_prefix, *command, *body]

    def heartbeat_to(self, worker: bytes) -> Frames:
        return [worker, *self.worker_prefix, self.heartbeat]

    def disconnect_to(self, worker: bytes) -> Frames:
        return [worker, *self.worker_prefix, self.disconnect]

    def part_to_lane(
        self, client: bytes, service: bytes, number: int, body: Sequence[Frame], *, final: bool
    ) -> Frames:
        """Send a part of an answer with its number; the FINAL has the number of parts before it.

        A connection that breaks may lose a part and deliver the next one, on a new connection.
        """
        command = NUMBERED_FINAL if final else NUMBERED_PARTIAL
        return [client, *self.client_prefix, command, service, b"%d" % number, *body]

    def stop_to(self, worker: bytes, token: bytes, how: bytes) -> Frames:
        """Tell a worker of ours that nobody waits for the request which it holds under `token`."""
        return self.notice_to(worker, STOP, token, how)

    def notice_to(self, worker: bytes, service: bytes, *body: bytes) -> Frames:
        """Tell a worker of ours something, in the form of an answer of one of our services."""
        return [worker, *self.client_prefix, *self.client_final, service, *body]

    # Messages of a client or a worker. Its DEALER socket has one peer, so it needs no address.

    def request(self, service: bytes, body: Sequence[Frame]) -> Frames:
        return [*self.client_prefix, *self.client_request, service, *body]

    def request_with_id(self, service: bytes, body: Sequence[Frame], id: bytes) -> Frames:
        """Like `request`, for a broker that says `request_ids` in `mmi.broker`.

        The id follows the command in the same frame: another frame would cost more.
        """
        return [*self.client_prefix, self.client_request[0] + id, service, *body]

    def ready(self, service: bytes) -> Frames:
        return [*self.worker_prefix, READY, service]

    def reply(
        self, token: bytes, body: Sequence[Frame], *, final: bool, number: int | None = None
    ) -> Frames:
        """Answer a request; with a number, the broker notices a part that was lost."""
        if number is None:
            command = self.final if final else self.partial
            return [*self.worker_prefix, command, token, EMPTY, *body]
        command = NUMBERED_FINAL if final else NUMBERED_PARTIAL
        return [*self.worker_prefix, command, token, EMPTY, b"%d" % number, *body]


MDP01 = Dialect(
    name="MDP/0.1",
    client_prefix=(EMPTY, b"MDPC01"),
    worker_prefix=(EMPTY, b"MDPW01"),
    client_request=(),
    client_partial=(),
    client_final=(),
    names_service=True,
    streams=False,
    partial=b"",
    final=b"\x03",
    heartbeat=b"\x04",
    disconnect=b"\x05",
)
MDP02 = Dialect(
    name="MDP/0.2",
    client_prefix=(b"MDPC02",),
    worker_prefix=(b"MDPW02",),
    client_request=(b"\x01",),
    client_partial=(b"\x02",),
    client_final=(b"\x03",),
    names_service=True,
    streams=True,
    partial=b"\x03",
    final=b"\x04",
    heartbeat=b"\x05",
    disconnect=b"\x06",
)
MAJORTOMO = Dialect(
    name="majortomo",
    client_prefix=(EMPTY, b"MDPC02"),
    worker_prefix=(EMPTY, b"MDPW02"),
    client_request=(b"\x02",),
    client_partial=(b"\x03",),
    client_final=(b"\x04",),
    names_service=False,
    streams=True,
    partial=b"\x03",
    final=b"\x04",
    heartbeat=b"\x05",
    disconnect=b"\x06",
)
DIALECTS = {dialect.name: dialect for dialect in (MDP01, MDP02, MAJORTOMO)}


class Request(NamedTuple):
    """A client sends a request to a service."""

    dialect: Dialect
    service: bytes
    body: Frames
    id: bytes = b""
    """The id that the client gave it; empty: it follows from the client's name, or the broker
    gives it one."""


class Ready(NamedTuple):
    """A worker offers a service."""

    dialect: Dialect
    service: bytes


class Reply(NamedTuple):
    """A worker answers the request that it got under `token`; `final`: no more parts follow.

    number: the number of parts before this one; None: the worker does not say.
    """

    dialect: Dialect
    token: bytes
    body: Frames
    final: bool
    number: int | None = None


class Heartbeat(NamedTuple):
    """A worker is alive, idle or busy."""

    dialect: Dialect


class Disconnect(NamedTuple):
    """A worker leaves."""

    dialect: Dialect


Message = Request | Ready | Reply | Heartbeat | Disconnect


def _service(frame: Frame) -> bytes:
    if not isinstance(frame, bytes) or not 0 < len(frame) <= MAX_SERVICE_BYTES:
        raise WireError(f"want a service name of 1 to {MAX_SERVICE_BYTES} bytes, got {len(frame)}")
    return frame


def _number(frame: Frame) -> int:
    if not isinstance(frame, bytes) or not frame.isdigit() or len(frame) > 18:
        raise WireError("want the number of a part")
    return int(frame)


def _parse_client(dialect: Dialect, frames: Frames, at: int) -> Message:
    command = dialect.client_request
    id = b""
    if command:
        head = frames[at]
        if head != command[0]:
            id = _id(dialect, head)
        at += 1
    return Request(dialect, _service(frames[at]), frames[at + 1 :], id)


def _id(dialect: Dialect, head: Frame) -> bytes:
    """Return the id in a frame with REQUEST and an id, which only clients of ours send."""
    is_ours = dialect is MDP02 and len(head) == 1 + ID_BYTES and isinstance(head, bytes)
    if not is_ours or not head.startswith(MDP02.client_request):  # type: ignore[attr-defined]
        raise WireError(f"want a client's REQUEST, got another command in {dialect.name}")
    return bytes(head)[1:]  # type: ignore[call-overload, no-any-return]


def _parse_worker(dialect: Dialect, frames: Frames, at: int) -> Message:
    command = frames[at]
    if command == dialect.final or (dialect.streams and command == dialect.partial):
        token = frames[at + 1]
        if not isinstance(token, bytes) or frames[at + 2] != EMPTY:
            raise WireError("want an address and an empty frame before a worker's reply")
        return Reply(dialect, token, frames[at + 3 :], command == dialect.final)
    if command in (NUMBERED_PARTIAL, NUMBERED_FINAL) and dialect.names_service and dialect.streams:
        token = frames[at + 1]
        if not isinstance(token, bytes) or frames[at + 2] != EMPTY:
            raise WireError("want an address and an empty frame before a worker's reply")
        number = _number(frames[at + 3])
        return Reply(dialect, token, frames[at + 4 :], command == NUMBERED_FINAL, number)
    rest = len(frames) - at - 1
    if command == dialect.heartbeat and rest == 0:
        return Heartbeat(dialect)
    if command == READY and rest == 1:
        return Ready(dialect, _service(frames[at + 1]))
    if command == dialect.disconnect and rest == 0:
        return Disconnect(dialect)
    raise WireError(f"want a worker's command in {dialect.name}, got another, with {rest} frames")


_Parser = Callable[[Dialect, Frames, int], Message]
_BARE: dict[object, tuple[_Parser, Dialect]] = {
    b"MDPC02": (_parse_client, MDP02),
    b"MDPW02": (_parse_worker, MDP02),
}
_AFTER_EMPTY: dict[object, tuple[_Parser, Dialect]] = {
    b"MDPC01": (_parse_client, MDP01),
    b"MDPW01": (_parse_worker, MDP01),
    b"MDPC02": (_parse_client, MAJORTOMO),
    b"MDPW02": (_parse_worker, MAJORTOMO),
}


def parse(frames: Frames) -> Message:
    """Parse a message that a ROUTER socket received; the peer's address is its first frame."""
    if len(frames) > MAX_FRAMES:
        raise WireError(f"want at most {MAX_FRAMES} frames")
    try:
        if frames[1] == EMPTY:
            parser, dialect = _AFTER_EMPTY[frames[2]]
            return parser(dialect, frames, 3)
        parser, dialect = _BARE[frames[1]]
        return parser(dialect, frames, 2)
    except IndexError:
        raise WireError(f"a message is incomplete: it has {len(frames)} frames") from None
    except KeyError:
        raise WireError("want a header MDPC01, MDPC02, MDPW01 or MDPW02, got another") from None


class Answer(NamedTuple):
    """A client gets an answer, or a part of it; `final`: no more parts follow.

    number: the number of parts before this one; None: the broker does not say.
    """

    service: bytes
    body: Frames
    final: bool
    number: int | None = None


def parse_answer(frames: Frames) -> Answer:
    """Parse a message that a client's DEALER socket received, in MDP/0.2."""
    if len(frames) < 3 or frames[0] != MDP02.client_prefix[0]:
        raise WireError(f"want MDPC02, a command and a service, got {len(frames)} frames")
    if len(frames) > 3 and frames[1] in (NUMBERED_PARTIAL, NUMBERED_FINAL):
        final = frames[1] == NUMBERED_FINAL
        return Answer(_service(frames[2]), frames[4:], final, _number(frames[3]))
    if frames[1] not in (*MDP02.client_partial, *MDP02.client_final):
        raise WireError("want PARTIAL or FINAL, got another command")
    return Answer(_service(frames[2]), frames[3:], frames[1] == MDP02.client_final[0])


class Order(NamedTuple):
    """A worker gets a request, under a token that its reply must have."""

    token: bytes
    body: Frames


def parse_order(frames: Frames) -> Order | Heartbeat | Disconnect:
    """Parse a message that a worker's DEALER socket received, in MDP/0.2."""
    if len(frames) < 2 or frames[0] != MDP02.worker_prefix[0]:
        raise WireError(f"want MDPW02 and a command, got {len(frames)} frames")
    if frames[1] == MDP02.heartbeat:
        return Heartbeat(MDP02)
    if frames[1] == MDP02.disconnect:
        return Disconnect(MDP02)
    if len(frames) < 4 or frames[1] != REQUEST or frames[3] != EMPTY:
        raise WireError("want REQUEST, an address and an empty frame, got another message")
    if not isinstance(frames[2], bytes):
        raise WireError("want a short address")
    return Order(frames[2], frames[4:])


# Routing ids that our sockets choose. A ROUTER gives a peer without one an id that begins with a
# zero byte, which can be guessed.

_LANE_BYTES = 17
_CLIENT_BYTES = 9
_LANE, _INTERACTIVE, _WORKER = b"L", b"I", b"W"
CLIENT_ID_BYTES = _CLIENT_BYTES - 1
NAME_BYTES = 32
"""The broker echoes no longer names."""


def lane_name(client: bytes, random: bytes, *, interactive: bool) -> bytes:
    """Name a lane of a client; `client` and `random` have `CLIENT_ID_BYTES` random bytes each."""
    return (_INTERACTIVE if interactive else _LANE) + client + random


def worker_name(random: bytes) -> bytes:
    return _WORKER + random


def owner(peer: bytes) -> bytes:
    """Return the name of the client that a lane belongs to; any other peer is a client itself."""
    if len(peer) == _LANE_BYTES and peer[:1] in (_LANE, _INTERACTIVE):
        return peer[:_CLIENT_BYTES]
    return peer


def id_of_lane(lane: bytes) -> bytes:
    """Return the id of the first request on a lane: the random part of the lane's name."""
    return lane[-ID_BYTES:]


def is_interactive(peer: bytes) -> bool:
    """True if the lane belongs to a client whose requests are served before the others."""
    return len(peer) == _LANE_BYTES and peer[:1] == _INTERACTIVE


_LEASE = b"lease="


def lease_frame(seconds: float) -> bytes:
    """Ask the broker to cancel the client's requests when it is silent for so long."""
    return _LEASE + b"%.3f" % seconds


def lease_of(body: Frames) -> float | None:
    """Return the lease in the body of a client's heartbeat, in seconds; None if it has none."""
    frame = body[-1] if body else b""
    if not isinstance(frame, bytes) or not frame.startswith(_LEASE):
        return None
    try:
        seconds = float(frame.removeprefix(_LEASE))
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None


_WHO = b"who="
_MAX_WHO = 256  # bytes


def who_frame(host: str, pid: int, user: str) -> bytes:
    """Say where a client runs, in its heartbeat: `who=n7:812 taritree`."""
    return (_WHO + f"{host}:{pid} {user}".encode("utf-8", "backslashreplace"))[:_MAX_WHO]


def who_of(body: Frames) -> str | None:
    """Return where a client runs, from its heartbeat; None if it does not say so."""
    frame = body[-2] if len(body) > 1 else b""
    if not isinstance(frame, bytes) or not frame.startswith(_WHO) or len(frame) > _MAX_WHO:
        return None
    return printable(frame.removeprefix(_WHO))


_PROGRESS = b"progress="
_MAX_PROGRESS = 2048  # bytes
_MAX_TEXT = 200  # characters
_MAX_NUMBER = 1 << 53
_COUNTS = ("done", "of", "failed", "before")
_NUMBERS: dict[str, type[int] | type[float]] = {**dict.fromkeys(_COUNTS, int), "begun_at": float}


def progress_frame(progress: Mapping[str, Any]) -> bytes:
    """Say how far a client's work is, in its heartbeat, as JSON. See `progress_of`."""
    texts = {key: value[-_MAX_TEXT:] for key, value in progress.items() if isinstance(value, str)}
    return _PROGRESS + json.dumps({**progress, **texts}, ensure_ascii=False).encode(
        "utf-8", "backslashreplace"
    )


def progress_in(body: Frames) -> bytes:
    """Return the frame of `progress_frame` in a client's heartbeat; empty if it has none."""
    frame = body[-3] if len(body) > 2 else b""
    is_one = isinstance(frame, bytes) and frame.startswith(_PROGRESS)
    return frame if is_one and len(frame) <= _MAX_PROGRESS else b""  # type: ignore[return-value]


def progress_of(frame: bytes) -> dict[str, Any] | None:
    """Return what a client says about its work; None if nothing in it is usable.

    what: text, such as `events`; output: text; done, of, failed, before: counts, `before` those
    that were done by earlier runs; begun_at: Unix time.
    """
    try:
        found = json.loads(frame.removeprefix(_PROGRESS))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    kept: dict[str, Any] = {
        key: one_line(found[key])[:_MAX_TEXT]
        for key in ("what", "output")
        if isinstance(found.get(key), str)
    }
    for key, kind in _NUMBERS.items():
        value = found.get(key)
        if isinstance(value, kind) and type(value) is not bool and 0 <= value < _MAX_NUMBER:
            kept[key] = value
    return kept if "done" in kept else None


def error_body(code: int, text: str) -> Frames:
    """Return the body of a FINAL reply that reports an error."""
    return [ERROR, b"%d" % code, text.encode("utf-8", "backslashreplace")]


def as_error(body: Sequence[Frame]) -> MDPError | None:
    """Return the exception that a reply's body reports, or None if it is an ordinary reply."""
    if len(body) != 3 or body[0] != ERROR:
        return None
    code, text = body[1], body[2]
    if not isinstance(code, bytes) or not code.isdigit() or len(code) > 3:
        return None
    return from_code(int(code), bytes(text).decode("utf-8", "replace"))  # type: ignore[call-overload]


def printable(name: bytes) -> str:
    """Decode a name from the wire for display; bytes that are not UTF-8 are escaped."""
    return one_line(name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace"))


def one_line(text: str) -> str:
    """Escape the unprintable characters of a text, which could move a terminal's cursor."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def service_name(text: str) -> bytes:
    """Encode a service's name for the wire. Raises `SettingsError`."""
    try:
        name = text.encode()
    except UnicodeEncodeError:
        name = b""
    if not 0 < len(name) <= MAX_SERVICE_BYTES:
        raise SettingsError(f"want a service name of 1 to {MAX_SERVICE_BYTES} bytes, got {text!r}")
    return name
