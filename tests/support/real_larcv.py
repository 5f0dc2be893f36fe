"""Processes with a real LArCV (1, 2 or 3), which read and write files as the tests ask them.

`tests/support/build_larcv.sh` builds the libraries; a test whose library is not built is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.optional import excluded, missing
from tests.support.shared import ROOT

SCRIPT = ROOT / "tests" / "support" / "build_larcv.sh"
LIMIT_S = 240


@cache
def folder_of(name: str) -> Path:
    """The folder of a library for PYTHONPATH, whether or not it is built."""
    environment = {**os.environ, "PYTHON": sys.executable}
    command = ["bash", str(SCRIPT), "where", name]
    return Path(subprocess.check_output(command, env=environment, text=True).strip())


@dataclass(frozen=True)
class RealLArCV:
    """A library by its name: larcv1, larcv2 or larcv3."""

    name: str
    folder: Path

    @property
    def _module(self) -> str:
        return f"tests.lartpc.real.{self.name}_side"

    def run(self, *jobs: dict[str, Any], before: str = "") -> str:
        """Do jobs (see `tests/lartpc/real/jobs.py`) in one process, and return what it printed.

        `before`: lines of Python that the process runs before it loads the library.
        """
        path = os.pathsep.join([str(self.folder), str(ROOT)])
        program = f"import runpy\n{before}\nrunpy.run_module({self._module!r}, run_name='__main__')"
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=json.dumps(jobs),
            env={**os.environ, "PYTHONPATH": path},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-4000:]}"
        return done.stdout


def real_larcv(name: str) -> RealLArCV:
    """Return the library; without it, skip the running test, or fail it by `--require`."""
    for part in (name, *(["ROOT"] if name != "larcv3" else [])):
        if part in excluded:
            missing(part, f"runs without {part}")
    folder = folder_of(name)
    if not folder.is_dir():
        missing(name, f"needs {name}, got no {folder}")
    return RealLArCV(name, folder)
