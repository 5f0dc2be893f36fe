"""Messages and steps of the cores as short texts, for the trace of a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mdp.client import lane
from mdp.wire import Frames
from mdp.worker import host, session

_COMMANDS = {
    (b"", b"MDPC01"): "in MDP/0.1:",
    (b"MDPC02", b"\x01"): "REQUEST",
    (b"MDPC02", b"\x02"): "PARTIAL",
    (b"MDPC02", b"\x03"): "FINAL",
    (b"MDPC02", b"\x12"): "PARTIAL no.",
    (b"MDPC02", b"\x13"): "FINAL after",
    (b"MDPW02", b"\x12"): "PARTIAL no.",
    (b"MDPW02", b"\x13"): "FINAL after",
    (b"MDPW02", b"\x01"): "READY",
    (b"MDPW02", b"\x02"): "REQUEST",
    (b"MDPW02", b"\x03"): "PARTIAL",
    (b"MDPW02", b"\x04"): "FINAL",
    (b"MDPW02", b"\x05"): "HEARTBEAT",
    (b"MDPW02", b"\x06"): "DISCONNECT",
}
_Name = Callable[[bytes], str]


def readable(thing: Any, name_of: _Name = bytes.hex) -> str:
    """Return a message, without the peer's address, or a step of a core as a text."""
    if isinstance(thing, list):
        return _message(thing, name_of)
    match thing:
        case session.Send(frames):
            return f"-> {_message(frames, name_of)}"
        case host.Work(number, body):
            return f"work {number}: {_frame(body[0])}"
        case lane.SendOnLane(name, frames):
            return f"-> on {name_of(name)}: {_message(frames, name_of)}"
        case lane.OpenLane(name):
            return f"opens {name_of(name)}"
        case lane.CloseLane(name):
            return f"closes {name_of(name)}"
        case lane.FinalReply(call, _):
            return f"request {call.listener} is answered"
        case lane.PartialReply(call, _):
            return f"request {call.listener} has one more part"
        case lane.Failed(call, error):
            return f"request {call.listener} has failed: {type(error).__name__}: {error}"
    return type(thing).__name__


def _message(frames: Frames, name_of: _Name) -> str:
    head, command = (bytes(frames[i]) for i in (0, 1))  # type: ignore[call-overload]
    text = _COMMANDS.get((head, command), repr(command))
    rest = [frame for frame in frames[2:] if len(frame)]
    if text != "REQUEST" and len(rest) > 5:
        rest = rest[:5]
    if rest and rest[0] == b"mmi.cancel" and text == "REQUEST":
        return " ".join([text, "mmi.cancel", *(name_of(bytes(f)) for f in rest[1:])])  # type: ignore[call-overload]
    if rest and rest[0] == b"mmi.broker":
        return f"{text} mmi.broker"
    return " ".join([text, *map(_frame, rest)])


def _frame(frame: Any) -> str:
    data = bytes(frame)
    if len(data) == 8 and data[:1] == b"\0":
        return f"request {int.from_bytes(data, 'big')}"
    if len(data) == 16 and any(data):
        return f"token {int.from_bytes(data[8:], 'big')}"
    text = data.decode("ascii", "replace")
    return text if text.isprintable() and len(text) <= 100 else f"({len(data)} bytes)"
