"""Encode messages as a byte stream between a host and its child, and decode them. Pure.

A message is the number of its frames, the length of each, and the frames. Numbers are unsigned, 8
bytes, big endian. Both ends are this code, on one machine, so the lengths are not checked.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Sequence

Buffer = bytes | bytearray | memoryview


def flat(view: memoryview) -> memoryview | bytes:
    """Return the bytes of a buffer of any shape, copied only if it is empty or not contiguous."""
    return view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes()


def encode(frames: Sequence[Buffer]) -> list[memoryview]:
    """Return the pieces to write for one message; frames are not copied."""
    lengths = [len(frame) for frame in frames]
    head = struct.pack(f">{1 + len(lengths)}Q", len(lengths), *lengths)
    return [memoryview(head), *(memoryview(frame) for frame in frames if len(frame))]


class Decoder:
    """Decodes a stream: read bytes into `space()`, then call `advance()` with their number."""

    def __init__(self) -> None:
        self._message: list[bytes] | None = None
        self._pieces = self._read()
        self._want(next(self._pieces))

    def space(self) -> memoryview:
        """Return the buffer for the next bytes; it is never empty."""
        return self._view[self._filled :]

    def advance(self, count: int) -> list[bytes] | None:
        """Accept `count` bytes that are in `space()` now; return the message that they complete."""
        self._filled += count
        self._message = None
        while self._filled == len(self._target) and self._message is None:
            self._want(self._pieces.send(self._target))
        return self._message

    def _want(self, size: int) -> None:
        self._target = bytearray(size)
        self._view = memoryview(self._target)
        self._filled = 0

    def _read(self) -> Generator[int, bytearray, None]:
        """Yield the size of each piece in turn, and receive that piece."""
        while True:
            count = int.from_bytes((yield 8), "big")
            lengths = struct.unpack(f">{count}Q", (yield 8 * count))
            frames = []
            for length in lengths:
                frames.append(bytes((yield length)))
            self._message = frames
