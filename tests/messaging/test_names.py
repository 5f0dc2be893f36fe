"""Every socket of ours chooses its routing id; one that the broker would give out can be claimed.

A ROUTER socket names a peer without an id by a zero byte and a counter. If another peer has claimed
the next such name, libzmq ends the broker's process at an assertion (docs/protocol.md).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import pytest
import zmq

from mdp import Client, ClientSettings, Heartbeats, MDPError, wire
from tests.support.commands_of_mdp import mdp
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    free_port,
    until,
    wait_for_workers,
)
from tests.support.raw_peer import RawPeer

CLAIMED = 60


class Listener(threading.Thread):
    """Stands where a broker should, answers nothing, and keeps the name of each peer."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peers: dict[bytes, list[bytes]] = {}
        """What the peer sent first."""
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.linger = 0
        self.endpoint = f"tcp://127.0.0.1:{self._router.bind_to_random_port('tcp://127.0.0.1')}"
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            if self._router.poll(50):
                peer, *frames = self._router.recv_multipart()
                self.peers.setdefault(peer, frames)
        self._context.destroy(linger=0)

    def close(self) -> None:
        self._over.set()
        self.join()

    def names_of(self, text: bytes) -> list[bytes]:
        """The peers in whose first message this frame is."""
        return [peer for peer, frames in dict(self.peers).items() if text in frames]


@pytest.fixture
def listener() -> Iterator[Listener]:
    thread = Listener()
    thread.start()
    yield thread
    thread.close()


def test_each_socket_of_ours_has_a_name_that_it_chose(
    processes: Processes, listener: Listener
) -> None:
    brief = ClientSettings(heartbeats=Heartbeats(0.1, 2), timeout_s=0.4, tries=2)
    processes.worker(listener.endpoint, "echo", "mdp.echo:Echo", *QUICK)
    with Client(listener.endpoint, brief) as client, pytest.raises(MDPError):
        client.request("asked", [b"x"])
    mdp("services", "--broker", listener.endpoint, code=1)
    mdp("call", "called", "x", "--timeout", "0.2", "--tries", "1",
        "--broker", listener.endpoint, code=1)  # fmt: skip
    until(lambda: listener.names_of(b"echo"), "the worker's message comes")
    for first_frame in (b"asked", b"called", b"mmi.broker", b"mmi.services", b"echo"):
        assert listener.names_of(first_frame), first_frame
    names = list(listener.peers)
    assert len(names) >= 6
    assert all(len(name) >= 16 and name[0] for name in names)
    assert len({wire.owner(name) for name in listener.names_of(b"asked")}) == 1


def test_a_peer_that_claims_the_next_automatic_names_harms_none_of_ours(
    processes: Processes, endpoint: str
) -> None:
    broker = processes.broker(endpoint, *QUICK)
    with RawPeer(endpoint) as spy:
        spy.ready(b"spied")
        until(lambda: spy.report(b"workers")["workers"], "the spy is a worker")
        (row,) = spy.report(b"workers")["workers"]
        assert row["address"] == "(given by the broker)"  # a stranger does not learn the next name
        broker.wait_until_it_says("spied: worker 00")
        (name,) = re.findall(r"spied: worker (00[0-9a-f]{8}) is ready", broker.stderr)
        claimed = int(name[2:], 16)
    claims = [
        RawPeer(endpoint, b"\0" + (claimed + number).to_bytes(4, "big"))
        for number in range(1, CLAIMED)
    ]
    try:
        for claim in claims:
            claim.ask(b"mmi.service", b"echo")
        assert claims[-1].receive() is not None
        processes.worker(endpoint, "echo", "mdp.echo:Echo", "-n", "2", *QUICK)
        with Client(endpoint, QUICK_CLIENT) as client:
            wait_for_workers(client, "echo", 2)
            texts = [b"%d" % number for number in range(100)]
            answers = client.map("echo", ([text] for text in texts), window=32)
            assert list(answers) == [[text] for text in texts]
            rows = client.management("workers")["workers"]
            names = [bytes.fromhex(row["address"]) for row in rows if row["service"] == "echo"]
            assert len(names) == 2
            assert all(name[0] for name in names)
        mdp("services", "--broker", endpoint)
        mdp("call", "echo", "x", "--broker", endpoint)
        assert broker.popen.poll() is None
    finally:
        for claim in claims:
            claim.close()


def test_the_names_that_a_broker_gives_out_cannot_be_foretold(processes: Processes) -> None:
    firsts = set()
    for _ in range(3):
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        broker = processes.broker(endpoint, *QUICK)
        with RawPeer(endpoint) as peer:
            peer.ready(b"spied")
            broker.wait_until_it_says("spied: worker 00")
        firsts |= set(re.findall(r"spied: worker (00[0-9a-f]{8}) is ready", broker.stderr))
    assert len(firsts) == 3
