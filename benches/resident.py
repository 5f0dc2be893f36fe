"""What this process holds (Linux)."""

from __future__ import annotations

import os
from pathlib import Path


def resident_bytes() -> int:
    """The memory that is in use now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
