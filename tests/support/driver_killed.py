"""A driver that is killed: `python -m tests.support.driver_killed DIR BROKER STEP TIMES`.

It is killed after the step of publishing with this name has happened so often.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from clients.campaign.driving.driver import drive
from clients.campaign.driving.task import Task


def main() -> None:
    folder, broker, step, times = sys.argv[1:]
    left = int(times)

    def after(name: str) -> None:
        nonlocal left
        left -= name == step
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    drive(Task(Path(folder), None), broker, after=after)


if __name__ == "__main__":
    main()
