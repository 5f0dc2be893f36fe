"""What an operator does to a running broker, with real processes: pause, retire, cancel, drain."""

from __future__ import annotations

import os
import pty
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mdp import Cancelled, Client
from tests.support.commands_of_mdp import command, environment, mdp
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    ROOT,
    Process,
    Processes,
    free_port,
    until,
    wait_for_workers,
)

HANDLERS = "tests.faults.handlers:Obedient"
SHORT = replace(QUICK_CLIENT, timeout_s=1.5, tries=1)


class Site:
    """A broker and two processes of workers."""

    def __init__(self, processes: Processes, *options: str) -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.processes = processes
        self.broker = processes.broker(self.address, *QUICK)
        self.workers = [
            processes.worker(self.address, "echo", HANDLERS, *QUICK, *options) for _ in range(2)
        ]
        with Client(self.address, QUICK_CLIENT) as client:
            wait_for_workers(client, "echo", 2)

    def order(self, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        return mdp(*words, "--yes", "--broker", self.address, code=code)

    def name(self, worker: Process) -> str:
        return f"{os.uname().nodename}:{worker.pid}"


def site_of(processes: Processes, *options: str) -> Site:
    return Site(processes, *options)


def holding(client: Client, tmp_path: Path, text: bytes = b"held") -> tuple[object, Path]:
    """Send a request that its worker holds until a file is there."""
    note, release = tmp_path / f"{text.decode()}.note", tmp_path / "release"
    future = client.submit("echo", [b"wait_for", text, bytes(note), bytes(release)])
    until(note.is_symlink, "a worker holds the request")
    return future, release


def test_a_pause_holds_requests_back_longer_than_their_time_and_idle_workers_stay(
    processes: Processes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = site_of(processes, "--idle", "8")
    assert "echo is paused" in site.order("service", "pause", "echo").stdout
    assert "paused already" in site.order("service", "pause", "echo").stdout
    with Client(site.address, SHORT) as client:
        future = client.submit("echo", [b"reverse", b"abc"])
        until(lambda: "echo is paused by" in caplog.text, "the client says that it is paused")
        until(lambda: _waits_longer_than(client, 9.0), "the request outlives its time")
        assert client.services()["echo"]["workers"] == 2, "though they are idle for more than 8 s"
        assert not future.done()
        done = site.order("service", "resume", "echo")
        assert "echo goes on" in done.stdout
        assert future.result(30) == [b"cba"]
    text = site.broker.stderr
    by = f"@{os.uname().nodename}"
    assert f"{by}: 0 requests queued" in text
    assert "echo: resumed by" in text


def _waits_longer_than(client: Client, seconds: float) -> bool:
    clients = client.management("clients")["clients"]
    return any(row["queued"] == 1 and row["oldest_s"] > seconds for row in clients)


def test_a_retired_worker_finishes_its_request_and_its_process_ends_with_0(
    processes: Processes, tmp_path: Path
) -> None:
    site = site_of(processes)
    with Client(site.address, QUICK_CLIENT) as client:
        future, release = holding(client, tmp_path)
        held_by = {
            row["facts"]["pid"] for row in client.management("workers")["workers"] if row["busy_s"]
        }
        [busy] = [worker for worker in site.workers if worker.pid in held_by]
        [other] = [worker for worker in site.workers if worker is not busy]
        assert "1 worker told to end" in site.order("retire", site.name(busy)).stdout
        assert client.request("echo", [b"reverse", b"ab"]) == [b"ba"], "the other one serves"
        assert busy.popen.poll() is None, "it holds a request"
        release.touch()
        assert future.result(30) == [b"dleh"]  # type: ignore[attr-defined]
        assert busy.exit_code() == 0
        wait_for_workers(client, "echo", 1)
        counters = client.management("broker")["counters"]
        assert (counters["requeued"], counters["workers_lost"], counters["workers_died"]) == (
            0,
            0,
            0,
        )
    done = site.order("retire", f"{site.name(other)}9", code=1)
    assert f"near it: {site.name(other)}" in done.stderr
    site.order("retire", "--host", os.uname().nodename)
    assert other.exit_code() == 0


def test_cancelled_requests_end_with_an_error_that_says_who_did_it(
    processes: Processes, tmp_path: Path
) -> None:
    site = site_of(processes)
    with Client(site.address, QUICK_CLIENT) as client:
        future, _ = holding(client, tmp_path)
        me = f"{os.uname().nodename}:{os.getpid()}"
        until(
            lambda: me in mdp("services", "--by-client", "-b", site.address).stdout, "it is known"
        )
        assert "cancelled 1 request" in site.order("cancel", "--client", me).stdout
        with pytest.raises(Cancelled, match=r"cancelled by .*@") as raised:
            future.result(30)  # type: ignore[attr-defined]
        assert raised.value.code == 410
        assert raised.value.request in site.broker.stderr
        assert "no client" in site.order("cancel", "--client", me, code=1).stderr
        site.order("service", "pause", "echo")
        queued = client.submit("echo", [b"reverse", b"x"])
        [row] = until(lambda: client.management("clients")["clients"], "it waits")
        [request] = row["requests"]
        site.order("cancel", "--request", request["id"])
        with pytest.raises(Cancelled, match=request["id"]):
            queued.result(30)


def test_drain_ends_the_broker_as_sigterm_does(processes: Processes, tmp_path: Path) -> None:
    site = site_of(processes)
    with Client(site.address, QUICK_CLIENT) as client:
        future, release = holding(client, tmp_path)
        assert "workers hold 1 requests" in site.order("drain").stdout
        site.broker.wait_until_it_says("drained by")
        assert site.broker.popen.poll() is None, "a worker holds a request"
        release.touch()
        assert future.result(30) == [b"dleh"]  # type: ignore[attr-defined]
    assert site.broker.exit_code() == 0


def test_without_a_terminal_an_order_needs_yes_and_on_one_it_asks_once(
    processes: Processes,
) -> None:
    site = site_of(processes)
    refused = subprocess.run(
        command("drain", "--broker", site.address),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 2
    assert "add --yes" in refused.stderr
    for answer, code in ((b"n\n", 1), (b"y\n", 0)):
        screen, terminal = pty.openpty()
        os.write(screen, answer)
        asked = subprocess.run(
            command("drain", "--broker", site.address),
            cwd=ROOT,
            env=environment(),
            stdin=terminal,
            capture_output=True,
            text=True,
            timeout=60,
        )
        os.close(terminal)
        os.close(screen)
        assert asked.returncode == code, asked.stderr
        assert asked.stderr.count("?") == 1
        assert (site.broker.popen.poll() is None) or answer == b"y\n"
    assert site.broker.exit_code() == 0


def test_a_key_without_the_rights_of_an_operator_is_refused(
    processes: Processes, tmp_path: Path
) -> None:
    file, published = tmp_path / "july" / "broker.json", tmp_path / "july.json"
    broker = processes.python(
        *("-m", "mdp", "broker", "--bind", "tcp://127.0.0.1:0", "--contact", str(file), *QUICK),
        *("--keys", "--publish", str(published)),
    )
    broker.wait_until_it_says("serving at")
    until(file.exists, "the contact file is there")
    for name, role in (("bob", "client"), ("ann", "operator")):
        mdp("keys", "new", name, "--role", role, "--contact", file, "-o", tmp_path / f"{name}.json")
    processes.python(*("-m", "mdp", "worker", "echo", HANDLERS, "--broker", f"@{file}", *QUICK))
    with Client(f"@{file}", QUICK_CLIENT) as client:
        wait_for_workers(client, "echo", 1)
    order = ("service", "pause", "echo", "--yes", "--broker")
    done = mdp(*order, f"@{tmp_path / 'bob.json'}", code=1)
    assert "'bob' is a client's, want an operator's" in done.stderr
    mdp(*order, f"@{tmp_path / 'ann.json'}")
    assert "echo: paused by key ann (" in broker.stderr
