"""Figures of a loop's process: its memory, its CPU time, its open files, and how late it is."""

from __future__ import annotations

import contextlib
import os
import resource

_WINDOW_S = 30.0
_THREAD = getattr(resource, "RUSAGE_THREAD", None)  # Linux


class LoopMeter:
    """Notes how late a loop is, and reports that with figures of its process.

    `report` must be called in the loop's thread.
    """

    def __init__(self) -> None:
        self._worst_s = self._earlier_s = 0.0  # in this window and in the one before
        self._ends_at = 0.0  # of this window

    def note(self, late_s: float, now: float) -> None:
        """Note that what was due `late_s` ago is done now; a negative number: it was not due."""
        if now >= self._ends_at:
            self._earlier_s = self._worst_s if now < self._ends_at + _WINDOW_S else 0.0
            self._worst_s, self._ends_at = 0.0, now + _WINDOW_S
        if late_s > self._worst_s:
            self._worst_s = late_s

    def report(self) -> dict[str, float]:
        """Return the figures; those that this system does not have are left out.

        lag_s: the longest delay of the last 30 to 60 s. cpu_s, loop_cpu_s: CPU time of the process
        and of the loop's thread. resident_bytes: memory. open_files, max_open_files: descriptors.
        """
        used = resource.getrusage(resource.RUSAGE_SELF)
        figures = {
            "lag_s": max(self._worst_s, self._earlier_s),
            "cpu_s": used.ru_utime + used.ru_stime,
            "max_open_files": float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        }
        if _THREAD is not None:
            thread = resource.getrusage(_THREAD)
            figures["loop_cpu_s"] = thread.ru_utime + thread.ru_stime
        with contextlib.suppress(OSError):  # a system without /proc
            with open("/proc/self/statm") as file:
                figures["resident_bytes"] = float(file.read().split()[1]) * resource.getpagesize()
            figures["open_files"] = float(len(os.listdir("/proc/self/fd")) - 1)  # the listing's own
        return figures
