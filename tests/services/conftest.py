"""Networks that several tests run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.shared import data, shared


@pytest.fixture(scope="session")
def ssnet2018(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The real network's prototxt, and the seeded weights of its golden file (62 MB)."""
    prototxt = data("dllee_ssnet2018.prototxt")
    weights = tmp_path_factory.mktemp("ssnet2018") / "seeded.caffemodel"
    tool = shared() / "tools" / "make_ssnet2018_weights.py"
    subprocess.run([sys.executable, str(tool), str(weights)], check=True, timeout=120)
    return prototxt, weights
