"""The broker with keys of a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.security.holders import FINGERPRINT, Secured
from tests.support import fingerprinted
from tests.support.processes import Processes


@pytest.fixture
def secured(
    processes: Processes, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Secured:
    monkeypatch.setenv(fingerprinted.VARIABLE, FINGERPRINT)
    folder = tmp_path / "site"
    folder.mkdir(mode=0o700)
    return Secured(processes, folder, endpoint)
