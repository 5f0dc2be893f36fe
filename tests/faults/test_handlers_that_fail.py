"""Handlers that raise, refuse, crash, hang or never get ready."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdp import Client, MDPError, Refused, ServiceError, TooSlow, WorkersDied
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    children,
    counters,
    free_port,
    until,
    wait_for_workers,
)

OBEDIENT = "tests.faults.handlers:Obedient"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Of a broker with two obedient workers."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Processes(tmp_path_factory.mktemp("obedient")) as processes:
        processes.broker(endpoint, *QUICK)
        processes.worker(endpoint, "obedient", OBEDIENT, "-n", "2", *QUICK)
        with Client(endpoint, QUICK_CLIENT) as client:
            yield client


def _addresses(client: Client) -> set[str]:
    return {worker["address"] for worker in client.management("workers")["workers"]}


@pytest.mark.parametrize(
    ("body", "error", "code", "text"),
    [
        ([b"raise", b"run 7 is unknown"], ServiceError, 500, "LookupError: run 7 is unknown"),
        ([b"refuse", b"want 3 planes, got 2"], Refused, 400, "want 3 planes, got 2"),
        ([b"answer_nonsense"], ServiceError, 500, "want a list of frames"),
        ([], ServiceError, 500, "ValueError"),
    ],
    ids=["raises", "refuses", "answers nonsense", "cannot take an empty request"],
)
def test_what_a_handler_raises_reaches_the_client_and_its_worker_lives_on(
    client: Client, body: list[bytes], error: type[MDPError], code: int, text: str
) -> None:
    wait_for_workers(client, "obedient", 2)
    earlier = _addresses(client)
    with pytest.raises(MDPError, match=text) as raised:
        client.request("obedient", body)
    assert type(raised.value) is error
    assert getattr(raised.value, "code", None) == code
    assert _addresses(client) == earlier
    assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]


@pytest.mark.parametrize("how", ["by SIGSEGV", "by SIGABRT", "by os._exit"])
def test_a_request_whose_worker_dies_of_it_is_given_to_another(
    client: Client, tmp_path: Path, how: str
) -> None:
    wait_for_workers(client, "obedient", 2)
    earlier = counters(client)["requeued"]
    note = os.fsencode(tmp_path / "note")
    assert client.request("obedient", [b"die", b"abc", note, how.encode()]) == [b"cba"]
    assert counters(client)["requeued"] == earlier + 1
    wait_for_workers(client, "obedient", 2)


def test_a_request_that_kills_three_workers_is_not_tried_again_and_the_workers_come_back(
    client: Client,
) -> None:
    wait_for_workers(client, "obedient", 2)
    earlier = counters(client)["workers_died"]
    with pytest.raises(WorkersDied, match=r"3 workers of obedient died.*--max-attempts") as raised:
        client.request("obedient", [b"die", b"abc", b"", b"by SIGABRT"])
    assert raised.value.code == 502
    assert counters(client)["workers_died"] == earlier + 3
    wait_for_workers(client, "obedient", 2)
    assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]


def test_a_worker_whose_setup_always_fails_ends_with_code_1_and_says_why(
    processes: Processes, endpoint: str
) -> None:
    processes.broker(endpoint, *QUICK)
    worker = processes.worker(endpoint, "never", "tests.faults.handlers:NeverReady", *QUICK)
    assert worker.exit_code() == 1
    worker.wait_until_nothing_is_left()
    assert "mdp: never#1: setup() failed 3 times; the last: OSError: there is no network file" in (
        worker.stderr.splitlines()
    )


def test_a_request_over_its_time_limit_fails_and_the_hung_child_is_replaced(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint, *QUICK, "--time-limit", "obedient=0.5")
    host = processes.python("-m", "tests.faults.impatient_host", endpoint)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 1)
        (first,) = children(host)
        with pytest.raises(TooSlow, match=r"its limit.* 0\.5 s") as raised:  # at the second try
            client.request("obedient", [b"stream_until", os.fsencode(tmp_path / "never")])
        assert raised.value.code == 504
        assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]
        until(lambda: len(children(host)) == 1, "the hung children are gone")
    assert host.stderr.count("killed the child") == 2
    assert children(host) != [first]


def test_parts_of_an_answer_come_before_the_last_one_is_computed(
    client: Client, tmp_path: Path
) -> None:
    release = tmp_path / "release"
    parts = client.stream("obedient", [b"stream_until", os.fsencode(release)])
    assert next(parts) == [b"first"]
    release.touch()
    assert list(parts) == [[b"second"], [b"last"]]


def test_a_thousand_parts_come_in_order(client: Client) -> None:
    parts = client.stream("obedient", [b"stream", b"1000"])
    assert list(parts) == [[b"part", b"%d" % number] for number in range(1000)]


def test_each_part_comes_once_when_the_worker_dies_in_the_midst_of_them(
    client: Client, tmp_path: Path
) -> None:
    note = os.fsencode(tmp_path / "note")
    parts = list(client.stream("obedient", [b"stream_and_die", note]))
    assert parts == [[b"0"], [b"1"], [b"2"], [b"3"]]
