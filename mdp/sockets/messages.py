"""Send and receive messages of frames, and never block.

Frames of more than `SMALL_BYTES` are forwarded by reference and never copied; a smaller frame is
copied, because that costs less than a reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import zmq
from zmq.backend import Socket as _Backend

from ..wire import MAX_FRAMES, Frame, Frames

SMALL_BYTES = 16384
_ZERO_COPY_BYTES = 65536  # when sending Python's bytes: below this, libzmq's copy is cheaper
# The methods of pyzmq's compiled core: its Python layer would cost as much time again.
recv: Any = _Backend.recv
send: Any = _Backend.send
NOW = int(zmq.NOBLOCK)  # as plain integers: combining enum flags costs as much as a frame
_NOW_MORE = int(zmq.NOBLOCK) | int(zmq.SNDMORE)


def receive_message(socket: zmq.Socket[bytes], message: Frames) -> Frames:
    """Append the frames of one message to `message`. Raises `zmq.Again` if there is none."""
    more = True
    while more:
        frame: Any = recv(socket, NOW, False)
        if len(message) <= MAX_FRAMES:  # the limit and one more, so that the core refuses it
            message.append(frame.bytes if len(frame) <= SMALL_BYTES else frame)
        more = frame.more
    return message


def send_message(socket: zmq.Socket[bytes], frames: Sequence[Frame]) -> None:
    last = len(frames) - 1
    for frame in frames[:last]:
        send(socket, frame, _NOW_MORE, len(frame) < _ZERO_COPY_BYTES)
    frame = frames[last]
    send(socket, frame, NOW, len(frame) < _ZERO_COPY_BYTES)


def buffer_of(frame: Frame) -> Any:
    """Return a frame's bytes without copying them."""
    return frame.buffer if isinstance(frame, zmq.Frame) else frame


def as_bytes(body: Sequence[Frame]) -> list[bytes]:
    """Return the frames as bytes, as users get them."""
    return [frame if isinstance(frame, bytes) else bytes(buffer_of(frame)) for frame in body]
