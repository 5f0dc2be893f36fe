"""Brokers that move, with real processes: contact files, take-over, clients that come first."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from mdp import Client, ClientSettings, NotServed, RequestTimeout
from mdp.broker.contact_keeper import ContactKeeper
from mdp.errors import MDPError
from mdp.system import contact
from mdp.system.broker_report import broker_report, is_alive
from tests.support.commands_of_mdp import mdp
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Process,
    Processes,
    counters,
    free_port,
    until,
    wait_for_workers,
)

HANDLERS = "tests.faults.handlers:Obedient"
WAITS = replace(QUICK_CLIENT, waits=True)
OTHER_USER = """
import os, sys
from mdp import BrokerSettings
from mdp.broker.broker_loop import serve_broker
from mdp.system.logs import configure_logging
from mdp.system.process import stop_signal
os.setuid(65534)
configure_logging(verbose=False)
with stop_signal() as stop:
    serve_broker([sys.argv[1]], BrokerSettings(), stop)
"""
ANY_PORT = "tcp://127.0.0.1:0"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "broker.json"


def start(processes: Processes, file: Path, *options: str, bind: str = ANY_PORT) -> Process:
    """A broker with this contact file; returns when the file is its own."""
    before = known(file)
    process = processes.python(
        *("-m", "mdp", "broker", "--bind", bind, "--contact", str(file), *QUICK, *options)
    )
    until(lambda: known(file) not in ("", before) or process.popen.poll(), "the broker serves")
    assert process.popen.poll() is None, process.stderr
    return process


def known(file: Path) -> str:
    """The instance in the file; empty without one."""
    try:
        return contact.read(file).instance
    except MDPError:
        return ""


def bodies(log: Path) -> Counter[bytes]:
    """How often workers have begun each request."""
    lines = log.read_bytes().splitlines() if log.exists() else []
    return Counter(line.split(b" ", 1)[1] for line in lines)


# The broker and its file.


def test_a_broker_writes_its_free_port_and_removes_the_file_at_its_end(
    processes: Processes, file: Path
) -> None:
    broker = start(processes, file, "--public", bind="tcp://0.0.0.0:0")
    here = contact.read(file)
    assert here.address.startswith(f"tcp://{os.uname().nodename}:")
    assert not here.address.endswith(":0")
    assert (here.pid, here.user) == (broker.pid, contact.user_name())
    assert is_alive(here)
    assert "no services yet" in mdp("services", "--broker", f"@{file}").stdout
    broker.send(signal.SIGTERM)
    assert broker.exit_code() == 0
    assert not file.exists()
    failed = mdp("services", "--broker", f"@{file}", code=1)
    assert f"no contact file {file}" in failed.stderr
    assert "mdp broker --contact" in failed.stderr


def test_the_host_of_the_file_can_be_given(processes: Processes, file: Path) -> None:
    start(processes, file, "--advertise", "127.0.0.1", "--public", bind="tcp://0.0.0.0:0")
    assert contact.read(file).address.startswith("tcp://127.0.0.1:")


def test_the_file_of_a_living_broker_is_refused_and_that_of_a_dead_one_is_taken(
    processes: Processes, file: Path
) -> None:
    first = start(processes, file)
    refused = mdp("broker", "--bind", ANY_PORT, "--contact", str(file), code=1)
    for words in ("--take-over", str(first.pid), contact.read(file).address):
        assert words in refused.stderr
    first.kill()
    assert file.exists()
    start(processes, file)


def test_a_supervised_broker_that_dies_writes_the_file_again(
    processes: Processes, file: Path
) -> None:
    start(processes, file, "--supervise")
    old = contact.read(file)
    os.kill(old.pid, signal.SIGKILL)
    until(lambda: known(file) not in ("", old.instance), "the broker is back")
    new = contact.read(file)
    assert new.address != old.address
    assert is_alive(new)


def test_a_broker_that_takes_the_place_of_a_dead_one_is_not_asked_whether_that_one_lives(
    file: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:  # as this broker: it does not answer yet
        address = f"tcp://127.0.0.1:{bound.getsockname()[1]}"
        contact.write(file, contact.Contact(address, "00" * 8))
        with ContactKeeper(str(file), contact.Contact(address, "11" * 8)):
            assert known(file) == "11" * 8
        bound.setblocking(False)
        with pytest.raises(BlockingIOError):
            bound.accept()  # nobody has connected


@pytest.mark.parametrize("is_removed", [True, False], ids=["folder removed", "file overwritten"])
def test_a_file_that_cannot_be_read_or_written_is_named_once_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_removed: bool
) -> None:
    file = tmp_path / "folder" / "broker.json"
    file.parent.mkdir()
    with ContactKeeper(str(file), contact.Contact("tcp://127.0.0.1:1", "11" * 8)) as keeper:
        if is_removed:
            file.unlink()
            file.parent.rmdir()
        else:
            file.write_text("{")
        for _ in range(20):
            keeper.look()
        assert not keeper.is_replaced
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert str(file) in warning.getMessage()


def test_a_file_that_somebody_removes_is_written_again(processes: Processes, file: Path) -> None:
    start(processes, file)
    old = contact.read(file)
    file.unlink()
    until(lambda: known(file) == old.instance, "the file is back")


def test_a_broker_whose_time_ends_leaves_before_it(processes: Processes, file: Path) -> None:
    broker = start(processes, file, "--until", "12s", "--drain", "5")
    assert broker.exit_code(within_s=15.0) == 0
    assert "--until" in broker.stderr
    assert not file.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--take-over",), "--contact"),
        (("--advertise", "node7"), "--contact"),
        (("--contact", "f", "--advertise", "a b"), "--advertise"),
        (("--until", "4:00"), "--until"),
    ],
)
def test_options_that_do_not_fit_are_misuse(options: tuple[str, ...], words: str) -> None:
    assert words in mdp("broker", "--bind", ANY_PORT, *options, code=2).stderr


def test_a_report_of_a_broker_names_its_user_and_its_host(processes: Processes, file: Path) -> None:
    start(processes, file)
    report = broker_report(contact.read(file).address)
    assert report is not None
    assert (report["user"], report["host"]) == (contact.user_name(), os.uname().nodename)
    assert broker_report(f"tcp://127.0.0.1:{free_port()}") is None


# Clients.


def test_a_client_before_its_broker_and_workers_waits_for_both(
    processes: Processes, file: Path
) -> None:
    with Client(f"@{file}", WAITS) as client:
        future = client.submit("obedient", [b"reverse", b"abc"])
        start(processes, file)
        until(lambda: client.address is not None, "the client has found the broker")
        processes.worker(f"@{file}", "obedient", HANDLERS, *QUICK)
        assert future.result(timeout=60) == [b"cba"]
        assert client.broker_shown == f"{contact.read(file).address} (@{file})"


def test_a_gap_without_workers_does_not_end_a_client_that_waits(
    processes: Processes, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start(processes, file, "--expiry", "0.5")
    with Client(f"@{file}", WAITS) as client, Client(f"@{file}", QUICK_CLIENT) as other:
        waits = client.submit("obedient", [b"reverse", b"abc"])
        with pytest.raises(NotServed):
            other.request("obedient", [b"reverse", b"abc"])
        until(lambda: counters(other)["refused"] >= 3, "the broker has answered 404 often")
        until(lambda: "waiting for workers of obedient, 1" in caplog.text, "the client says so")
        assert not waits.done()
        processes.worker(f"@{file}", "obedient", HANDLERS, *QUICK)
        assert waits.result(timeout=60) == [b"cba"]


def test_a_client_says_why_a_literal_address_cannot_be_reached(
    endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(endpoint, WAITS) as client:
        client.submit("echo", [b"x"])
        until(lambda: "refuses the connection (errno 111)" in caplog.text, "it says why")
    assert f"waiting for the broker at {endpoint}, 10 s" in caplog.text
    assert f"`mdp broker --bind {endpoint}` starts one" in caplog.text


def test_a_client_without_a_file_times_out_with_the_reason(file: Path) -> None:
    settings = ClientSettings(timeout_s=1.5, tries=1)
    with Client(f"@{file}", settings) as client, pytest.raises(RequestTimeout) as raised:
        client.request("echo", [b"x"])
    assert f"no contact file {file}" in str(raised.value)


def test_a_dead_brokers_port_that_another_broker_has_now_gets_no_request(
    processes: Processes, file: Path
) -> None:
    port = free_port()
    other = f"tcp://127.0.0.1:{port}"
    dead = start(processes, file, bind=other)
    with Client(f"@{file}", WAITS) as client:
        client.services()  # it has a lane to the first broker
        stale = contact.read(file)
        dead.kill()
        processes.broker(other, *QUICK)  # another one at the same port, which has no contact file
        processes.worker(other, "obedient", HANDLERS, *QUICK)
        with Client(other, QUICK_CLIENT) as direct:
            wait_for_workers(direct, "obedient", 1)
            futures = [client.submit("obedient", [b"reverse", b"abc"]) for _ in range(20)]
            asked = counters(direct)["accepted"]
            with Client(f"@{file}", QUICK_CLIENT) as late, pytest.raises(RequestTimeout) as raised:
                late.request("obedient", [b"reverse", b"abc"], timeout_s=3.0, tries=1)
            assert "another broker" in str(raised.value)
            assert counters(direct)["accepted"] == asked == 0
            assert not any(future.done() for future in futures)
        start(processes, file)
        assert known(file) != stale.instance
        processes.worker(f"@{file}", "obedient", HANDLERS, *QUICK)
        assert {tuple(future.result(timeout=60)) for future in futures} == {(b"cba",)}


def ask(client: Client, log: Path, count: int, seconds: float) -> list[Future[list[bytes]]]:
    order = [b"note_and_sleep", b"", str(log).encode(), b"%g" % seconds]
    futures = []
    for number in range(count):
        order[1] = b"request %d" % number
        futures.append(client.submit("obedient", [*order]))
    return futures


def check(futures: list[Future[list[bytes]]]) -> None:
    """Each has its own answer."""
    for number, future in enumerate(futures):
        assert future.result(timeout=120) == [b"request %d" % number]


def test_a_broker_that_is_killed_and_started_elsewhere_is_followed_by_all(
    processes: Processes, file: Path, tmp_path: Path
) -> None:
    log = tmp_path / "requests"
    broker = start(processes, file)
    processes.worker(f"@{file}", "obedient", HANDLERS, "--workers", "3", *QUICK)
    with Client(f"@{file}", replace(WAITS, lanes=200)) as client:
        wait_for_workers(client, "obedient", 3)
        futures = ask(client, log, 200, 0.05)
        for part in (40, 100):
            until(lambda part=part: len(bodies(log)) >= part, f"{part} were begun")  # type: ignore[misc]
            address = contact.read(file).address
            broker.kill()
            broker = start(processes, file)
            assert contact.read(file).address != address
        check(futures)
        accepted = counters(client)["accepted"]
        assert len(bodies(log)) == 200
    assert accepted >= 100 - 3


def test_a_take_over_loses_nothing_and_computes_nothing_twice(
    processes: Processes, file: Path, tmp_path: Path
) -> None:
    log = tmp_path / "requests"
    old = start(processes, file)
    processes.worker(f"@{file}", "obedient", HANDLERS, "--workers", "3", *QUICK)
    with Client(f"@{file}", replace(WAITS, lanes=200)) as client:
        wait_for_workers(client, "obedient", 3)
        futures = ask(client, log, 200, 0.1)
        until(lambda: len(bodies(log)) >= 20, "some were begun")
        new = start(processes, file, "--take-over")
        assert old.exit_code(within_s=20) == 0
        check(futures)
        assert set(bodies(log).values()) == {1}
        assert counters(client)["answered"] > 10
    assert contact.read(file).pid == new.pid
    assert "handing over" in old.stderr


def test_long_requests_at_a_broker_that_hands_over_are_computed_once(
    processes: Processes, file: Path, tmp_path: Path
) -> None:
    log = tmp_path / "requests"
    old = start(processes, file)
    processes.worker(f"@{file}", "obedient", HANDLERS, "--workers", "2", *QUICK)
    with Client(f"@{file}", WAITS) as client:
        wait_for_workers(client, "obedient", 2)
        futures = ask(client, log, 6, 8.0)  # longer than a client's lease of 2 s
        until(lambda: len(bodies(log)) == 2, "two are held")
        start(processes, file, "--take-over")
        check(futures)
        assert old.exit_code() == 0
        assert set(bodies(log).values()) == {1}


def test_mdp_commands_take_the_file(processes: Processes, file: Path) -> None:
    start(processes, file)
    processes.worker(f"@{file}", "obedient", HANDLERS, *QUICK)
    at = ("--broker", f"@{file}")
    assert mdp("call", "obedient", "reverse", "abc", "--wait", "60", *at).stdout == "cba\n"
    assert json.loads(mdp("services", "--json", *at).stdout)["services"]["obedient"]["workers"] == 1
    nobody = mdp("call", "nobody", "x", *at, code=1).stderr
    assert f"{contact.read(file).address} (@{file})" in nobody
    assert "want @FILE" in mdp("services", "--broker", "@", code=2).stderr


def test_another_users_broker_at_a_loopback_address_is_warned_of(
    processes: Processes, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to start a broker of another user")
    broker = processes.python("-c", OTHER_USER, endpoint)
    until(lambda: "serving" in broker.stderr or broker.popen.poll(), "it serves")
    with Client(endpoint, QUICK_CLIENT) as client:
        client.services()
        client.submit("nothing", [b""])
        until(lambda: "your requests go to that broker" in caplog.text, "the client warns")
    assert contact.user_name() in caplog.text
    assert "@FILE" in caplog.text
