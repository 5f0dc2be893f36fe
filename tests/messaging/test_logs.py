"""No peer can fill the broker's log, whatever it repeats."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from mdp import Client
from tests.support.processes import QUICK, QUICK_CLIENT, Processes, until, wait_for_workers
from tests.support.raw_peer import flood

LONG = b"a service with a long name " + b"x" * 200
ENOUGH = 50_000  # bytes
MANY = 30_000  # messages


def joins_and_leaves() -> Iterator[list[bytes]]:
    return itertools.cycle([[b"MDPW02", b"\x01", LONG], [b"MDPW02", b"\x06"]])


def joins_again() -> Iterator[list[bytes]]:
    return itertools.repeat([b"MDPW02", b"\x01", LONG])


def joins_many_services() -> Iterator[list[bytes]]:
    for number in itertools.count():
        yield [b"MDPW02", b"\x01", b"%d" % number]
        yield [b"MDPW02", b"\x06"]


def announces() -> Iterator[list[bytes]]:
    """Fingerprints that are refused, since another one serves."""
    for number in itertools.count():
        yield [b"MDPC02", b"\x01", b"mmi.fingerprint", b"echo", b"%d" % number]
        yield [b"MDPW02", b"\x01", b"echo"]
        yield [b"MDPW02", b"\x06"]


def answers_nothing() -> Iterator[list[bytes]]:
    while True:
        yield [b"MDPW02", b"\x04", os.urandom(16), b"", b"x"]


def retires() -> Iterator[list[bytes]]:
    return itertools.cycle(
        [
            [b"MDPW02", b"\x01", LONG],
            [b"MDPC02", b"\x01", b"mmi.retire"],
            [b"MDPW02", b"\x05"],
            [b"MDPW02", b"\x06"],
        ]
    )


def is_refused() -> Iterator[list[bytes]]:
    """Reserved names, long names, too many frames."""
    names = [
        [b"MDPW02", b"\x01", b"mmi.mine"],
        [b"MDPC02", b"\x01", LONG * 2],
        [b"MDPC02", b"\x01", b"mmi.cancel", b"nobody"],
    ]
    return itertools.cycle([*names * 20, [b"MDPC02", b"\x01", b"echo", *[b"x"] * 1100]])


@pytest.mark.parametrize(
    "messages",
    [
        joins_and_leaves,
        joins_again,
        joins_many_services,
        announces,
        answers_nothing,
        retires,
        is_refused,
    ],
)
def test_a_flood_costs_a_bounded_log_and_others_are_served(
    processes: Processes, endpoint: str, messages: object
) -> None:
    broker = processes.broker(endpoint, *QUICK)
    processes.worker(endpoint, "echo", "mdp.echo:Echo", *QUICK)
    assert callable(messages)
    passed = 0

    def counted() -> Iterator[list[bytes]]:
        nonlocal passed
        for message in messages():
            passed += 1
            yield message

    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "echo", 1)
        with flood(endpoint, counted()):
            until(lambda: passed > MANY, "the flood has come")
            assert client.request("echo", [b"x"], timeout_s=20.0) == [b"x"]
        assert client.request("echo", [b"x"], timeout_s=20.0) == [b"x"]
    assert len(broker.stderr) < ENOUGH
    assert "Traceback" not in broker.stderr
