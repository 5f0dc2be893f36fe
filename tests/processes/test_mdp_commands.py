"""`mdp call`, `mdp services --watch` and the logs of broker and workers, as a user sees them."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mdp import Client, ServiceError
from mdp.sockets import Poll, clock
from mdp.system.interrupts import stop_signals
from mdp.system.process import stop_signal
from tests.support.commands_of_mdp import command, environment, mdp
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    ROOT,
    Processes,
    free_port,
    until,
    wait_for_workers,
)

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with an echo worker."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Processes(tmp_path_factory.mktemp("served")) as processes:
        processes.broker(endpoint, *QUICK)
        processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
        with Client(endpoint, QUICK_CLIENT) as client:
            wait_for_workers(client, "echo", 1)
        yield endpoint


# mdp call


def test_a_service_that_nobody_serves_is_an_error_at_once_with_those_that_are(
    served: str,
) -> None:
    started_at = time.monotonic()
    [line] = mdp("call", "nothere", "x", "-b", served, code=1).stderr.splitlines()
    assert time.monotonic() - started_at < 8  # of the 30 s that three tries take
    assert "nothere" in line
    assert "serves: echo" in line
    assert "--wait" in line


def test_wait_waits_for_a_worker_and_says_so(processes: Processes, served: str) -> None:
    arguments = ("call", "late", "hello", "-b", served, "--wait", "60")
    call = subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with call:
        assert call.stderr is not None
        assert "waiting up to 60 s for a worker of late" in call.stderr.readline()
        processes.worker(served, "late", "mdp.echo:Echo", *QUICK)
        out, _ = call.communicate(timeout=60)
    assert (call.returncode, out) == (0, "hello\n")


def test_a_wait_for_nobody_ends_in_time_and_can_be_quiet(served: str) -> None:
    wait = ("call", "nobody", "x", "-b", served, "--wait", 0.5)
    assert "waiting up to 0.5 s" in mdp(*wait, code=1).stderr
    [line] = mdp(*wait, "--quiet", code=1).stderr.splitlines()
    assert "no worker serves nobody" in line


def test_without_a_broker_a_call_says_how_to_start_one_within_its_timeout(endpoint: str) -> None:
    started_at = time.monotonic()
    done = mdp("call", "echo", "x", "-b", endpoint, "--timeout", 1, code=1)
    assert time.monotonic() - started_at < 8
    assert f"no broker answers at {endpoint} within 1 s" in done.stderr
    assert f"`mdp broker --bind {endpoint}` starts one" in done.stderr


def test_a_broker_that_does_not_know_mmi_is_asked_all_the_same(
    processes: Processes, endpoint: str
) -> None:
    processes.python("-m", "tests.interop.silent_about_mmi", endpoint)
    done = mdp("call", "echo", "hello", "-b", endpoint)
    assert done.stdout == "hello\n"
    assert "does not answer mmi.service" in done.stderr


# mdp services --watch


def lines_of(watch: subprocess.Popen[str], count: int) -> list[str]:
    """As they come: a line that is not flushed would be waited for without end."""
    assert watch.stdout is not None
    return [watch.stdout.readline() for _ in range(count)]


def watching(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("services", "--watch", "--every", "0.2", *arguments),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_watch_in_a_pipe_prints_rows_with_the_time_and_ends_with_0(
    served: str, number: signal.Signals
) -> None:
    with watching("echo", "-b", served) as watch:
        lines = lines_of(watch, 4)
        watch.send_signal(number)
        _, err = watch.communicate(timeout=30)
    assert (watch.returncode, err) == (0, "")
    head, row, _, later = [line.split() for line in lines]
    assert all(ISO.fullmatch(words[0]) for words in (head, row, later))
    assert head[1:4] == ["service", "workers", "idle"]
    assert row[1:3] == later[1:3] == ["echo", "1"]
    assert row[0] < later[0]


def test_watch_for_programs_is_an_object_a_line(served: str) -> None:
    with watching("--json", "--by-worker", "-b", served) as watch:
        first, second = map(json.loads, lines_of(watch, 2))
        watch.send_signal(signal.SIGINT)
        watch.communicate(timeout=30)
    assert watch.returncode == 0
    assert first["services"]["echo"]["workers"] == 1
    assert "echo" in {worker["service"] for worker in first["workers"]}
    passed = datetime.fromisoformat(second["time"]) - datetime.fromisoformat(first["time"])
    assert timedelta(0) < passed < timedelta(seconds=20)


def test_watch_goes_on_without_a_broker(processes: Processes, endpoint: str) -> None:
    with watching("--json", "--timeout", "0.3", "-b", endpoint) as watch:
        [silent] = map(json.loads, lines_of(watch, 1))
        assert endpoint in silent["error"]
        processes.broker(endpoint)
        assert watch.stdout is not None
        for line in watch.stdout:
            if "services" in json.loads(line):
                break
        watch.send_signal(signal.SIGTERM)
        watch.communicate(timeout=30)
    assert watch.returncode == 0


@pytest.mark.parametrize("options", [(), ("--json",), ("--watch",), ("--watch", "--json")])
def test_a_reader_that_leaves_ends_services_quietly(served: str, options: tuple[str, ...]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        command("services", *options, "-b", served),
        cwd=ROOT,
        env=environment(),
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(write_end)
    assert done.stderr == ""


def test_a_terminal_that_is_closed_ends_watch_with_0_though_it_cannot_be_written(
    served: str,
) -> None:
    screen, terminal = pty.openpty()
    # the leader of a new session that opens a terminal is hung up when it is closed
    own = "import os, sys; os.open(os.ttyname(1), os.O_RDWR); os.execv(sys.argv[1], sys.argv[1:])"
    watch = subprocess.Popen(
        [
            sys.executable,
            "-c",
            own,
            *command("services", "--watch", "--every", "0.2", "-b", served),
        ],
        cwd=ROOT,
        env=environment(TERM="xterm-256color"),
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    text = b""
    with watch:
        while b"echo" not in text:
            text += os.read(screen, 65536)
        os.close(screen)
        assert watch.wait(30) == 0


def test_the_last_table_stays_on_a_terminal_and_ctrl_c_is_exit_0(served: str) -> None:
    screen, terminal = pty.openpty()
    watch = subprocess.Popen(
        command("services", "--watch", "--every", "0.2", "-b", served),
        cwd=ROOT,
        env=environment(TERM="xterm-256color"),
        stdout=terminal,
        stderr=subprocess.PIPE,
    )
    os.close(terminal)
    text = b""
    with watch:
        while b"echo" not in text:
            text += os.read(screen, 65536)
        watch.send_signal(signal.SIGINT)
        text += _rest(screen)
        assert watch.wait(30) == 0
    os.close(screen)
    after = text.decode().rpartition("\x1b[?1049l")[2]  # back from the screen of its own
    assert "service" in after
    assert "echo" in after


def _rest(screen: int) -> bytes:
    text = b""
    while True:
        try:
            piece = os.read(screen, 65536)
        except OSError:  # Linux: the other end is closed
            return text
        if not piece:
            return text
        text += piece


def test_quiet_services_tell_by_the_exit_code(served: str) -> None:
    assert mdp("services", "echo", "--quiet", "-b", served).stdout == ""
    assert mdp("services", "nobody", "--quiet", "-b", served, code=1).stdout == ""
    assert "--quiet" in mdp("services", "--quiet", "-b", served, code=2).stderr


# Logs.


def test_log_lines_have_a_time_with_its_zone_in_every_process(
    processes: Processes, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    broker = processes.broker(endpoint, *QUICK)
    host = processes.worker(endpoint, "raises", "tests.faults.handlers:Obedient", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "raises", 1)
        with pytest.raises(ServiceError, match=r"LookupError: run 7 \(handlers\.py:\d+\)"):
            client.request("raises", [b"raise", b"run 7"])
    until(lambda: "handle() failed" in host.stderr, "the child logs")
    for process in (broker, host):
        logged = re.findall(r"(\S+) (?:INFO|ERROR) ", process.stderr)
        assert len(logged) >= 2
        assert all(ISO.fullmatch(when) and when.endswith("+05:30") for when in logged)
    assert re.search(r"ERROR   raises#1 \(pid \d+\): handle\(\) failed", host.stderr)


def test_a_signal_that_does_not_interrupt_a_poll_ends_it_nevertheless() -> None:
    # as one that comes just before the poll begins: here it comes to another thread
    handlers = {number: signal.getsignal(number) for number in stop_signals()}
    try:
        with stop_signal() as wakeup:
            kill = threading.Timer(
                0.2, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            )
            kill.start()
            started_at = clock()
            Poll(wakeup).wait(started_at + 20)
            assert clock() - started_at < 10
            assert wakeup.count == 1
            kill.join()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_a_quiet_broker_logs_no_more_than_warnings(processes: Processes, endpoint: str) -> None:
    broker = processes.broker(endpoint, "--quiet")
    broker.send(signal.SIGTERM)
    assert broker.exit_code() == 0
    assert broker.stderr == ""
