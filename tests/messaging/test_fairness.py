"""Clients of one service are served in turn, and interactive ones first; none starves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from mdp import Client, wire
from tests.support.processes import QUICK, QUICK_CLIENT, Processes, until, wait_for_workers
from tests.support.raw_peer import RawPeer

OBEDIENT = "tests.faults.handlers:Obedient"
BRIEF = [b"note_and_sleep", b"x", os.devnull.encode(), b"0.02"]


def lane(*, interactive: bool = False) -> bytes:
    """The name of a lane of a client that has no other."""
    return wire.lane_name(os.urandom(8), os.urandom(8), interactive=interactive)


def serve(processes: Processes, endpoint: str, *options: str, workers: int) -> None:
    processes.broker(endpoint, *QUICK, *options)
    processes.worker(endpoint, "slow", OBEDIENT, "-n", str(workers), *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        wait_for_workers(client, "slow", workers)


@contextmanager
def queued(
    endpoint: str, *, peers: int, requests: int, names: list[bytes] | None = None
) -> Iterator[None]:
    """Peers whose requests wait in the service's queue."""
    with ExitStack() as stack:
        for number in range(peers):
            name = names[number] if names else lane()
            peer = stack.enter_context(RawPeer(endpoint, name))
            for _ in range(requests):
                peer.ask(b"slow", *BRIEF)
        yield


def wait_for_queue(client: Client, count: int) -> None:
    until(lambda: client.services()["slow"]["queued"] >= count, f"{count} requests are queued")


def turns_until_answered(client: Client) -> int:
    """How many requests of all clients are answered while one of this client is."""
    earlier = client.services()["slow"]["answered"]
    assert client.request("slow", BRIEF) == [b"x"]
    return client.services()["slow"]["answered"] - earlier


@pytest.mark.parametrize("name", [b"", b"a flood"], ids=["without a name", "with one"])
def test_one_request_beside_a_flood_of_another_peer_waits_for_one_turn(
    processes: Processes, endpoint: str, name: bytes
) -> None:
    serve(processes, endpoint, workers=2)
    with (
        Client(endpoint, QUICK_CLIENT) as client,
        queued(endpoint, peers=1, requests=400, names=[name]),
    ):
        wait_for_queue(client, 300)
        assert turns_until_answered(client) <= 8


def test_twenty_thousand_queued_requests_cost_another_client_one_round(
    processes: Processes, endpoint: str
) -> None:
    serve(processes, endpoint, workers=2)
    with (
        Client(endpoint, QUICK_CLIENT) as client,
        queued(endpoint, peers=1, requests=20_000),
    ):
        wait_for_queue(client, 19_000)
        for _ in range(3):
            assert turns_until_answered(client) <= 8


def test_a_client_that_fills_its_queue_leaves_room_for_the_others(
    processes: Processes, endpoint: str
) -> None:
    serve(processes, endpoint, "--max-queue", "200", workers=2)
    with (
        Client(endpoint, QUICK_CLIENT) as client,
        queued(endpoint, peers=1, requests=1000),
    ):
        wait_for_queue(client, 150)
        assert client.request("slow", BRIEF, tries=1) == [b"x"]


def test_lanes_of_one_client_share_its_turn(processes: Processes, endpoint: str) -> None:
    serve(processes, endpoint, workers=1)
    one_client = os.urandom(8)
    lanes = [wire.lane_name(one_client, os.urandom(8), interactive=False) for _ in range(40)]
    with (
        Client(endpoint, QUICK_CLIENT) as client,
        queued(endpoint, peers=40, requests=3, names=lanes),
    ):
        wait_for_queue(client, 80)
        assert turns_until_answered(client) <= 6


def test_an_interactive_client_is_served_before_production(
    processes: Processes, endpoint: str
) -> None:
    serve(processes, endpoint, workers=1)
    with (
        Client(endpoint, replace(QUICK_CLIENT, interactive=True)) as person,
        Client(endpoint, QUICK_CLIENT) as production,
        queued(endpoint, peers=40, requests=6),
    ):
        wait_for_queue(person, 150)
        assert turns_until_answered(person) <= 6
        assert turns_until_answered(production) >= 20


def test_production_goes_on_beside_interactive_clients_that_flood(
    processes: Processes, endpoint: str
) -> None:
    serve(processes, endpoint, workers=1)
    names = [lane(interactive=True) for _ in range(20)]
    with (
        Client(endpoint, QUICK_CLIENT) as production,
        queued(endpoint, peers=20, requests=20, names=names),
    ):
        wait_for_queue(production, 300)
        assert turns_until_answered(production) <= 30
