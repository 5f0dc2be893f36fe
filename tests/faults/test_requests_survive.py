"""300 requests come back, each once, in order and right, whatever is killed or stopped meanwhile.

One of them makes its worker leave a note and take its time, so that the fault hits it in hand.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mdp import Client
from tests.faults.notes import Holder, holder
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Process,
    Processes,
    counters,
    until,
    wait_for_workers,
)

OBEDIENT = "tests.faults.handlers:Obedient"
COUNT = 300
HELD = 150  # the number of the request that is in hand when the fault comes
WINDOW = 8

Fault = Callable[[Holder], None]


def _text(number: int) -> bytes:
    return b"request %d of run 7" % number


def _bodies(note: Path, order: bytes, seconds: float) -> Iterator[list[bytes]]:
    for number in range(COUNT):
        if number == HELD:
            yield [order, _text(number), os.fsencode(note), b"%g" % seconds]
        else:
            yield [b"reverse", _text(number)]


def _ask_all(
    client: Client, note: Path, fault: Fault, *, order: bytes = b"hold", seconds: float = 30.0
) -> None:
    """Ask 300 times, let the fault happen in the midst, and see that every answer is right."""
    answers: list[list[bytes]] = []
    bodies = _bodies(note, order, seconds)
    for answer in client.map("obedient", bodies, window=WINDOW):
        answers.append(answer)
        if len(answers) == HELD - WINDOW // 2:
            fault(holder(note))
    assert answers == [[_text(number)[::-1]] for number in range(COUNT)]


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "note"


def _start(processes: Processes, endpoint: str, *, hosts: int) -> tuple[Process, list[Process]]:
    broker = processes.broker(endpoint, *QUICK)
    workers = [processes.worker(endpoint, "obedient", OBEDIENT, *QUICK) for _ in range(hosts)]
    return broker, workers


def test_all_answers_come_when_a_busy_worker_is_killed(
    processes: Processes, endpoint: str, note: Path
) -> None:
    _, workers = _start(processes, endpoint, hosts=3)

    def kill_host(held_by: Holder) -> None:
        (victim,) = (worker for worker in workers if worker.pid == held_by.host)
        victim.send(signal.SIGKILL)
        victim.wait_until_nothing_is_left()

    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 3)
        _ask_all(client, note, kill_host)
        counted = counters(client)
        assert client.services()["obedient"]["answered"] == COUNT
        assert (counted["requeued"], counted["workers_lost"]) == (1, 1)
        wait_for_workers(client, "obedient", 2)


def test_all_answers_come_when_the_only_worker_is_killed_and_another_one_started(
    processes: Processes, endpoint: str, note: Path
) -> None:
    _, workers = _start(processes, endpoint, hosts=1)

    def replace_host(held_by: Holder) -> None:
        workers[0].send(signal.SIGKILL)
        processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)

    with Client(endpoint, QUICK_CLIENT) as client:
        _ask_all(client, note, replace_host)
        assert client.services()["obedient"]["answered"] == COUNT


def test_all_answers_come_when_the_child_that_computes_is_killed(
    processes: Processes, endpoint: str, note: Path
) -> None:
    _, (worker,) = _start(processes, endpoint, hosts=1)
    with Client(endpoint, QUICK_CLIENT) as client:
        _ask_all(client, note, lambda held_by: os.kill(held_by.child, signal.SIGKILL))
        assert client.services()["obedient"]["answered"] == COUNT
        assert counters(client)["requeued"] == 1
    assert "was killed by SIGKILL while busy" in worker.stderr


def test_all_answers_come_when_the_broker_is_killed_and_started_again(
    processes: Processes, endpoint: str, note: Path
) -> None:
    broker, workers = _start(processes, endpoint, hosts=2)

    def restart_broker(held_by: Holder) -> None:
        broker.send(signal.SIGKILL)
        broker.wait_until_nothing_is_left()
        for worker in workers:
            worker.wait_until_it_says("broker is silent")
        processes.broker(endpoint, *QUICK)

    with Client(endpoint, QUICK_CLIENT) as client:
        _ask_all(client, note, restart_broker, seconds=1.0)


def test_all_answers_come_when_the_broker_is_stopped_for_longer_than_its_liveness(
    processes: Processes, endpoint: str, note: Path
) -> None:
    broker, workers = _start(processes, endpoint, hosts=2)

    def stop_broker(held_by: Holder) -> None:
        broker.send(signal.SIGSTOP)
        for worker in workers:
            worker.wait_until_it_says("broker is silent")
        broker.send(signal.SIGCONT)

    with Client(endpoint, QUICK_CLIENT) as client:
        _ask_all(client, note, stop_broker, seconds=1.0)
        wait_for_workers(client, "obedient", 2)


@pytest.mark.parametrize("whole_group", [False, True], ids=["host", "host and child"])
def test_all_answers_come_when_a_worker_is_stopped_for_longer_than_its_liveness(
    processes: Processes, endpoint: str, note: Path, whole_group: bool
) -> None:
    _, workers = _start(processes, endpoint, hosts=3)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 3)

        def stop_host(held_by: Holder) -> None:
            (victim,) = (worker for worker in workers if worker.pid == held_by.host)
            send = victim.send_group if whole_group else victim.send
            send(signal.SIGSTOP)
            until(lambda: counters(client)["workers_lost"], "the broker misses the worker")
            send(signal.SIGCONT)

        _ask_all(client, note, stop_host, seconds=1.0)
        assert client.services()["obedient"]["answered"] == COUNT
        assert counters(client)["requeued"] == 1
        wait_for_workers(client, "obedient", 3)


def test_a_worker_whose_handler_holds_the_gil_for_20_s_is_not_dropped(
    processes: Processes, endpoint: str, note: Path
) -> None:
    processes.broker(endpoint)  # with heartbeats as they are by default
    processes.worker(endpoint, "obedient", OBEDIENT)
    with Client(endpoint) as client:
        _ask_all(client, note, lambda held_by: None, order=b"hold_the_gil", seconds=20.0)
        counted = counters(client)
        assert client.services()["obedient"]["answered"] == COUNT
        lost = {name: counted[name] for name in ("workers_lost", "requeued", "unexpected")}
        assert lost == {"workers_lost": 0, "requeued": 0, "unexpected": 0}
