"""The stream between a host of workers and its child process."""

from __future__ import annotations

import os
import socket as os_socket
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from ..wire import Frame
from . import pipe
from .messages import buffer_of

Stream = os_socket.socket


class Channel:
    """A host's end of the stream to its child. It takes whole messages and never blocks."""

    def __init__(self) -> None:
        self._stream, self.childs_end = os_socket.socketpair()
        self._stream.setblocking(False)
        self._decoder = pipe.Decoder()
        self._outbox: deque[memoryview] = deque()
        self.at_end = False  # the child closed its end

    def handle(self) -> int:
        return self._stream.fileno()

    @property
    def is_full(self) -> bool:
        """True if bytes wait to be written, because the child has not read enough."""
        return bool(self._outbox)

    def send(self, frames: Sequence[Frame]) -> None:
        self._outbox.extend(pipe.encode([buffer_of(frame) for frame in frames]))
        self.flush()

    def flush(self) -> None:
        try:
            while self._outbox:
                sent = self._stream.send(self._outbox[0])
                rest = self._outbox.popleft()[sent:]
                if rest:
                    self._outbox.appendleft(rest)
        except BlockingIOError:
            return
        except OSError:
            self._outbox.clear()  # the child died; the sentinel of its process reports that

    def messages(self) -> Iterator[list[bytes]]:
        """Yield the child's messages that have arrived."""
        while not self.at_end:
            try:
                count = self._stream.recv_into(self._decoder.space())
            except BlockingIOError:
                return
            except OSError:
                count = 0
            if count == 0:
                self.at_end = True
                return
            message = self._decoder.advance(count)
            if message is not None:
                yield message

    def close(self) -> None:
        self._stream.close()
        self.childs_end.close()


class ChildEnd:
    """The child's end of the stream to its host. It blocks: the child has nothing else to do."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._decoder = pipe.Decoder()

    def send(self, frames: Sequence[Any]) -> None:
        try:
            for piece in pipe.encode(frames):
                self._stream.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(1)  # the host is gone, so nothing can be reported

    def receive(self) -> list[bytes] | None:
        """Return the next message; None when the host has closed its end."""
        while True:
            try:
                count = self._stream.recv_into(self._decoder.space())
            except ConnectionResetError:
                return None
            if count == 0:
                return None
            message = self._decoder.advance(count)
            if message is not None:
                return message
