"""What this process may use of its machine: cores, memory and GPUs."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

_NVIDIA_SMI_S = 10.0  # a driver that starts takes seconds


def cpus() -> int:
    """Return how many cores this process may use, at least 1.

    It is the least of the affinity, the CPU quota of the control groups (rounded up), and, in a
    Slurm job, what the job asked for with --cpus-per-task: not every site binds tasks to cores.
    """
    counts = [_affinity(), *(math.ceil(quota) for quota in _quotas())]
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if "SLURM_JOB_ID" in os.environ and asked.isdigit():
        counts.append(int(asked))
    return max(1, min(counts))


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def memory_bytes() -> int:
    """Return the memory that this process may use: the machine's, or its control group's limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    folders = _control_groups("memory")
    return min([machine, *(limit for folder in folders for limit in _memory_limit(folder))])


def gpus() -> list[str]:
    """Return the visible GPUs of NVIDIA as devices: `cuda:0`, `cuda:1`, ...

    CUDA counts the visible ones from 0. CUDA_VISIBLE_DEVICES says which are visible, where it is
    set, as batch systems do; else all are, as the driver lists them.
    """
    return [f"cuda:{number}" for number in range(_gpu_count())]


def _gpu_count() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return _count_visible(visible)
    nodes = [path for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    return len(nodes) or _listed_by_driver()


def _count_visible(names: str) -> int:
    """Count the devices before the first invalid one, as CUDA does."""
    count = 0
    for name in names.split(","):
        if name.strip() in ("", "-1", "NoDevFiles", "none", "void"):
            break
        count += 1
    return count


def _listed_by_driver() -> int:
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        done = subprocess.run(
            [program, "-L"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_NVIDIA_SMI_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


# Control groups, of version 1 and 2. A limit of a parent holds for all groups in it.


def _control_groups(controller: str) -> Iterator[tuple[Path, bool]]:
    """Yield the folders of this process's groups and their parents, and whether they are v1."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return  # not Linux
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",") if controllers else []
        if names and controller not in names:
            continue
        for root in _roots(names, controller):
            folder = root / path.lstrip("/")
            for parent in (folder, *folder.parents):
                if not parent.is_relative_to(root):
                    break
                yield parent, bool(names)


def _roots(names: list[str], controller: str) -> list[Path]:
    """Return where a hierarchy is mounted: for v1 under its controllers' names, or one of them."""
    top = Path("/sys/fs/cgroup")
    return [top / name for name in dict.fromkeys((",".join(names), controller))] if names else [top]


def _memory_limit(folder: tuple[Path, bool]) -> Iterator[int]:
    path, is_v1 = folder
    try:
        yield int((path / ("memory.limit_in_bytes" if is_v1 else "memory.max")).read_text())
    except (OSError, ValueError):
        return  # the group is not visible here, or its limit is "max"


def _quotas() -> Iterator[float]:
    """Yield the CPU quotas of this process's control groups, in cores."""
    for path, is_v1 in _control_groups("cpu"):
        try:
            if is_v1:
                quota = int((path / "cpu.cfs_quota_us").read_text())
                period = int((path / "cpu.cfs_period_us").read_text())
            else:
                quota, period = map(int, (path / "cpu.max").read_text().split())
        except (OSError, ValueError):
            continue  # the group is not visible here, or its quota is "max"
        if quota > 0 and period > 0:  # v1: -1 is no quota
            yield quota / period
