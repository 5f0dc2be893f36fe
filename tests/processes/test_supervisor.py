"""`mdp broker --supervise`: a broker that dies is started again, and stops as any other."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from mdp import Client
from tests.support.commands_of_mdp import mdp
from tests.support.processes import QUICK, QUICK_CLIENT, Process, Processes, free_port, until


@pytest.fixture
def endpoint() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.fixture
def supervised(processes: Processes, endpoint: str) -> Process:
    return processes.broker(endpoint, *QUICK, "--supervise")


def broker_pid(supervised: Process) -> int:
    """The process that the supervisor started last."""
    return max(until(lambda: supervised.alive() - {supervised.pid}, "the broker is started"))


def test_a_broker_that_is_aborted_is_started_again_and_answers(
    processes: Processes, supervised: Process, endpoint: str
) -> None:
    processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        for number in range(3):
            assert client.request("echo", [b"%d" % number]) == [b"%d" % number]
            os.kill(broker_pid(supervised), signal.SIGABRT)
        assert client.request("echo", [b"after"]) == [b"after"]
    assert supervised.stderr.count("was killed by SIGABRT; it is started again in") == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_of_the_supervisor_drains_the_broker(
    supervised: Process, endpoint: str, number: signal.Signals
) -> None:
    with Client(endpoint, QUICK_CLIENT) as client:
        client.services()
    supervised.send_group(number)
    assert supervised.exit_code() == 0
    assert "draining" in supervised.stderr
    supervised.wait_until_nothing_is_left()


def test_a_supervisor_that_is_killed_takes_its_broker_with_it(supervised: Process) -> None:
    supervised.wait_until_it_says("serving at")
    supervised.send(signal.SIGKILL)
    supervised.wait_until_nothing_is_left()


def test_a_port_in_use_is_an_error_and_not_tried_again(endpoint: str) -> None:
    port = int(endpoint.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        stopped = mdp("broker", "--bind", endpoint, "--supervise", code=1)
    assert "cannot bind" in stopped.stderr
    assert "started again" not in stopped.stderr
