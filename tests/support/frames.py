"""Messages spelled literally, as RFC 7, RFC 18 and majortomo do. Takes no byte from `mdp.wire`.

Every message has the peer's address first, as a ROUTER socket gives and takes it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from mdp.wire import Frame, Frames


class Spelling(Protocol):
    """How one dialect spells its messages. HEARTBEAT and DISCONNECT are the same both ways."""

    def ask(self, client: bytes, service: bytes, *body: Frame) -> Frames: ...
    def partial(self, client: bytes, service: bytes, *body: Frame) -> Frames: ...
    def final(self, client: bytes, service: bytes, *body: Frame) -> Frames: ...
    def ready(self, worker: bytes, service: bytes) -> Frames: ...
    def asked(self, worker: bytes, token: bytes, *body: Frame) -> Frames: ...
    def part(self, worker: bytes, token: bytes, *body: Frame) -> Frames: ...
    def reply(self, worker: bytes, token: bytes, *body: Frame) -> Frames: ...
    def heartbeat(self, worker: bytes) -> Frames: ...
    def disconnect(self, worker: bytes) -> Frames: ...


class Rfc7:
    """MDP/0.1: https://rfc.zeromq.org/spec/7/ (it has no partial replies)."""

    def ask(self, client: bytes, service: bytes, *body: Frame) -> Frames:
        return [client, b"", b"MDPC01", service, *body]

    def partial(self, client: bytes, service: bytes, *body: Frame) -> Frames:
        raise AssertionError("a 0.1 client never sees a PARTIAL")

    def final(self, client: bytes, service: bytes, *body: Frame) -> Frames:
        return [client, b"", b"MDPC01", service, *body]

    def ready(self, worker: bytes, service: bytes) -> Frames:
        return [worker, b"", b"MDPW01", b"\x01", service]

    def asked(self, worker: bytes, token: bytes, *body: Frame) -> Frames:
        return [worker, b"", b"MDPW01", b"\x02", token, b"", *body]

    def part(self, worker: bytes, token: bytes, *body: Frame) -> Frames:
        raise AssertionError("a 0.1 worker never sends a PARTIAL")

    def reply(self, worker: bytes, token: bytes, *body: Frame) -> Frames:
        return [worker, b"", b"MDPW01", b"\x03", token, b"", *body]

    def heartbeat(self, worker: bytes) -> Frames:
        return [worker, b"", b"MDPW01", b"\x04"]

    def disconnect(self, worker: bytes) -> Frames:
        return [worker, b"", b"MDPW01", b"\x05"]


class Rfc18:
    """MDP/0.2: https://rfc.zeromq.org/spec/18/."""

    def ask(self, client: bytes, service: bytes, *body: Frame) -> Frames:
        return [client, b"MDPC02", b"\x01", service, *body]

    def partial(self, client: bytes, service: bytes, *body: Frame) -> Frames:
        return [client, b"MDPC02", b"\x02", service, *body]

    def final(self, client: bytes, service: bytes, *body: Frame) -> Frames:
        return [client, b"MDPC02", b"\x03", service, *body]

    def ready(self, worker: bytes, service: bytes) -> Frames:
        return [worker, b"MDPW02", b"\x01", service]

    def asked(self, worker: bytes, token: bytes, *body: Frame) -> Frames:
        return [worker, b"MDPW02", b"\x02", token, b"", *body]

    def part(self, worker: bytes, token: bytes, *body: Frame) -> Frames:
        return [worker, b"MDPW02", b"\x03", token, b"", *body]

    def reply(self, worker: bytes, token: bytes, *body: Frame) -> Frames:
        return [worker, b"MDPW02", b"\x04", token, b"", *body]

    def heartbeat(self, worker: bytes) -> Frames:
        return [worker, b"MDPW02", b"\x05"]

    def disconnect(self, worker: bytes) -> Frames:
        return [worker, b"MDPW02", b"\x06"]


class Majortomo:
    """What PyPI's majortomo calls 0.2: 0.1's empty frame, shifted client commands, and client
    replies that name no service."""

    def ask(self, client: bytes, service: bytes, *body: Frame) -> Frames:
        return [client, b"", b"MDPC02", b"\x02", service, *body]

    def partial(self, client: bytes, service: bytes, *body: Frame) -> Frames:
        return [client, b"", b"MDPC02", b"\x03", *body]

    def final(self, client: bytes, service: bytes, *body: Frame) -> Frames:
        return [client, b"", b"MDPC02", b"\x04", *body]

    def ready(self, worker: bytes, service: bytes) -> Frames:
        return [worker, b"", b"MDPW02", b"\x01", service]

    def asked(self, worker: bytes, token: bytes, *body: Frame) -> Frames:
        return [worker, b"", b"MDPW02", b"\x02", token, b"", *body]

    def part(self, worker: bytes, token: bytes, *body: Frame) -> Frames:
        return [worker, b"", b"MDPW02", b"\x03", token, b"", *body]

    def reply(self, worker: bytes, token: bytes, *body: Frame) -> Frames:
        return [worker, b"", b"MDPW02", b"\x04", token, b"", *body]

    def heartbeat(self, worker: bytes) -> Frames:
        return [worker, b"", b"MDPW02", b"\x05"]

    def disconnect(self, worker: bytes) -> Frames:
        return [worker, b"", b"MDPW02", b"\x06"]


RFC7 = Rfc7()
RFC18 = Rfc18()
MAJORTOMO = Majortomo()
SPELLINGS: dict[str, Spelling] = {"MDP/0.1": RFC7, "MDP/0.2": RFC18, "majortomo": MAJORTOMO}


class Sent(NamedTuple):
    """A broker's message, read by the table in docs/protocol.md."""

    what: str
    """asked, heartbeat, disconnect; partial, final."""
    peer: bytes
    token: bytes
    """What a worker was asked under; empty in any other message."""
    body: Frames


_TO_WORKER_01 = {b"\x02": "asked", b"\x04": "heartbeat", b"\x05": "disconnect"}
_TO_WORKER_02 = {b"\x02": "asked", b"\x05": "heartbeat", b"\x06": "disconnect"}


def _short(frame: Frame) -> bytes:
    assert isinstance(frame, bytes)
    return frame


def read(frames: Frames) -> Sent:
    """Read one message that a broker sends, in any dialect."""
    peer, *rest = frames
    empty = rest[0] == b""
    header, *rest = rest[1:] if empty else rest
    if header == b"MDPC01":
        assert empty
        return Sent("final", _short(peer), b"", rest[1:])
    if header == b"MDPC02":
        first = 3 if empty else 2
        what = {first: "partial", first + 1: "final"}[_short(rest[0])[0]]
        return Sent(what, _short(peer), b"", rest[1:] if empty else rest[2:])
    assert header == b"MDPW02" or (empty and header == b"MDPW01")
    what = (_TO_WORKER_01 if header == b"MDPW01" else _TO_WORKER_02)[_short(rest[0])]
    if what == "asked":
        assert rest[2] == b""
        return Sent(what, _short(peer), _short(rest[1]), rest[3:])
    assert len(rest) == 1
    return Sent(what, _short(peer), b"", [])


def token_of(frames: Frames) -> bytes:
    """The token under which a broker's message asks a worker."""
    sent = read(frames)
    assert sent.what == "asked", frames
    return sent.token
