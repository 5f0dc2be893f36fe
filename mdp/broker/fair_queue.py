"""The queue of a service: its clients are served in turn. Pure.

Each client has a queue of its own, first in, first out. The clients take turns (round robin), so a
client with one request waits for at most one request of each other client, whatever they have
queued. Interactive clients take their turns before the others; but after `INTERACTIVE_IN_A_ROW` of
their requests one request of another client is served, if there is one. Every operation takes
constant time, whatever is queued, except `heads` and `lengths`, which look at each client.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, Protocol, TypeVar

INTERACTIVE_IN_A_ROW = 8


class Client(Hashable, Protocol):
    """A client that takes turns."""

    @property
    def interactive(self) -> bool: ...


C = TypeVar("C", bound=Client)
R = TypeVar("R", bound=Hashable)
_Turns = OrderedDict[C, OrderedDict[R, None]]


class FairQueue(Generic[C, R]):
    """The queued requests of one service; `length` is their number."""

    __slots__ = ("_in_a_row", "_interactive", "_others", "length")

    def __init__(self) -> None:
        self._interactive: _Turns[C, R] = OrderedDict()  # the client whose turn is next comes first
        self._others: _Turns[C, R] = OrderedDict()
        self._in_a_row = 0  # interactive requests while another client waited
        self.length = 0

    def queued_by(self, client: C) -> int:
        queue = self._turns(client).get(client)
        return 0 if queue is None else len(queue)

    def append(self, client: C, request: R) -> None:
        """Add a new request at the end of its client's queue."""
        self._queue(client)[request] = None
        self.length += 1

    def put_back(self, client: C, request: R) -> None:
        """Add a request that a worker has lost: it is the next one, at its client's next turn."""
        queue = self._queue(client)
        queue[request] = None
        queue.move_to_end(request, last=False)
        self._turns(client).move_to_end(client, last=False)
        self.length += 1

    def remove(self, client: C, request: R) -> None:
        """Remove a request that is over before its turn."""
        turns = self._turns(client)
        queue = turns[client]
        del queue[request]
        if not queue:
            del turns[client]
        self.length -= 1

    def pop(self) -> R:
        """Remove and return the next request. Raises `KeyError` if the queue is empty."""
        turns = self._whose_turn()
        client, queue = next(iter(turns.items()))
        request, _ = queue.popitem(last=False)
        if queue:
            turns.move_to_end(client)
        else:
            del turns[client]
        self.length -= 1
        return request

    def heads(self) -> Iterator[R]:
        """Yield the next request of each client."""
        for turns in (self._interactive, self._others):
            for queue in turns.values():
                yield next(iter(queue))

    def lengths(self) -> Iterator[tuple[C, int]]:
        """Yield each client that has requests in the queue, and their number."""
        for turns in (self._interactive, self._others):
            for client, queue in turns.items():
                yield client, len(queue)

    def _whose_turn(self) -> _Turns[C, R]:
        if not self.length:
            raise KeyError("the queue is empty")
        if not self._interactive or not self._others:
            self._in_a_row = 0
            return self._interactive or self._others
        if self._in_a_row < INTERACTIVE_IN_A_ROW:
            self._in_a_row += 1
            return self._interactive
        self._in_a_row = 0
        return self._others

    def _turns(self, client: C) -> _Turns[C, R]:
        return self._interactive if client.interactive else self._others

    def _queue(self, client: C) -> OrderedDict[R, None]:
        turns = self._turns(client)
        queue = turns.get(client)
        if queue is None:
            queue = turns[client] = OrderedDict()
        return queue
