"""What the tests of `lartpc` share."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import pytest

NO_ROOT = "no ROOT, which writes LArCV1 files: pip install 'root>=0.1a12'"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs ROOT where there is none; under CI those tests run, and fail."""
    if find_spec("ROOT") is None and not os.environ.get("CI"):
        for item in items:
            if "root" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=NO_ROOT))


@pytest.fixture(scope="session")
def root() -> Any:
    """ROOT with LArCV1's classes."""
    from lartpc.larcv1_root import load_root

    return load_root()
