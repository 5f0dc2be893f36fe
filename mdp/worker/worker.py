"""The class that users subclass to write a service. `worker_loop.serve_workers` runs it.

`Worker` gets frames of bytes; `arrays.array_worker.ArrayWorker` gets NumPy arrays. `AnyWorker` is
what both have in common.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

Body = Sequence[bytes | bytearray | memoryview]


class AnyWorker(ABC):
    """What `Worker` and `ArrayWorker` have in common. Subclass one of these two."""

    fingerprint: str = ""
    """Identifies what the answers depend on besides the requests: a hash of weights, say.

    Set it in `setup()` at the latest; at most 255 bytes. Only workers with the same fingerprint
    may serve a name together. Empty: no fingerprint, as foreign workers have none.
    """

    regular: bool = False
    """True if each request takes about as long as any other, as for images of similar size.

    Then the broker takes away a request that takes far longer (`mdp broker --time-limit auto`), and
    the process that computes it is killed and started again.
    """

    threads: int = 0
    """How many threads `handle` uses, and the device that computes. The broker shows them (`mdp
    services --by-worker`). Set them in `setup()` at the latest. 0 and empty: not known."""
    device: str = ""

    def setup(self) -> None:  # noqa: B027  (most workers have nothing to load)
        """Load what `handle` needs. The worker gets requests only after this has returned."""

    @classmethod  # noqa: B027  (`Worker` has nothing to check)
    def check_class(cls) -> None:
        """Raise `TypeError` if the class cannot serve. It is called before `setup`."""

    @abstractmethod
    def handle_frames(self, frames: list[bytes]) -> Body | Iterator[Body]:
        """Call `handle` with the request, and return the frames of what it returns."""


class Worker(AnyWorker):
    """Base class: override `handle`, and `setup` if there is something to load.

    Both run in a separate process, one call at a time. So they may hold the GIL and take as long
    as they need: another process, the host, sends the heartbeats. If they crash, the broker gives
    the request to another worker. If nobody waits for the answer any more, `handle` has 10 s to
    finish; then its process is killed and started again.
    """

    def handle_frames(self, frames: list[bytes]) -> Body | Iterator[Body]:
        return self.handle(frames)

    @abstractmethod
    def handle(self, frames: list[bytes]) -> Body | Iterator[Body]:
        """Answer a request.

        Return the reply's frames, or yield lists of frames: the last list is sent as the FINAL,
        the others as PARTIALs. The same request must give the same parts in the same order,
        because it may be given to another worker after this one dies.

        Errors: raise `Refused` for an input that you do not accept (400). Any other exception
        reaches the client as error 500 with its message, and the worker goes on.
        """


def load(module: str, name: str) -> AnyWorker:
    """Create the worker that MODULE:CLASS names."""
    worker = getattr(importlib.import_module(module), name)()
    if not isinstance(worker, AnyWorker):
        raise TypeError(f"want a subclass of mdp.Worker or mdp.ArrayWorker, got {module}:{name}")
    return worker
