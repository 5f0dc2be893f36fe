"""The `ssnet` command in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.support.processes import ROOT


def ssnet(
    *arguments: object, code: int = 0, without: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `ssnet`; `without`: a module that cannot be imported there."""
    hide = f"import sys; sys.modules[{without!r}] = None; " if without else ""
    program = hide + "from clients.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The only line on stderr besides those of progress; nothing on stdout."""
    assert done.stdout == ""
    progress = re.compile(r"\d{4}-\d\d-\d\d\S* (ssnet \w+: |(\S+ )?INFO )")
    [line] = [line for line in done.stderr.splitlines() if not progress.match(line)]
    assert line.startswith("ssnet: ")
    return line
