"""ROOT's own programs: what it reads of a file, and its merger `hadd`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.shared import ROOT as REPOSITORY


def root_says(path: Path) -> dict[str, Any]:
    """What ROOT in a process of its own reads."""
    command = [sys.executable, "tests/support/read_with_root.py", str(path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def hadd(target: Path, *sources: Path) -> None:
    found = find_spec("ROOT")
    program = Path(found.origin).parent / "bin" / "hadd" if found and found.origin else Path()
    command = str(program) if program.is_file() else shutil.which("hadd")
    if command is None:
        pytest.fail("want the hadd that comes with ROOT, got none")
    subprocess.run([command, "-v", "0", str(target), *map(str, sources)], check=True)
