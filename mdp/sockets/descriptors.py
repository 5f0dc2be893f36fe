"""How many files this process may open, and what to say when there are too few."""

from __future__ import annotations

import errno
import os
import resource

import zmq

from ..errors import MDPError

CONTEXT_DESCRIPTORS = 16  # a context with its threads and one connected socket opens 10
_UNLIMITED, _USUALLY_OPEN = 1 << 20, 32  # descriptors


def descriptor_limit() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def free_descriptors() -> int:
    """Return how many more files this process may open; an estimate where there is no /proc."""
    try:
        opened = len(os.listdir("/proc/self/fd"))
    except OSError:
        opened = _USUALLY_OPEN
    return descriptor_limit() - opened


def require_descriptors(count: int = CONTEXT_DESCRIPTORS) -> None:
    """Raise `MDPError` if this process may not open `count` more files.

    libzmq aborts the process if the creation of a context finds too few.
    """
    opened: list[int] = []
    try:
        for _ in range(count):
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        raise no_descriptors(error) from None
    finally:
        for descriptor in opened:
            os.close(descriptor)


def no_descriptors(error: OSError | zmq.ZMQError) -> MDPError:
    """Return the error of a socket that could not be opened, with what the user can do."""
    reason = error.strerror or str(error)
    if error.errno not in (errno.EMFILE, errno.ENFILE):
        return MDPError(f"cannot open a socket: {reason}")
    return MDPError(
        f"cannot open a socket: {reason} (`ulimit -n` is {descriptor_limit()}): close the clients"
        " that are not needed, or allow fewer requests in flight"
    )
