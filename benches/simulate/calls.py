"""Each request from the client that asks to its end: it ends once, with the answer to itself."""

from __future__ import annotations

import enum

from mdp.errors import ClientClosed, MDPError, RequestTimeout, ServiceError
from mdp.wire import Frames


class Violation(AssertionError):
    """An invariant does not hold."""


class End(enum.IntEnum):
    """How a call has ended."""

    OPEN = 1
    ANSWERED = 2
    FAILED = 3
    ABANDONED = 4  # cancelled, or its client was killed


class Calls:
    """All calls of a site, by the number of the request."""

    def __init__(self) -> None:
        self._ends = bytearray()
        self._parts: dict[int, int] = {}  # how many parts each open call has got
        self.wants_parts: dict[int, int] = {}  # requests whose answer has parts
        self.must_succeed: set[int] = set()  # asked after the last fault
        self._computed: dict[int, int] = {}  # those: how often
        self._closing: set[int] = set()  # their client is being closed
        self.failures: dict[str, int] = {}  # by kind of error
        self.open = 0
        self.without_sockets = False
        """A process had no descriptors, so calls may fail because of that."""

    def end_of(self, request: int) -> End:
        return End(self._ends[request])

    def count(self, end: End) -> int:
        return self._ends.count(end)

    def submitted(self, request: int) -> None:
        if request >= len(self._ends):
            self._ends.extend(bytes(request + 1 - len(self._ends)))
        assert self._ends[request] == 0
        self._ends[request] = End.OPEN
        self.open += 1

    def computing(self, request: int) -> None:
        """Note that a worker computes a request; without faults, hardly ever twice.

        It is computed twice if the client finds a new broker at the instant at which it asks.
        """
        if request in self.must_succeed:
            count = self._computed[request] = self._computed.get(request, 0) + 1
            if count > 2:
                raise Violation(f"request {request}, asked after the last fault, is computed again")

    def part(self, request: int, body: Frames) -> None:
        self._want_open(request, "part")
        number = self._parts.get(request, 0)
        if body != [b"part", request.to_bytes(8, "big"), b"%d" % number]:
            raise Violation(f"request {request} wants part {number}, got {body}")
        self._parts[request] = number + 1

    def answered(self, request: int, body: Frames) -> None:
        self._want_open(request, "answer")
        if body != [b"answer", request.to_bytes(8, "big")]:
            raise Violation(f"request {request} got the answer {body}")
        parts, wanted = self._parts.pop(request, 0), self.wants_parts.get(request, 0)
        if parts != wanted:
            raise Violation(f"request {request} was answered with {parts} of {wanted} parts")
        self._end(request, End.ANSWERED)

    def failed(self, request: int, error: MDPError) -> None:
        self._want_open(request, "error")
        is_closed = request in self._closing and isinstance(error, ClientClosed)
        is_socketless = self.without_sockets and type(error) is MDPError
        if not (is_closed or is_socketless or isinstance(error, (RequestTimeout, ServiceError))):
            raise Violation(f"request {request} failed with {error!r}")
        if request in self.must_succeed:
            raise Violation(f"request {request}, asked after the last fault, failed: {error}")
        kind = type(error).__name__
        self.failures[kind] = self.failures.get(kind, 0) + 1
        self._end(request, End.FAILED)

    def closing(self, request: int) -> None:
        """Note that the client of a call is being closed."""
        self._closing.add(request)

    def abandoned(self, request: int) -> None:
        self._end(request, End.ABANDONED)

    def _want_open(self, request: int, what: str) -> None:
        if self._ends[request] != End.OPEN:
            end = self.end_of(request).name.lower()
            raise Violation(f"request {request} is {end} and got one more {what}")

    def _end(self, request: int, end: End) -> None:
        self._ends[request] = end
        self._parts.pop(request, None)
        self.open -= 1
