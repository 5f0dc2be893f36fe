"""Settings of this process's memory allocator (glibc); without glibc nothing changes."""

from __future__ import annotations

import ctypes


def keep_memory() -> None:
    """Let glibc keep freed memory; else the kernel spends half the time clearing new pages."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another libc, which has no such option
    no_trim, no_mmap = (-1, 2**31 - 1), (-4, 0)  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    for option, value in (no_trim, no_mmap):
        mallopt(option, value)
