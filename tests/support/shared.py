"""The test data beside the project (`../shared`, or `SSNET_SHARED`). None of it is copied here."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.optional import excluded, missing

ROOT = Path(__file__).resolve().parents[2]


def shared() -> Path:
    """The directory that holds the test data, whether or not it is there."""
    return Path(os.environ.get("SSNET_SHARED") or ROOT.parent / "shared")


def data(name: str) -> Path:
    """A data file; skips the test if it is absent, or fails it by `--require shared`."""
    return _shared_file(Path("data", name))


def case(name: str, folder: str = "files") -> Path:
    """A file with one odd property; skips or fails the test as `data` does."""
    return _shared_file(Path("cases", folder, name))


def _shared_file(name: Path) -> Path:
    path = shared() / name
    if "shared" in excluded or not path.exists():
        missing("shared", f"needs {name}")
    return path
