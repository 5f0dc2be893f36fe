"""Real environments that hold this project and some of its requirements, as users have them.

Nothing is downloaded but what builds a wheel: the libraries are links to those that run the tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.optional import missing
from tests.support.processes import ROOT

_SOURCES = (
    "mdp",
    "lartpc",
    "services",
    "clients",
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
_NO_INDEX = "No matching distribution|Could not find a version|Failed to establish|Connection"


class Environment:
    """A virtual environment of its own, without pip."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.folder = folder
        self.python = folder / "bin" / "python"
        [self.packages] = folder.glob("lib/python*/site-packages")

    def link(self, requirements: Iterable[str]) -> None:
        """Bring what requirements need, with all that these need in turn."""
        for name in closure(requirements):
            files = metadata.files(name) or []
            for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
                target = self.packages / top
                if not target.exists():
                    target.symlink_to(str(metadata.distribution(name).locate_file(top)))

    def install(self, what: Path, *options: str) -> None:
        """Install this project, from a wheel or from its sources, and nothing else."""
        pip(f"--python={self.python}", "install", "--no-deps", *options, str(what))

    def run(self, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment, with no way to the checkout."""
        environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
        return subprocess.run(
            [str(self.folder / "bin" / str(words[0])), *map(str, words[1:])],
            cwd=cwd,
            env={**environment, "HOME": str(cwd)},
            capture_output=True,
            text=True,
            timeout=120,
        )


def closure(requirements: Iterable[str]) -> set[str]:
    """The distributions that requirements need, as they are installed here."""
    wanted = [Requirement(text) for text in requirements]
    names: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        if requirement.name in names or (
            requirement.marker and not requirement.marker.evaluate({"extra": ""})
        ):
            continue
        names.add(requirement.name)
        wanted += map(Requirement, metadata.requires(requirement.name) or [])
    return names


def base() -> list[str]:
    """What the project needs without any extra."""
    return [line for line in metadata.requires("ssnetserver") or [] if "extra ==" not in line]


def sources(folder: Path) -> Path:
    """A copy of the project's sources: builds leave files beside them."""
    folder.mkdir()
    for name in _SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def wheel(folder: Path) -> Path:
    """The project's wheel."""
    pip("wheel", "--no-deps", f"--wheel-dir={folder}", str(sources(folder / "sources")))
    [result] = folder.glob("ssnetserver-*.whl")
    return result


def pip(*arguments: str) -> str:
    """Run pip; skip the test where it reaches no package index."""
    command = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode and re.search(_NO_INDEX, done.stderr):
        missing("index", f"needs what builds a wheel ({done.stderr.splitlines()[-1]})")
    assert done.returncode == 0, done.stderr
    return done.stdout
