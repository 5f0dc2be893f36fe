"""Requests that are cancelled, time out at once, or are read in part: the client lives on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from dataclasses import replace

import pytest

from mdp import Client, RequestTimeout
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    free_port,
    until,
    wait_for_workers,
)

OBEDIENT = "tests.faults.handlers:Obedient"
STORM = 10_000
ENOUGH_S = 30.0
TIMEOUTS_S = (0.05, 0.03)


def submit_and_cancel(client: Client) -> None:
    for _ in range(STORM):
        client.submit("echo", [b"x"]).cancel()


def answers_again(client: Client) -> None:
    assert client.request("echo", [b"afterwards"], timeout_s=20.0) == [b"afterwards"]


def kinds(futures: list[Future[list[bytes]]]) -> Counter[str]:
    """How the requests ended; none may be left over."""
    done, left = wait(futures, ENOUGH_S)
    assert not left, f"{len(left)} of {len(futures)} requests have not ended"
    return Counter(_kind(future) for future in done)


def _kind(future: Future[list[bytes]]) -> str:
    try:
        future.result()
    except (Exception, CancelledError) as error:
        return type(error).__name__
    return "answer"


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def serve(processes: Processes, endpoint: str) -> None:
    processes.broker(endpoint, *QUICK)
    processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "echo", 1)


def test_requests_that_are_cancelled_at_once_do_not_exhaust_the_client(
    processes: Processes, endpoint: str
) -> None:
    serve(processes, endpoint)
    earlier = descriptors()
    with Client(endpoint, QUICK_CLIENT) as client:
        submit_and_cancel(client)
        answers_again(client)
        until(lambda: descriptors() < earlier + 60, "the sockets of cancelled requests close")


def many_short(timeout_s: float) -> Callable[[Client], None]:
    def ask(client: Client) -> None:
        futures = [client.submit("echo", [b"x"], timeout_s=timeout_s, tries=1) for _ in range(2000)]
        assert set(kinds(futures)) <= {RequestTimeout.__name__, "answer"}

    return ask


def many_tries(client: Client) -> None:
    futures = [client.submit("echo", [b"x"], timeout_s=0.03, tries=50) for _ in range(64)]
    assert set(kinds(futures)) == {RequestTimeout.__name__}


@pytest.mark.parametrize(
    "storm",
    [submit_and_cancel, many_short(0.05), many_short(0.03), many_tries],
    ids=["cancelled", "50 ms", "30 ms", "50 tries"],
)
def test_a_client_whose_broker_is_away_survives_and_is_answered_when_it_is_back(
    processes: Processes, endpoint: str, storm: Callable[[Client], None]
) -> None:
    earlier = descriptors()
    with Client(endpoint, QUICK_CLIENT) as client:
        storm(client)
        assert descriptors() < earlier + 500
        serve(processes, endpoint)
        answers_again(client)


@pytest.mark.parametrize("timeout_s", TIMEOUTS_S)
def test_requests_of_a_few_milliseconds_to_a_slow_service_leave_a_client_that_works(
    processes: Processes, endpoint: str, timeout_s: float
) -> None:
    serve(processes, endpoint)
    processes.worker(endpoint, "slow", OBEDIENT, "-n", "2", *QUICK)
    body = [b"note_and_sleep", b"x", os.devnull.encode(), b"0.2"]
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "slow", 2)
        futures = [client.submit("slow", body, timeout_s=timeout_s, tries=1) for _ in range(1000)]
        assert set(kinds(futures)) <= {RequestTimeout.__name__, "answer"}
        answers_again(client)


def test_streams_that_are_broken_off_leave_a_client_that_works(
    processes: Processes, endpoint: str
) -> None:
    serve(processes, endpoint)
    processes.worker(endpoint, "parts", OBEDIENT, *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "parts", 1)
        for _ in range(1000):
            parts = client.stream("parts", [b"stream", b"3"])
            assert next(parts) == [b"part", b"0"]
            parts.close()  # type: ignore[attr-defined]
        answers_again(client)


def test_two_clients_of_one_process_do_not_share_what_one_of_them_lost(
    processes: Processes, endpoint: str
) -> None:
    serve(processes, endpoint)
    away = f"tcp://127.0.0.1:{free_port()}"
    with (
        Client(away, replace(QUICK_CLIENT, timeout_s=0.03, tries=1)) as lost,
        Client(endpoint, QUICK_CLIENT) as client,
    ):
        futures = [lost.submit("echo", [b"x"]) for _ in range(300)]
        answers_again(client)
        assert set(kinds(futures)) == {RequestTimeout.__name__}
