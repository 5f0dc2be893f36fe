"""What the tests of `lartpc` share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.optional import optional


@pytest.fixture(scope="session")
def root() -> Any:
    """ROOT with LArCV1's classes."""
    optional("ROOT")
    from lartpc.files.root.writing.declared import load_root

    return load_root("larcv1")
