"""The units in docs/deploy: systemd's own checks of them, where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import optional
from tests.support.commands_of_mdp import mdp
from tests.support.processes import ROOT

DEPLOY = ROOT / "docs" / "deploy"
ANALYZE = shutil.which("systemd-analyze")


def analysed(*arguments: str) -> str:
    if ANALYZE is None:
        optional.missing("systemd", "needs systemd-analyze")
    done = subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["mdp-broker", "mdp-metrics", "mdp-broker-user"])
def test_systemd_knows_every_line_of_a_unit(name: str, tmp_path: Path) -> None:
    unit = tmp_path / f"{name}.service"
    text = (DEPLOY / unit.name).read_text()
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    about = [line for line in analysed("verify", str(unit)).splitlines() if unit.name in line]
    assert about == []


@pytest.mark.parametrize("name", ["mdp-broker", "mdp-metrics"])
def test_the_units_of_the_system_are_little_exposed(name: str) -> None:
    text = analysed("security", "--offline=true", str(DEPLOY / f"{name}.service"))
    [level] = re.findall(r"exposure level for \S+: ([\d.]+)", text)
    assert float(level) < 2.5


@pytest.mark.parametrize("name", ["broker.toml", "container.toml"])
def test_the_files_of_options_are_right(name: str) -> None:
    path = DEPLOY / name
    options = ["--contact", "/nowhere/broker.json"] if name == "container.toml" else []
    assert str(path) in mdp("broker", "--config", path, *options, "--show-config").stdout
