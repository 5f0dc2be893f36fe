"""The script that builds a real LArCV for the tests: what it says where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.real_larcv import SCRIPT


def run(cache: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: os.environ[name] for name in os.environ if not name.startswith("LARCV")},
        "XDG_CACHE_HOME": str(cache),
        "PYTHON": sys.executable,
        **variables,
    }
    return subprocess.run(
        ["bash", str(SCRIPT), *words], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", ["larcv1", "larcv2", "larcv3"])
def test_where_prints_one_folder_in_the_cache_and_builds_nothing(name: str, tmp_path: Path) -> None:
    done = run(tmp_path, "where", name)
    folder = Path(done.stdout.strip())
    assert (done.returncode, folder.parent) == (0, tmp_path / "ssnetserver")
    assert folder.name.startswith(f"{name}-")
    assert list(tmp_path.iterdir()) == []


def test_what_is_built_is_found_again(tmp_path: Path) -> None:
    built = Path(run(tmp_path, "where", "larcv1").stdout.strip())
    built.mkdir(parents=True)
    assert run(tmp_path, "larcv1").stdout.strip() == str(built)


@pytest.mark.parametrize("words", [(), ("larcv4",), ("larcv1", "larcv2"), ("where",)], ids=str)
def test_another_name_is_an_error(words: tuple[str, ...], tmp_path: Path) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == 2
    assert "want larcv1, larcv2 or larcv3" in done.stderr


@pytest.mark.parametrize(("name", "number"), [("larcv1", 1), ("larcv2", 2)])
def test_without_its_sources_it_says_which_variable_names_them(
    name: str, number: int, tmp_path: Path
) -> None:
    done = run(tmp_path / "cache", name)
    assert done.returncode == 1
    assert f"LARCV{number}_SOURCE" in done.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run(tmp_path / "cache", name, **{f"LARCV{number}_SOURCE": str(empty)})
    assert done.returncode != 0
    left = [path for path in (tmp_path / "cache" / "ssnetserver").iterdir() if path.is_dir()]
    assert left == []
