"""Signals to hosts and brokers: they drain or stop, and no process outlives its host."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from mdp import Client, ClientSettings, Draining, Heartbeats
from tests.faults.notes import holder
from tests.interop import rfc7
from tests.support import keys
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
EACH = pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1],
    ids=["TERM", "INT", "HUP", "USR1"],
)
AS_NOHUP = (
    "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
    " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "note"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return tmp_path / "release"


def _held(note: Path, release: Path) -> list[bytes]:
    """A request that is in its worker's hand until `release` is there."""
    return [b"wait_for", b"abc", os.fsencode(note), os.fsencode(release)]


def _start(processes: Processes, endpoint: str, *options: str) -> tuple[Process, Process]:
    broker = processes.broker(endpoint, *QUICK, *options)
    return broker, processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)


@EACH
def test_a_worker_told_to_stop_answers_what_it_holds_and_leaves(
    processes: Processes, endpoint: str, note: Path, release: Path, number: signal.Signals
) -> None:
    _, worker = _start(processes, endpoint)
    with Client(endpoint, QUICK_CLIENT) as client:
        future = client.submit("obedient", _held(note, release))
        holder(note)
        worker.send_group(number)
        release.touch()
        assert future.result() == [b"cba"]
        assert worker.exit_code() == 0
        worker.wait_until_nothing_is_left()
        wait_for_workers(client, "obedient", 0)
        assert counters(client)["requeued"] == 0


def test_what_is_queued_while_many_workers_leave_waits_for_the_next_ones(
    processes: Processes, endpoint: str, tmp_path: Path, release: Path
) -> None:
    processes.broker(endpoint, *QUICK)
    leavers = processes.worker(endpoint, "obedient", OBEDIENT, "-n", "6", *QUICK)
    notes = [tmp_path / f"note {number}" for number in range(6)]
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 6)
        held = [client.submit("obedient", _held(note, release)) for note in notes]
        for note in notes:
            holder(note)
        queued = [client.submit("obedient", [b"reverse", b"later"]) for _ in range(20)]
        until(lambda: client.services()["obedient"]["queued"] == 20, "20 requests are queued")
        leavers.send_group(signal.SIGTERM)
        release.touch()
        assert [future.result() for future in held] == [[b"cba"]] * 6
        assert leavers.exit_code() == 0
        processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
        # nobody died of them, though some were handed to workers that were about to leave
        assert [future.result() for future in queued] == [[b"retal"]] * 20


@EACH
def test_an_idle_worker_told_to_stop_leaves_at_once(
    processes: Processes, endpoint: str, number: signal.Signals
) -> None:
    _, worker = _start(processes, endpoint)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 1)
        worker.send_group(number)
        assert worker.exit_code() == 0
        worker.wait_until_nothing_is_left()
        wait_for_workers(client, "obedient", 0)


def test_a_worker_that_gets_sigterm_again_and_again_exits_with_0(
    processes: Processes, endpoint: str
) -> None:
    _, worker = _start(processes, endpoint)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 1)

    def told_again() -> bool:
        worker.send(signal.SIGTERM)
        return worker.popen.poll() is not None

    until(told_again, "the worker has ended")
    assert worker.exit_code() == 0


def test_a_worker_told_to_stop_during_its_setup_leaves_at_once(
    processes: Processes, endpoint: str
) -> None:
    worker = processes.worker(endpoint, "slow", "tests.faults.handlers:SlowToSetUp", *QUICK)
    worker.wait_until_it_says("setup began")
    worker.send_group(signal.SIGTERM)
    assert worker.exit_code() == 0
    worker.wait_until_nothing_is_left()


def test_a_worker_told_to_stop_without_a_broker_leaves_at_once(
    processes: Processes, endpoint: str
) -> None:
    worker = processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
    worker.wait_until_it_says("broker is silent")
    worker.send_group(signal.SIGTERM)
    assert worker.exit_code() == 0
    worker.wait_until_nothing_is_left()


