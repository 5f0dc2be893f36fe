"""The forge's CI runs the steps of `.ci/run`, which are all that a release needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
SITE = "tests/slurm/site.sh"
TORCH = "--without torch"


@pytest.fixture
def make_commands(tmp_path: Path) -> list[list[str]]:
    """What each step of the workflow asks `make` for, and last what `.ci/run` alone asks for."""
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "make $@"\n')
    make.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environment |= {"LARCV1_SOURCE": "", "LARCV2_SOURCE": "a checkout"}

    def commands(*steps: str) -> list[str]:
        run = ["bash", str(ROOT / ".ci" / "run"), *steps]
        return subprocess.check_output(run, env=environment, text=True).splitlines()

    return [*map(commands, steps_of(WORKFLOW.read_text())), commands()]


def steps_of(workflow: str) -> list[str]:
    [steps] = re.findall(r"^ +step: \[(.*)\]$", workflow, re.MULTILINE)
    [run] = re.findall(r"^ +- run: (.*)$", workflow, re.MULTILINE)
    assert run == "bash .ci/run ${{ matrix.step }}"
    return [step.strip() for step in steps.split(",")]


def test_the_workflow_runs_every_step_of_ci_run(make_commands: list[list[str]]) -> None:
    *steps, everything = make_commands
    assert sorted([*(line for step in steps for line in step), "make venv"]) == sorted(everything)


def test_no_part_may_be_missing_but_the_shared_data_and_the_larcvs(
    make_commands: list[list[str]],
) -> None:
    _, tools, test, install, test_slurm, test_torch, *others = make_commands[-1]
    assert tools == "make install-tools install-caffe"
    assert [f"--without larcv{n}" in test for n in (1, 2, 3)] == [True] * 3
    assert install == "make install-slurm"
    assert test.startswith("make test PYTEST=--require all")
    assert TORCH in test
    assert test_slurm.startswith("make test-slurm PYTEST=--require all")
    assert TORCH in test_slurm
    assert test_torch.startswith("make test-torch PYTEST=--require all")
    assert TORCH not in test_torch
    assert others == ["make simulate SEEDS=1000", "make demo", "make docs"]


FAKE_MAKE = """#!/bin/bash
echo "make $@" >> {calls}
[[ "$*" == *--last-failed* ]] && exit {again}
[ "$1" = install-tools ] && exit # and the others of its line
cache=$(sed 's/.*cache_dir=\\([^ ]*\\).*/\\1/' <<< "$*")
mkdir -p "$cache/v/cache"
for i in $(seq {failures}); do echo "test_x.py::test_$i" >> "$cache/v/cache/lastfailed"; done
exit 2
"""


@pytest.mark.parametrize(
    ("failures", "again", "code", "calls"),
    [(0, 0, 1, 2), (1, 0, 0, 3), (5, 0, 0, 3), (5, 2, 2, 3), (6, 0, 1, 2)],
)
def test_a_few_tests_that_fail_run_once_more_and_must_pass_then(
    tmp_path: Path, failures: int, again: int, code: int, calls: int
) -> None:
    noted = tmp_path / "calls"
    make = tmp_path / "make"
    make.write_text(FAKE_MAKE.format(calls=noted, failures=failures, again=again))
    make.chmod(0o755)
    ci = tmp_path / ".ci"
    ci.mkdir()
    script = (ROOT / ".ci" / "run").read_text()
    (ci / "run").write_text(script)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    run = ["bash", str(ci / "run"), "test"]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, len(noted.read_text().splitlines())) == (code, calls), done.stdout
    if calls == 4:
        assert f"{failures} of the tests failed" in done.stdout
        assert "test_x.py::test_1" in done.stdout


def test_make_test_runs_in_parallel_and_leaves_slurm_to_another_step() -> None:
    test, serial, slurm = map(
        last_line, (["test"], ["test", "PARALLEL="], ["test-slurm", "PYTEST=-x"])
    )
    assert re.search(r"pytest -n [2-9] --dist \w+ .*--without Slurm", test)
    assert " -n " not in serial
    assert re.search(r"pytest tests/slurm -n 2 --dist loadfile .*-x$", slurm)


def last_line(words: list[str]) -> str:
    """The last command that `make` would run."""
    ours = (
        "MAKEFLAGS",
        "PARALLEL",
        "SLURM_PARALLEL",
        "PYTEST",
    )  # of the `make` that runs the tests, perhaps
    environment = {name: os.environ[name] for name in os.environ if name not in ours}
    command = ["make", "--dry-run", "--no-print-directory", *words]
    text = subprocess.check_output(command, cwd=ROOT, text=True, env=environment)
    return text.splitlines()[-1].strip()


def test_a_step_that_ci_run_does_not_have_is_an_error() -> None:
    assert subprocess.run(["bash", str(ROOT / ".ci" / "run"), "tset"], check=False).returncode == 2


def test_make_install_slurm_installs_what_the_tests_of_slurm_look_for() -> None:
    """Without a word of apt-get where nothing is missing."""
    recipe = ["make", "--dry-run", "--silent", "install-slurm"]
    assert subprocess.check_output(recipe, cwd=ROOT, text=True) == f"{SITE} install\n"
    missing = subprocess.run([ROOT / SITE, "missing"], capture_output=True, check=False)
    if missing.returncode == 0:
        done = subprocess.run([ROOT / SITE, "install"], capture_output=True, check=True)
        assert (done.stdout, done.stderr) == (b"", b"")


def test_nothing_in_the_workflow_is_conditional() -> None:
    assert not re.search(r"^\s*(- )?if:", WORKFLOW.read_text(), re.MULTILINE)


CAFFE = ROOT / "tests" / "support" / "build_caffe.sh"


def build_caffe(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, **environment}
    return subprocess.run(
        [CAFFE, *words], capture_output=True, text=True, env=environment, check=False, timeout=60
    )


def test_make_install_caffe_builds_nothing_that_is_there(tmp_path: Path) -> None:
    recipe = ["make", "--dry-run", "--silent", "install-caffe"]
    assert str(CAFFE.relative_to(ROOT)) in subprocess.check_output(recipe, cwd=ROOT, text=True)
    where = build_caffe("where", XDG_CACHE_HOME=str(tmp_path))
    built = Path(where.stdout.strip())
    assert built.is_relative_to(tmp_path)
    assert not any(tmp_path.iterdir())
    built.mkdir(parents=True)
    done = build_caffe(XDG_CACHE_HOME=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, where.stdout, "")


def test_a_machine_that_cannot_build_caffe_says_what_it_wants(tmp_path: Path) -> None:
    for name, line in (("dpkg", "exit 1"), ("id", "echo 1000"), ("sudo", "exit 1")):
        command = tmp_path / name
        command.write_text(f"#!/bin/sh\n{line}\n")
        command.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = build_caffe(**path)
    assert done.returncode == 1
    assert "want these first: apt-get install g++ libboost-dev" in done.stderr
    assert build_caffe(PYTHON="no-such-python").returncode == 1
    assert "want nothing or where" in build_caffe("there", **path).stderr
