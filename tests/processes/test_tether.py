"""What a test starts ends with pytest, also when pytest is killed. A test has a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import ROOT, marked, until

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
MARK = "SSNET_TETHERED"
PARALLEL = ("-n", "1")
BOTH = pytest.mark.parametrize("options", [(), PARALLEL], ids=["serial", "with a worker"])

SITE = """
import subprocess, threading
from pathlib import Path
from mdp import Client
from tests.support.processes import wait_for_workers

def test_a_site(processes, endpoint):
    processes.broker(endpoint)
    processes.worker(endpoint, "echo", "mdp.echo:Echo", "-n", "2")
    with Client(endpoint) as client:
        wait_for_workers(client, "echo", 2)
    subprocess.Popen(["sh", "-c", "sleep 1000 & sleep 1000"], start_new_session=True)
    Path(__file__).with_name("ready").touch()
    threading.Event().wait()
"""
LEAK = """
import subprocess

def test_that_leaves_a_process():
    leak = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    leak.returncode = 0  # it has been waited for, as far as Python knows
"""
HANGS = """
import threading

def test_that_hangs():
    threading.Event().wait()

def test_after_it():
    pass
"""
THREAD = """
import threading
from tests import conftest

def test_that_leaves_a_thread():
    conftest.END_S = 1.0
    threading.Thread(target=threading.Event().wait, name="the_thread").start()
"""

DIES = """
import os, signal, subprocess

def test_that_kills_its_process():
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start pytest with this project's settings and conftest on a file of tests."""

    def started(tests: str, *options: str, mark: str = "") -> subprocess.Popen[str]:
        path = tmp_path / "test_inner.py"
        path.write_text(tests)
        plugins = ("-p", "tests.conftest", "-p", "no:cacheprovider")
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-c", "setup.cfg", *plugins, *options, path],
            cwd=ROOT,
            env={**os.environ, MARK: mark},
            stdout=subprocess.PIPE,
            text=True,
        )

    return started


@LINUX_ONLY
@BOTH
def test_nothing_is_left_of_a_pytest_that_is_killed(
    start: Start, tmp_path: Path, options: tuple[str, ...]
) -> None:
    mark = uuid.uuid4().hex
    with start(SITE, *options, mark=mark) as run:
        until(lambda: (tmp_path / "ready").exists() or run.poll() is not None, "its site stands")
        # pytest, its guard, the broker, a host and two children, a shell and two sleeps
        assert len(marked(MARK, mark)) >= 9 + len(options)  # the worker and its guard
        run.send_signal(signal.SIGKILL)
    until(lambda: not marked(MARK, mark), "nothing is left of it")


@LINUX_ONLY
@BOTH
def test_what_a_test_leaves_ends_with_pytest(start: Start, options: tuple[str, ...]) -> None:
    mark = uuid.uuid4().hex
    with start(LEAK, *options, mark=mark) as run:
        assert run.wait(60) == 0
    until(lambda: not marked(MARK, mark), "nothing is left of it")


@LINUX_ONLY
def test_nothing_is_left_of_a_worker_that_is_killed(start: Start) -> None:
    mark = uuid.uuid4().hex
    with start(DIES, *PARALLEL, mark=mark) as run:
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "1 failed" in output
    until(lambda: not marked(MARK, mark), "nothing is left of it")


def test_a_test_that_hangs_fails_at_its_limit_and_the_next_one_runs(start: Start) -> None:
    with start(HANGS, "--timeout", "1") as run:
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "1 failed, 1 passed" in output


def test_each_test_has_a_limit_without_an_option(pytestconfig: pytest.Config) -> None:
    assert 60 <= float(pytestconfig.getini("timeout")) <= 1000


@BOTH
def test_a_thread_that_a_test_leaves_fails_pytest_and_does_not_keep_it_alive(
    start: Start, options: tuple[str, ...]
) -> None:
    with start(THREAD, *options) as run:
        output, _ = run.communicate(timeout=60)
    assert "1 passed, 1 error" in output
    assert "the_thread" in output
    assert run.returncode == 1
