"""MDP/0.1 as https://rfc.zeromq.org/spec/7/ writes it, with plain pyzmq: nothing here is ours.

`python -m tests.interop.rfc7 ENDPOINT SERVICE` runs the worker.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import NoReturn

import zmq

from tests.interop.answers import parts_of
from tests.support.keys import new_context

HEARTBEAT_S = 0.2
LIVENESS = 3


class Client:
    """The RFC's synchronous client: a REQ socket, which adds and strips the empty frame."""

    def __init__(self, endpoint: str) -> None:
        self._context = new_context()
        self._socket = self._context.socket(zmq.REQ)
        self._socket.linger = 0
        self._socket.rcvtimeo = 20_000
        self._socket.connect(endpoint)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._context.term()

    def wait_at_most(self, seconds: float) -> None:
        """For an answer; without this for 20 s."""
        self._socket.rcvtimeo = int(1000 * seconds)

    def request(self, service: bytes, body: list[bytes]) -> list[bytes]:
        self._socket.send_multipart([b"MDPC01", service, *body])
        header, served_by, *answer = self._socket.recv_multipart()
        assert (header, served_by) == (b"MDPC01", service)
        return answer


class Worker:
    """The RFC's worker: a DEALER socket, heartbeats from its one loop, no threads."""

    def __init__(self, endpoint: str, service: bytes) -> None:
        self._context = new_context()
        self._endpoint = endpoint
        self._service = service
        self._connect()

    def _connect(self) -> None:
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(self._endpoint)
        self._send(b"\x01", self._service)
        self._heard_at = time.monotonic()

    def _reconnect(self, why: str) -> None:
        print(why, file=sys.stderr, flush=True)
        self._socket.close()
        self._connect()

    def _send(self, command: bytes, *frames: bytes) -> None:
        self._socket.send_multipart([b"", b"MDPW01", command, *frames])
        self._sent_at = time.monotonic()

    def serve(self) -> NoReturn:
        while True:
            if self._socket.poll(int(HEARTBEAT_S * 500)):
                self._hear(*self._socket.recv_multipart())
            now = time.monotonic()
            if now > self._heard_at + LIVENESS * HEARTBEAT_S:
                self._reconnect("the broker is silent")
            if now > self._sent_at + HEARTBEAT_S:
                self._send(b"\x04")

    def _hear(self, empty: bytes, header: bytes, command: bytes, *frames: bytes) -> None:
        assert (empty, header) == (b"", b"MDPW01")
        self._heard_at = time.monotonic()
        if command == b"\x02":
            client, delimiter, *body = frames
            assert delimiter == b""
            reply = [frame for part in parts_of(body) for frame in part]
            self._send(b"\x03", client, b"", *reply)
        elif command == b"\x05":
            self._reconnect("the broker sent DISCONNECT")
        else:
            assert (command, frames) == (b"\x04", ())


if __name__ == "__main__":
    Worker(sys.argv[1], sys.argv[2].encode()).serve()
