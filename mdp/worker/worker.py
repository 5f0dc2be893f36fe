"""What users subclass to serve. It knows no socket: `sockets.serve_workers` runs it."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

Body = Sequence[bytes | bytearray | memoryview]


class Worker(ABC):
    """Override `handle`, and `setup` where there is something to load.

    Both run in a process of their own, one call at a time, so they may hold the GIL, take as
    long as they need and even crash: the host process keeps the heartbeats, and the broker gives
    the request to another worker.
    """

    fingerprint: str = ""
    """What decides the answers besides the requests: a hash of a network's weights, say.

    Known when `setup()` has returned; at most 255 bytes. The broker lets only workers of one
    fingerprint serve a name together. Empty: this worker does not say, like foreign ones.
    """

    def setup(self) -> None:  # noqa: B027  (most workers have nothing to load)
        """Load what `handle` needs. The worker takes requests only after this returned."""

    @abstractmethod
    def handle(self, frames: list[bytes]) -> Body | Iterator[Body]:
        """Answer a request.

        Return the reply's frames, or yield lists of frames: each is sent as a PARTIAL, the last
        one as the FINAL. Requests may be handed out more than once (a worker may die), so the
        same request must give the same parts in the same order.

        Errors: raise `Refused` for an input that you do not take (400); anything else that is
        raised reaches the client as error 500 with its message, and the worker lives on.
        """


def load(module: str, name: str) -> Worker:
    """The worker that MODULE:CLASS names."""
    made = getattr(importlib.import_module(module), name)()
    if not isinstance(made, Worker):
        raise TypeError(f"want a subclass of mdp.Worker, got {module}:{name}")
    return made
