"""IPv6 wherever an address is taken: real brokers, workers and clients on `::1`."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from mdp import Client, Heartbeats, WorkerSettings
from tests.support.commands_of_mdp import mdp
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Process,
    Processes,
    free_port,
    wait_for_workers,
)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not _has_ipv6(), reason="needs ::1, which this machine lacks")


def serving_at(broker: Process) -> list[str]:
    """The addresses that the broker's log names."""
    broker.wait_until_it_says("serving at ")
    [line] = re.findall(r"serving at (.*)", broker.stderr)
    return [str(text) for text in line.split(", ")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A broker at ::1 and at 127.0.0.1, with an echo worker that came over ::1."""
    with Processes(tmp_path_factory.mktemp("ipv6")) as processes:
        any_port = ("--bind", "tcp://[::1]:0", "--bind", "tcp://127.0.0.1:*")
        broker = processes.python("-m", "mdp", "broker", *any_port, *QUICK)
        six, four = serving_at(broker)
        processes.worker(six, "echo", "mdp.echo:Echo", *QUICK)
        with Client(six, QUICK_CLIENT) as client:
            wait_for_workers(client, "echo", 1)
        yield six, four


def test_port_0_and_a_star_are_bound_to_a_free_port_that_the_log_names(
    served: tuple[str, str],
) -> None:
    six, four = served
    assert re.fullmatch(r"tcp://\[::1\]:[1-9]\d*", six)
    assert re.fullmatch(r"tcp://127\.0\.0\.1:[1-9]\d*", four)


def test_a_client_reaches_a_worker_over_ipv6(served: tuple[str, str]) -> None:
    for address in served:
        with Client(address, QUICK_CLIENT) as client:
            assert client.request("echo", [b"x" * 100_000]) == [b"x" * 100_000]


def test_each_command_takes_an_ipv6_address(served: tuple[str, str]) -> None:
    six, _ = served
    assert "echo" in mdp("services", "-b", six).stdout
    assert mdp("call", "echo", "hello", "-b", six).stdout == "hello\n"
    assert mdp("call", "echo", "hello", MDP_BROKER=six).stdout == "hello\n"
    sizes = ("--sizes", 10, "--windows", 2, "--seconds", 0.1, "--rounds", 1)
    assert mdp("bench", "-b", six, *sizes, "--quiet").stderr == ""


def test_a_worker_comes_back_to_an_ipv6_broker(processes: Processes) -> None:
    endpoint = f"tcp://[::1]:{free_port()}"
    first = processes.broker(endpoint, *QUICK)
    worker = processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "echo", 1)
        first.kill()
        worker.wait_until_it_says("connecting again in")
        processes.broker(endpoint, *QUICK)
        assert client.request("echo", [b"again"]) == [b"again"]
    assert WorkerSettings(heartbeats=Heartbeats(0.2)).reconnect_s == 1.0


@pytest.mark.parametrize("host", ["[::]", "*"])
def test_a_broker_of_all_interfaces_is_reached_by_both_families(
    processes: Processes, host: str
) -> None:
    broker = processes.python(
        "-m", "mdp", "broker", "--bind", f"tcp://{host}:0", "--public", "--insecure"
    )
    [address] = serving_at(broker)
    broker.wait_until_it_says("this broker has no keys (--insecure)")
    assert "--insecure" in broker.stderr
    port = address.rpartition(":")[2]
    for local in ("[::1]", "127.0.0.1", "localhost"):
        with Client(f"tcp://{local}:{port}", QUICK_CLIENT) as client:
            assert client.services() == {}


@pytest.mark.parametrize("host", ["[::]", "*", "[fe80::1%lo]", "[2001:db8::1]"])
def test_ipv6_that_other_machines_reach_needs_public(host: str) -> None:
    done = mdp("broker", "--bind", f"tcp://{host}:{free_port()}", code=2)
    assert "add --public" in done.stderr


def test_a_port_in_use_is_a_failure_and_another_machines_address_a_misuse(
    served: tuple[str, str],
) -> None:
    for address in served:
        done = mdp("broker", "--bind", address, code=1)
        assert f"cannot bind {address}: Address already in use" in done.stderr
    elsewhere = f"tcp://[2001:db8::1]:{free_port()}"
    done = mdp("broker", "--bind", elsewhere, "--public", "--insecure", code=2)
    assert f"cannot bind {elsewhere}" in done.stderr
    assert "of this machine" in done.stderr
