"""Processes that may open few files: requests wait or fail with a clear error, and none hangs."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mdp import Client
from tests.support.commands_of_mdp import environment
from tests.support.processes import QUICK, QUICK_CLIENT, ROOT, Processes, wait_for_workers

DROPPED = """
import sys
from mdp import Client

def score(text):
    return Client(sys.argv[1]).request("echo", [text], timeout_s=10)

for number in range(300):
    assert score(b"%d" % number) == [b"%d" % number]
print("all answered")
"""


def limited(
    *command: str, soft: int, hard: int, seconds: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a command that may open so many files, to its end."""
    limit = f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"'
    return subprocess.run(
        ["sh", "-c", limit, "sh", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment(),
        check=False,
    )


@pytest.fixture
def served(processes: Processes, endpoint: str) -> str:
    processes.broker(endpoint, *QUICK)
    processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "echo", 1)
    return endpoint


@pytest.mark.parametrize(
    ("soft", "hard", "options"),
    [
        (1024, 4096, ["--repeat", "3000", "--window", "1000"]),  # a common soft limit
        (1024, 1024, ["--repeat", "3000", "--window", "1000"]),
        (64, 4096, ["--repeat", "500", "--window", "64"]),
        (64, 64, ["--repeat", "500", "--window", "64"]),
        (64, 64, []),
    ],
)
def test_a_client_with_more_requests_than_files_gets_all_answers(
    served: str, soft: int, hard: int, options: list[str]
) -> None:
    call = [sys.executable, "-m", "mdp", "call", "echo", "hi", "--broker", served, *options]
    done = limited(*call, soft=soft, hard=hard)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    if soft == hard and options:
        assert str(hard) in done.stderr, "want a warning that names the limit"


def test_a_client_that_may_open_no_file_fails_with_one_line(served: str) -> None:
    call = [sys.executable, "-m", "mdp", "call", "echo", "hi", "--broker", served]
    done = limited(*call, soft=9, hard=9)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "ulimit" in done.stderr


def test_clients_that_nobody_closes_are_closed_when_they_are_collected(
    served: str,
) -> None:
    with_warnings = [sys.executable, "-W", "always", "-c", DROPPED, served]
    done = limited(*with_warnings, soft=1024, hard=4096)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "all answered" in done.stdout
    assert "ResourceWarning" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_host_that_cannot_start_a_child_tries_again_until_it_can(
    processes: Processes, endpoint: str
) -> None:
    processes.broker(endpoint, *QUICK)
    worker = processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "echo", 1)
        soft, hard = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        opened = len(os.listdir(f"/proc/{worker.pid}/fd"))
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (opened - 2, hard))
        for pid in worker.alive() - {worker.pid}:
            if b"--multiprocessing-fork" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        worker.wait_until_it_says("cannot be started: Too many open files; trying again in")
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert client.request("echo", [b"x"]) == [b"x"]
