"""Strangers that connect in thousands: the broker counts them, and goes on."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import zmq

from tests.messaging.test_memory import Peak
from tests.security.holders import Secured, check_honest, failed, served, wait_for_refusals
from tests.support.processes import Process, until

MIB = 1 << 20
MANY = 5000
AT_ONCE = 250
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)


def descriptors(process: Process) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def cpu_s(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def strangers(secured: Secured, count: int) -> Iterator[None]:
    """So many peers that connect with a key that the broker does not know."""
    with ExitStack() as stack:
        context = stack.enter_context(secured.context("unknown"))
        context.max_sockets = 2 * count
        for _ in range(count):
            stranger = stack.enter_context(context.socket(zmq.DEALER))
            stranger.linger = 0
            stranger.connect(secured.endpoint)
        yield


def connect(endpoint: str) -> socket.socket:
    host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
    return socket.create_connection((host, int(port)), 30.0)


def test_thousands_of_unknown_keys_leave_only_a_counter(secured: Secured) -> None:
    with served(secured) as (broker, client), Peak(broker) as peak:
        opened, spent_s = descriptors(broker), cpu_s(broker)
        for batch in range(0, MANY, AT_ONCE):
            with strangers(secured, AT_ONCE):
                wait_for_refusals(client, batch + AT_ONCE)
        check_honest(client)
        until(lambda: descriptors(broker) < opened + 20, "their descriptors are closed")
        print(f"{(cpu_s(broker) - spent_s) / MANY * 1e6:.0f} us of CPU each")
        assert peak.growth_bytes < 30 * MIB
        assert len(broker.stderr) < 50_000


def test_thousands_without_a_key_and_random_bytes_leave_only_a_counter(secured: Secured) -> None:
    with served(secured) as (broker, client), Peak(broker) as peak:
        opened = descriptors(broker)
        for number in range(MANY):
            with connect(secured.endpoint) as stranger:
                stranger.sendall(GREETING if number % 2 else os.urandom(100))
                if number % 2:
                    stranger.recv(200)
        wait_for_refusals(client, MANY // 2)
        check_honest(client)
        until(lambda: descriptors(broker) < opened + 20, "their descriptors are closed")
        assert peak.growth_bytes < 30 * MIB
        assert len(broker.stderr) < 50_000


def test_half_open_connections_end_by_themselves(secured: Secured) -> None:
    with served(secured) as (broker, client), Peak(broker) as peak:
        opened = descriptors(broker)
        halves = []
        for number in range(500):
            half = connect(secured.endpoint)
            curve = GREETING.replace(b"NULL\0", b"CURVE")
            half.sendall(b"" if number % 2 else curve[: 10 + number % 55])
            halves.append(half)
        check_honest(client)
        until(lambda: descriptors(broker) < opened + 20, "the broker ends them", within_s=60.0)
        for half in halves:
            half.close()
        assert peak.growth_bytes < 50 * MIB
        assert failed(client) >= 1
        assert len(broker.stderr) < 50_000


def test_a_message_of_no_end_before_the_handshake_takes_no_memory(secured: Secured) -> None:
    huge = b"\x06" + (1 << 62).to_bytes(8, "big")  # a long command: its length in 8 bytes
    with served(secured) as (broker, client), Peak(broker) as peak:
        curve = GREETING.replace(b"NULL\0", b"CURVE")
        for _ in range(20):
            with connect(secured.endpoint) as stranger:
                stranger.sendall(curve + huge)
                try:
                    for _ in range(50):
                        stranger.sendall(bytes(1 << 16))
                        time.sleep(0.001)
                except OSError:
                    pass  # the broker has ended it
        check_honest(client)
    assert peak.growth_bytes < 20 * MIB


def test_a_broker_that_was_stopped_meanwhile_goes_on(secured: Secured) -> None:
    with served(secured) as (broker, client):
        broker.send(signal.SIGSTOP)
        with strangers(secured, 900):
            time.sleep(0.5)
            broker.send(signal.SIGCONT)
            wait_for_refusals(client, 900)
        check_honest(client)
