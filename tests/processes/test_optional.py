"""What becomes of a test whose optional part is missing: skipped, or failed by `--require`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

TESTS = {
    "torch": "tests/processes/test_train_command.py::test_what_cannot_be_trained_is_one_line",
    "ROOT": "tests/lartpc/test_parts.py",
    "shared": "tests/lartpc/test_image.py",
    "matplotlib": (
        "tests/processes/test_ssnet_commands.py::test_a_display_never_replaces_a_data_file"
    ),
}
FILE = {"torch": "tests/clients/test_torch_net.py"}


def outcome(part: str, test: str, *options: str, folder: Path, **environment: str) -> str:
    """The last line of pytest where a part is missing."""
    hide = (
        "import sys, pytest; sys.modules[sys.argv[1]] = None; sys.exit(pytest.main(sys.argv[2:]))"
    )
    command = [sys.executable, "-c", hide, part, test, "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "SSNET_SHARED": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert f"needs {part}" in done.stdout or f"without {part}" in done.stdout or part == "shared"
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("ci", ["", "true"])
@pytest.mark.parametrize("part", TESTS)
def test_a_missing_part_skips_its_tests_whether_or_not_this_is_ci(
    part: str, ci: str, tmp_path: Path
) -> None:
    last = outcome(part, TESTS[part], folder=tmp_path, CI=ci)
    assert "skipped" in last
    assert "failed" not in last
    assert "error" not in last


@pytest.mark.parametrize("names", ["all", "itself"])
@pytest.mark.parametrize("part", TESTS)
def test_a_part_that_is_required_fails_its_tests(part: str, names: str, tmp_path: Path) -> None:
    required = f"--require={part if names == 'itself' else 'all'}"
    assert re.search("failed|error", outcome(part, TESTS[part], required, folder=tmp_path))
    excepted = outcome(part, TESTS[part], required, f"--without={part}", folder=tmp_path)
    assert "skipped" in excepted
    assert not re.search("failed|error", excepted)


def test_a_file_that_needs_a_part_is_an_error_where_it_is_required(tmp_path: Path) -> None:
    for part, path in FILE.items():
        assert "1 skipped" in outcome(part, path, folder=tmp_path)
        assert "1 error" in outcome(part, path, f"--require={part}", folder=tmp_path)


def test_what_needs_torch_has_the_marker_that_selects_it() -> None:
    wanted = re.compile(r"^( *).*optional\(\"torch\"\)", re.MULTILINE)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text()
        for use in wanted.finditer(text):
            marked = "pytestmark = pytest.mark.torch" in text or "def torch() -> Any:" in text
            function = text[: use.start()].rpartition("\n\n\n")[2]
            marked = marked or "@pytest.mark.torch" in function
            assert marked or path == Path(__file__), f"{path}: {use[0]}"


def test_nothing_depends_on_the_variable_ci() -> None:
    asks = re.compile(r"environ\S*[\[(]\"CI\"|\$[({]?CI\b|getenv\(\"CI\"")
    files = [*(ROOT / "tests").rglob("*.py"), ROOT / "Makefile", ROOT / ".ci" / "run"]
    assert asks.search('os.environ.get("CI")')
    assert asks.search("$(if $(CI),")
    assert [
        path for path in files if path != Path(__file__) and asks.search(path.read_text())
    ] == []