def test_a_worker_told_twice_stops_at_once_and_what_it_held_is_given_to_another(
    processes: Processes, endpoint: str, note: Path, release: Path
) -> None:
    _, worker = _start(processes, endpoint)
    with Client(endpoint, QUICK_CLIENT) as client:
        future = client.submit("obedient", _held(note, release))
        holder(note)
        worker.send_group(signal.SIGTERM)
        worker.send_group(signal.SIGINT)
        assert worker.exit_code() == 0
        worker.wait_until_nothing_is_left()
        wait_for_workers(client, "obedient", 0)
        assert counters(client)["requeued"] == 1
        processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
        assert future.result() == [b"cba"]


def test_srun_that_passes_on_a_sigterm_twice_lets_a_worker_and_a_broker_drain(
    processes: Processes, endpoint: str, note: Path, release: Path
) -> None:
    broker, worker = _start(processes, endpoint)
    with Client(endpoint, QUICK_CLIENT) as client:
        future = client.submit("obedient", _held(note, release))
        holder(note)
        for process in (worker, broker):
            process.send_group(signal.SIGTERM)
        until(lambda: client.management("broker")["draining"], "the broker drains")
        for process in (worker, broker):
            process.send_group(signal.SIGTERM)
        assert client.management("broker")["counters"]["requeued"] == 0
        release.touch()
        assert future.result() == [b"cba"]
        assert [worker.exit_code(), broker.exit_code()] == [0, 0]


def test_a_sigterm_at_the_end_of_a_job_that_was_announced_lets_a_worker_drain(
    processes: Processes, endpoint: str, note: Path, release: Path
) -> None:
    _, worker = _start(processes, endpoint)
    with Client(endpoint, QUICK_CLIENT) as client:
        future = client.submit("obedient", _held(note, release))
        holder(note)
        worker.send_group(signal.SIGUSR1)
        worker.send_group(signal.SIGTERM)
        release.touch()
        assert future.result() == [b"cba"]
        assert worker.exit_code() == 0


def test_a_host_that_is_killed_takes_its_idle_children_with_it(
    processes: Processes, endpoint: str
) -> None:
    processes.broker(endpoint, *QUICK)
    worker = processes.worker(endpoint, "obedient", OBEDIENT, "-n", "3", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 3)
    worker.send(signal.SIGKILL)
    worker.wait_until_nothing_is_left()


@pytest.mark.parametrize("order", [b"hold", b"hold_the_gil"])
def test_a_host_that_is_killed_takes_a_child_that_computes_with_it(
    processes: Processes, endpoint: str, note: Path, order: bytes
) -> None:
    _, worker = _start(processes, endpoint)
    with Client(endpoint, QUICK_CLIENT) as client:
        client.submit("obedient", [order, b"abc", os.fsencode(note), b"600"])
        holder(note)
        worker.send(signal.SIGKILL)
        worker.wait_until_nothing_is_left()


def test_a_host_that_is_killed_takes_a_child_in_its_setup_with_it(
    processes: Processes, endpoint: str
) -> None:
    worker = processes.worker(endpoint, "slow", "tests.faults.handlers:SlowToSetUp", *QUICK)
    worker.wait_until_it_says("setup began")
    worker.send(signal.SIGKILL)
    worker.wait_until_nothing_is_left()


def test_a_host_that_is_killed_while_its_child_starts_leaves_nothing_behind(
    processes: Processes, endpoint: str
) -> None:
    worker = processes.worker(endpoint, "slow", "tests.faults.handlers:SlowToSetUp", *QUICK)
    until(lambda: len(worker.alive()) > 1, "the host starts its child")
    worker.send(signal.SIGKILL)
    worker.wait_until_nothing_is_left()


@EACH
def test_a_broker_told_to_stop_waits_for_what_is_held_and_refuses_the_rest(
    processes: Processes, endpoint: str, note: Path, release: Path, number: signal.Signals
) -> None:
    broker, worker = _start(processes, endpoint)
    with Client(endpoint, QUICK_CLIENT) as client, rfc7.Client(endpoint) as stranger:
        held = client.submit("obedient", _held(note, release))
        holder(note)
        queued = client.submit("obedient", [b"reverse", b"queued"])
        until(lambda: client.services()["obedient"]["queued"] == 1, "a request is queued")
        broker.send_group(number)
        until(lambda: client.management("broker")["draining"], "the broker drains")
        error, code, _ = stranger.request(b"obedient", [b"reverse", b"new"])
        assert (error, code) == (b"MDP-ERROR", b"503")
        release.touch()
        assert held.result() == [b"cba"]
        assert broker.exit_code() == 0
        assert not queued.done()  # its client waits for another broker
        processes.broker(endpoint, *QUICK)
        assert queued.result() == [b"deueuq"]
        assert worker.popen.poll() is None


