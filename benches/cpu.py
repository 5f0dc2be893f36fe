"""The CPU time of this process and all its descendants (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

_PARENT, _USER, _SYSTEM = (
    1,
    11,
    12,
)  # fields of /proc/PID/stat, proc(5), counted from 0 after the command's name


def computed_s() -> float:
    """Return the CPU seconds, user and system, of those processes that run now.

    Only the difference of two calls is a measurement.
    """
    parents, ticks = dict[int, int](), dict[int, int]()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # the process ended meanwhile
        parents[int(entry.name)] = int(fields[_PARENT])
        ticks[int(entry.name)] = int(fields[_USER]) + int(fields[_SYSTEM])
    ours = sum(spent for pid, spent in ticks.items() if _descends(pid, parents))
    return ours / os.sysconf("SC_CLK_TCK")


def _descends(pid: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        if pid == os.getpid():
            return True
        pid = parents[pid]
    return False
