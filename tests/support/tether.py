"""A tether: every process that a run of pytest starts ends with it, also by SIGKILL (Linux).

`hold` puts a mark into pytest's environment, which each process that it starts inherits, as do the
processes that these start. Then it starts a guard: this file, as a program in a session of its own.
When pytest has ended, the guard kills every process that has the mark.

A process that is forked without a program of its own does not have the mark; it must ask the kernel
to be killed with its parent (`mdp.worker.child.die_with`).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import uuid

_MARK = "PYTEST_TETHER"
_GRACE_S = 1.0  # multiprocessing's resource tracker removes semaphores, and ends by itself
_LOOK_S = 0.1
_LOOKS = 3  # a process that is just being started gets its mark a moment later


def hold() -> None:
    """Tether what this process starts from now on. Does nothing where there is no /proc."""
    if sys.platform != "linux":
        return
    unmarked = {name: value for name, value in os.environ.items() if name != _MARK}
    os.environ[_MARK] = uuid.uuid4().hex
    command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), os.environ[_MARK]]
    nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    os.posix_spawn(sys.executable, command, unmarked, file_actions=nowhere, setsid=True)


def _guard(pid: int, mark: str) -> None:
    """Wait for the end of our parent, and kill what it leaves."""
    if sys.platform != "linux":
        return
    try:
        parent = os.pidfd_open(pid)
    except ProcessLookupError:
        pass  # it has ended already
    else:
        if os.getppid() == pid:
            select.select([parent], [], [])
    time.sleep(_GRACE_S)
    looks = 0
    while looks < _LOOKS:
        looks = 0 if _kill_marked(f"{_MARK}={mark}".encode()) else looks + 1
        time.sleep(_LOOK_S)


def _kill_marked(mark: bytes) -> bool:
    """Whether there was a process to kill; zombies have no environment."""
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    killed = [pid for pid in pids if _kill_if_marked(pid, mark)]
    return bool(killed)


def _kill_if_marked(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as environment:
            if mark not in environment.read().split(b"\0"):
                return False
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return False  # it has ended, or is another user's
    return True


if __name__ == "__main__":
    _guard(int(sys.argv[1]), sys.argv[2])
