"""Notes that workers leave: which process has a request in hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import until


class Holder(NamedTuple):
    """The processes that have the request in hand."""

    child: int
    host: int


def holder(note: Path) -> Holder:
    """Wait until a worker has the request in hand that leaves this note."""
    until(note.is_symlink, "a worker has the request in hand")
    child, host = os.readlink(note).split()
    return Holder(int(child), int(host))