def test_a_request_whose_time_is_over_while_the_broker_drains_fails_and_says_so(
    processes: Processes, endpoint: str, note: Path, release: Path
) -> None:
    broker, _ = _start(processes, endpoint, "--drain", "2")
    in_a_hurry = ClientSettings(heartbeats=Heartbeats(0.2, 3), timeout_s=0.5, tries=1)
    with Client(endpoint, QUICK_CLIENT) as client, Client(endpoint, in_a_hurry) as hurried:
        client.submit("obedient", _held(note, release))
        holder(note)
        broker.send(signal.SIGTERM)
        until(lambda: client.management("broker")["draining"], "the broker drains")
        with pytest.raises(Draining, match="about to stop") as raised:
            hurried.request("obedient", [b"reverse", b"new"])
        assert raised.value.code == 503


def test_a_broker_stops_at_the_end_of_its_drain_time_and_the_next_one_answers(
    processes: Processes, endpoint: str, note: Path, release: Path
) -> None:
    broker, _ = _start(processes, endpoint, "--drain", "0.2")
    with Client(endpoint, QUICK_CLIENT) as client:
        future = client.submit("obedient", _held(note, release))
        holder(note)
        broker.send(signal.SIGTERM)
        assert broker.exit_code() == 0
        release.touch()
        processes.broker(endpoint, *QUICK)
        assert future.result() == [b"cba"]


def test_a_broker_told_twice_stops_at_once(
    processes: Processes, endpoint: str, note: Path, release: Path
) -> None:
    broker, _ = _start(processes, endpoint)
    with Client(endpoint, QUICK_CLIENT) as client:
        client.submit("obedient", _held(note, release))
        holder(note)
        broker.send(signal.SIGTERM)
        broker.send(signal.SIGINT)
        assert broker.exit_code(within_s=10.0) == 0
        broker.wait_until_nothing_is_left()


def test_a_terminal_that_is_closed_lets_a_broker_drain_though_two_hangups_come(
    processes: Processes, endpoint: str, note: Path, release: Path
) -> None:
    broker, _ = _start(processes, endpoint)
    with Client(endpoint, QUICK_CLIENT) as client:
        future = client.submit("obedient", _held(note, release))
        holder(note)
        broker.send(signal.SIGHUP)
        broker.wait_until_it_says("draining")
        broker.send(signal.SIGHUP)
        until(lambda: client.management("broker")["draining"], "the broker still drains")
        release.touch()
        assert future.result() == [b"cba"]
        assert broker.exit_code() == 0
        broker.wait_until_nothing_is_left()


def test_after_a_hangup_a_second_signal_stops_a_broker_at_once(
    processes: Processes, endpoint: str, note: Path, release: Path
) -> None:
    broker, _ = _start(processes, endpoint)
    with Client(endpoint, QUICK_CLIENT) as client:
        client.submit("obedient", _held(note, release))
        holder(note)
        broker.send(signal.SIGHUP)
        broker.send(signal.SIGTERM)
        assert broker.exit_code(within_s=10.0) == 0


def test_a_broker_and_a_worker_that_nohup_started_ignore_a_hangup(
    processes: Processes, endpoint: str
) -> None:
    mdp = ("-c", AS_NOHUP, "-m", "mdp")
    secured = keys.broker_options(endpoint)
    broker = processes.python(*mdp, "broker", "--bind", endpoint, *secured, *QUICK)
    worker = processes.python(*mdp, "worker", "obedient", OBEDIENT, "--broker", endpoint, *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "obedient", 1)
        for process in (worker, broker):
            process.send_group(signal.SIGHUP)
        assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]
        assert not client.management("broker")["draining"]
        for process in (worker, broker):
            process.send(signal.SIGTERM)
            assert process.exit_code() == 0
