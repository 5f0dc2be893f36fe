"""The test data beside the project (`../shared`, or `SSNET_SHARED`). None of it is copied here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared() -> Path:
    """The directory that holds the test data, whether or not it is there."""
    return Path(os.environ.get("SSNET_SHARED") or ROOT.parent / "shared")


def data(name: str) -> Path:
    """A data file; skips the test, saying so, where the file is absent."""
    return _shared_file(Path("data", name))


def case(name: str) -> Path:
    """A file with one odd property; skips the test, saying so, where the file is absent."""
    return _shared_file(Path("cases", "files", name))


def _shared_file(name: Path) -> Path:
    path = shared() / name
    if not path.exists():
        pytest.skip(f"no {name}: want ../shared beside the checkout, or SSNET_SHARED")
    return path
