"""How this process's memory is kept. Refuses nothing: without glibc it stays as it is."""

from __future__ import annotations

import ctypes


def keep_memory() -> None:
    """Let glibc keep what a step frees: clearing its pages anew takes the kernel half the time."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another libc, which does as it likes
    no_trim, no_mmap = (-1, 2**31 - 1), (-4, 0)  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    for option, value in (no_trim, no_mmap):
        mallopt(option, value)
