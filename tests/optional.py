"""Libraries that some tests need. Missing, they skip a test; where CI is set they fail it."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

import pytest

INSTALLED_BY = {"torch": "'ssnetserver[train]'", "ROOT": "'root>=0.1a12'"}


def optional(name: str) -> Any:
    """The module; skips the test, saying what to install, where it is missing."""
    if os.environ.get("CI"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ROOT's wheel says at its import that it is new
            return importlib.import_module(name)
    wanted = INSTALLED_BY.get(name, "'ssnetserver[all]'")
    return pytest.importorskip(name, reason=f"needs {name}: pip install {wanted}")
