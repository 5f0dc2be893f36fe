"""What the tests of `lartpc` share."""

from __future__ import annotations

import os
from typing import Any

import pytest

from lartpc import LibraryMissing


@pytest.fixture(scope="session")
def root() -> Any:
    """ROOT with LArCV1's classes; skips where it is not installed, fails under CI."""
    from lartpc.larcv1_root import load_root

    try:
        return load_root()
    except LibraryMissing as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs ROOT: {error}")
        pytest.skip(f"no ROOT: {error}")
