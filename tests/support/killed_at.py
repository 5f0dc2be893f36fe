"""Runs `ssnet` in this process, and kills the process at one execution of one line of its code.

`python -m tests.support.killed_at FOLDER record FILE ARGUMENTS...` writes how often each line of
the files below FOLDER was executed; `... FOLDER clients/x.py:41:3 ARGUMENTS...` ends in a SIGKILL
just before line 41 of that file is executed for the third time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from types import FrameType
from typing import Any

from tests.support.processes import ROOT


def main() -> None:
    folder, what, *arguments = sys.argv[1:]
    counts: Counter[str] = Counter()
    record = None
    if what == "record":
        record, *arguments = arguments
    place, _, times = what.rpartition(":")
    prefix, start = str(ROOT / folder), len(str(ROOT)) + 1

    def lines(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            name = f"{frame.f_code.co_filename[start:]}:{frame.f_lineno}"
            counts[name] += 1
            if name == place and counts[name] == int(times):
                os.kill(os.getpid(), signal.SIGKILL)
        return lines

    def calls(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        its = code.co_filename.startswith(prefix) and code.co_name != "<module>"
        return lines(frame, event, _) if its else None

    from clients.cli import main as command

    sys.argv = ["ssnet", *arguments]
    threading.settrace(calls)
    sys.settrace(calls)
    try:
        command()
    finally:
        sys.settrace(None)
        if record is not None:
            with open(record, "w") as file:
                json.dump(counts, file)


if __name__ == "__main__":
    main()
