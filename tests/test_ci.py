"""The forge's CI runs the steps of `.ci/run`, which are all that a release needs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
TORCH = "--without torch"


@pytest.fixture
def make_commands(tmp_path: Path) -> list[list[str]]:
    """What each step of the workflow asks `make` for, and last what `.ci/run` alone asks for."""
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "make $@"\n')
    make.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

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
    assert [line for step in steps for line in step] == everything


def test_no_part_may_be_missing_but_the_shared_data(make_commands: list[list[str]]) -> None:
    test, test_torch, *others = make_commands[-1]
    assert test.startswith("make test PYTEST=--require all")
    assert test.endswith(TORCH)
    assert test_torch.startswith("make test-torch PYTEST=--require all")
    assert TORCH not in test_torch
    assert others == ["make simulate SEEDS=1000", "make demo", "make docs"]


def test_a_step_that_ci_run_does_not_have_is_an_error() -> None:
    assert subprocess.run(["bash", str(ROOT / ".ci" / "run"), "tset"], check=False).returncode == 2


def test_nothing_in_the_workflow_is_conditional() -> None:
    assert not re.search(r"^\s*(- )?if:", WORKFLOW.read_text(), re.MULTILINE)
