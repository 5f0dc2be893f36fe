"""What this process and all that descend from it have computed (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

_PARENT, _USER, _SYSTEM = 1, 11, 12  # of proc(5)'s stat, counted from behind the command's name


def computed_s() -> float:
    """Seconds of CPU of the processes that live now; take the difference of two."""
    parents, ticks = dict[int, int](), dict[int, int]()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
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
