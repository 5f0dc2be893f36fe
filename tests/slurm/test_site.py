"""The tests' own Slurm: its jobs, its faults, and that nothing is left of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.slurm.slurm_site import SCRIPT, Site, need_slurm
from tests.support.processes import ROOT, marked, until

MARK = "SSNET_TEST_OF_SITE"


def test_a_job_runs_with_this_python_and_its_end_is_written(site: Site) -> None:
    job = site.submit("python -c 'import mdp; print(mdp.__file__)'; exit 3")
    assert site.wait_for_end(job) == "FAILED"
    assert site.log(job).strip() == str(ROOT / "mdp" / "__init__.py")


def test_an_array_has_a_job_for_each_number(slurm: Site) -> None:
    job = slurm.submit("sleep 60", "--array=0-3")
    until(lambda: list(slurm.jobs().values()) == ["RUNNING"] * 4, "four jobs run")
    assert set(slurm.jobs()) == {f"{job}_{number}" for number in range(4)}


def test_jobs_of_a_crashed_node_start_again_on_another_one(site: Site) -> None:
    job = site.submit("echo life $SLURM_RESTART_COUNT on $SLURMD_NODENAME\nsleep 60")
    site.wait_for_state(job, "RUNNING")
    until(lambda: "life" in site.log(job), "it has begun")
    node = site.node_of(job)
    site.crash(node)
    until(lambda: "life 1" in site.log(job), "it has begun again")
    assert site.how_ended(job) == ["NODE_FAIL"]
    assert site.node_of(job) != node
    site.boot(node)


def test_an_urgent_job_preempts_and_the_other_one_is_requeued(slurm: Site) -> None:
    jobs = [slurm.submit("sleep 60", "--exclusive") for _ in range(3)]
    until(lambda: list(slurm.jobs().values()) == ["RUNNING"] * 3, "three jobs run")
    urgent = slurm.submit("sleep 0.1", "--exclusive", "--partition=urgent")
    assert slurm.wait_for_end(urgent) == "COMPLETED"
    assert sum(slurm.how_ended(job) == ["PREEMPTED"] for job in jobs) == 1
    assert set(slurm.jobs()) == set(jobs)


def test_squeue_fails_while_the_controller_is_down(slurm: Site) -> None:
    job = slurm.submit("sleep 60")
    slurm.wait_for_state(job, "RUNNING")
    slurm.do("controller", "stop")
    with pytest.raises((AssertionError, subprocess.TimeoutExpired)):
        slurm.run("squeue", within_s=15.0)
    slurm.do("controller", "start")
    until(lambda: job in slurm.run("squeue"), "it knows the job")


@pytest.mark.parametrize("script", ["stop", "kill"])
def test_nothing_is_left_of_a_site_however_it_ends(script: str) -> None:
    """Also of its jobs, and also if the program is killed that started it."""
    need_slurm()
    with tempfile.TemporaryDirectory(prefix="slurm-site-", dir="/tmp") as folder:
        environment = {**os.environ, "SITE": folder, "SITE_NODES": "1", MARK: folder}
        job = (
            f"sbatch --output=/dev/null --wrap 'touch {folder}/ready; sleep 1000'; exec sleep 1000"
        )
        with subprocess.Popen([SCRIPT, "run", "bash", "-c", job], env=environment) as site:
            ready = Path(folder) / "ready"
            until(lambda: ready.exists() or site.poll() is not None, "its job runs")
            assert {"munged", "slurmctld", "slurmd"} <= names(marked(MARK, folder))
            steps = marked("SLURM_CONF", f"{folder}/slurm.conf")
            assert "slurmstepd" in names(steps)
            site.send_signal(signal.SIGTERM if script == "stop" else signal.SIGKILL)
        until(lambda: not marked(MARK, folder), "nothing is left")
        until(lambda: not marked("SLURM_CONF", f"{folder}/slurm.conf"), "no step is left")


def names(pids: set[int]) -> set[str]:
    return {Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids}


def test_without_slurm_the_script_says_in_one_line_what_to_do(tmp_path: Path) -> None:
    for tool in ("id", "hostname"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    done = subprocess.run(
        ["/bin/bash", SCRIPT, "start"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert re.search("missing: .*sbatch.*site.sh install", done.stderr)


@pytest.mark.parametrize(
    ("option", "outcome"), [("--without=Slurm", "skipped"), ("--require=Slurm", "error")]
)
def test_without_slurm_its_tests_are_skipped_or_fail(option: str, outcome: str) -> None:
    test = f"{__file__}::{test_an_array_has_a_job_for_each_number.__name__}"
    hide = (
        "import sys, pytest; from tests.slurm import slurm_site as site;"
        "site.SCRIPT = '/bin/false'; sys.exit(pytest.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", hide, "-q", "-p", "no:cacheprovider", test, option]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"1 {outcome}" in done.stdout.splitlines()[-1]
    assert "tests/slurm/site.sh install" in done.stdout
