"""Runs `mdp` as a user does, and keeps what it prints."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.processes import ROOT


def environment(**more: str) -> dict[str, str]:
    """Ours, without what a user may have set for `mdp`."""
    ours = {name: value for name, value in os.environ.items() if name != "MDP_BROKER"}
    return {**ours, "COLUMNS": "200", **more}


def command(*arguments: object, module: str = "mdp") -> list[str]:
    return [sys.executable, "-W", "error", "-m", module, *map(str, arguments)]


def mdp(
    *arguments: object, code: int = 0, module: str = "mdp", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    done = subprocess.run(
        command(*arguments, module=module),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(**more),
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done
