"""What the tests of `lartpc` share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.optional import optional
from tests.support.real_larcv import RealLArCV, real_larcv


@pytest.fixture(scope="session")
def root() -> Any:
    """ROOT with LArCV1's classes."""
    optional("ROOT")
    from lartpc.files.root_writing.declared import load_root

    return load_root("larcv1")


@pytest.fixture(scope="session")
def larcv1() -> RealLArCV:
    """The real LArCV1, in processes of its own."""
    return real_larcv("larcv1")


@pytest.fixture(scope="session")
def larcv2() -> RealLArCV:
    """The real LArCV2, in processes of its own."""
    return real_larcv("larcv2")


@pytest.fixture(scope="session")
def larcv3() -> RealLArCV:
    """The real LArCV3, in processes of its own."""
    return real_larcv("larcv3")
