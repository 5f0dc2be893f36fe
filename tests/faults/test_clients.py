"""Clients with many threads, clients that give up, and clients that nobody answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mdp import Client, ClientClosed, NotServed, QueueFull, RequestTimeout
from tests.faults.notes import holder
from tests.support import keys
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    counters,
    free_port,
    until,
    wait_for_workers,
)

OBEDIENT = "tests.faults.handlers:Obedient"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker with an obedient worker, and a short patience."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Processes(tmp_path_factory.mktemp("served")) as processes:
        processes.broker(endpoint, *QUICK, "--max-queue", "100", "--expiry", "0.5")
        processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
        with Client(endpoint, QUICK_CLIENT) as client:
            wait_for_workers(client, "obedient", 1)
        yield endpoint


def test_many_threads_share_a_client_and_each_gets_its_own_answers(served: str) -> None:
    with Client(served, QUICK_CLIENT) as client, ThreadPoolExecutor(16) as threads:

        def ask(thread: int) -> list[list[bytes]]:
            texts = [b"thread %d asks %d" % (thread, number) for number in range(10)]
            return [client.request("obedient", [b"reverse", text]) for text in texts]

        answers = list(threads.map(ask, range(16)))
    for thread, got in enumerate(answers):
        want = [[(b"thread %d asks %d" % (thread, number))[::-1]] for number in range(10)]
        assert got == want


def test_cancelled_requests_leave_the_queue_of_the_broker(served: str, tmp_path: Path) -> None:
    note, release = tmp_path / "note", tmp_path / "release"
    with Client(served, QUICK_CLIENT) as client:
        earlier = counters(client)["cancelled"]
        paths = [os.fsencode(note), os.fsencode(release)]
        held = client.submit("obedient", [b"wait_for", b"abc", *paths])
        holder(note)
        futures = [client.submit("obedient", [b"reverse", b"abc"]) for _ in range(20)]
        until(lambda: client.services()["obedient"]["queued"] == 20, "20 requests are queued")
        assert all(future.cancel() for future in futures[5:])
        until(lambda: client.services()["obedient"]["queued"] == 5, "5 requests are queued")
        assert counters(client)["cancelled"] == earlier + 15
        release.touch()
        assert [future.result() for future in (held, *futures[:5])] == [[b"cba"]] * 6


def test_a_client_that_is_closed_takes_its_requests_along(served: str, tmp_path: Path) -> None:
    note, release = tmp_path / "note", tmp_path / "release"
    paths = [os.fsencode(note), os.fsencode(release)]
    with Client(served, QUICK_CLIENT) as client, Client(served, QUICK_CLIENT) as leaver:
        held = client.submit("obedient", [b"wait_for", b"abc", *paths])
        holder(note)
        future = leaver.submit("obedient", [b"reverse", b"abc"])
        until(lambda: client.services()["obedient"]["queued"] == 1, "its request is queued")
        leaver.close()
        with pytest.raises(ClientClosed, match="obedient"):
            future.result()
        until(lambda: client.services()["obedient"]["queued"] == 0, "its request is gone")
        release.touch()
        assert held.result() == [b"cba"]


def test_a_request_for_a_service_without_workers_expires(served: str) -> None:
    with Client(served, QUICK_CLIENT) as client:
        with pytest.raises(NotServed, match="no worker for nobody came") as raised:
            client.request("nobody", [b"abc"])
        assert raised.value.code == 404


def test_a_request_beyond_the_limit_of_its_queue_is_refused(served: str, tmp_path: Path) -> None:
    note, release = tmp_path / "note", tmp_path / "release"
    paths = [os.fsencode(note), os.fsencode(release)]
    many = replace(QUICK_CLIENT, lanes=150)
    with Client(served, QUICK_CLIENT) as client, Client(served, many) as crowd:
        client.submit("obedient", [b"wait_for", b"abc", *paths])
        holder(note)
        futures = [crowd.submit("obedient", [b"reverse", b"abc"]) for _ in range(100)]
        until(lambda: client.services()["obedient"]["queued"] == 100, "the queue is full")
        with pytest.raises(
            QueueFull, match=r"queue of obedient is full .*: 100 requests"
        ) as raised:
            crowd.request("obedient", [b"reverse", b"abc"])
        assert raised.value.code == 429
        futures.append(client.submit("obedient", [b"reverse", b"abc"]))  # each has a queue
        release.touch()
        assert [future.result() for future in futures] == [[b"cba"]] * 101


def test_a_request_that_times_out_says_service_time_and_tries(served: str, tmp_path: Path) -> None:
    note, release = tmp_path / "note", tmp_path / "release"
    body = [b"wait_for", b"abc", os.fsencode(note), os.fsencode(release)]
    with Client(served, QUICK_CLIENT) as client:
        held = client.submit("obedient", body)
        holder(note)
        with pytest.raises(
            RequestTimeout, match=r"obedient did not answer within 0\.[4-9] s \(try 2 of 2\)"
        ):
            client.request("obedient", [b"reverse", b"abc"], timeout_s=0.2, tries=2)
        until(lambda: client.services()["obedient"]["queued"] == 0, "its request is gone")
        release.touch()
        assert held.result() == [b"cba"]


def test_a_request_without_a_broker_times_out(endpoint: str) -> None:
    with (
        Client(endpoint, QUICK_CLIENT) as client,
        pytest.raises(RequestTimeout, match=r"nobody did not answer within .* \(try 3 of 3\)"),
    ):
        client.request("nobody", [b"abc"], timeout_s=0.1)


def test_a_request_that_was_sent_before_its_broker_was_there_is_answered(
    processes: Processes, endpoint: str
) -> None:
    with Client(endpoint, QUICK_CLIENT) as client:
        future = client.submit("obedient", [b"reverse", b"abc"])
        worker = processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
        worker.wait_until_it_says("broker is silent")
        processes.broker(endpoint, *QUICK)
        assert future.result() == [b"cba"]


def test_one_broker_serves_tcp_and_ipc_alike(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    local = f"ipc://{tmp_path}/broker"
    processes.broker(endpoint, "--bind", local, *QUICK)
    by_file = tmp_path / "local"  # an address of ipc has its keys only from a contact file
    keys.write_contact(by_file, local, keys.of_site())
    processes.worker(f"@{by_file}", "obedient", OBEDIENT, *QUICK)
    for address in (endpoint, f"@{by_file}"):
        with Client(address, QUICK_CLIENT) as client:
            assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]
