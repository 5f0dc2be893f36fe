"""A broker with keys, and peers that hold one of them, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

from mdp import Client, ClientSettings, Heartbeats
from mdp.keys.key_folder import KeyFolder
from mdp.sockets import new_key_pair
from tests.support.processes import Process, Processes, strangers, until, wait_for_workers
from tests.support.raw_peer import RawPeer

STRANGERS = ("none", "unknown")
"""No key at all; a key that the broker does not know."""
KNOWN = ("client", "worker")
"""A colleague's key; the key of a worker of another service, `other`."""
HOLDERS = (*STRANGERS, *KNOWN)
SERVICE = b"plane"
FINGERPRINT = "the weights of july"
WORKER = "tests.support.fingerprinted:Fingerprinted"
QUICK = ("--heartbeat", "0.2", "--liveness", "5")
SETTINGS = ClientSettings(heartbeats=Heartbeats(0.2, 5), timeout_s=60.0)


class Secured:
    """A broker with keys and an honest worker of `plane`; `client` has the site's key."""

    def __init__(self, processes: Processes, folder: Path, endpoint: str) -> None:
        self.file = folder / "site.json"
        self.keys = KeyFolder(self.file)
        self.keys.prepare()
        self.endpoint = endpoint
        self._processes = processes
        self._pairs = {"unknown": new_key_pair()}
        self.admit("client", "client")
        self.admit("worker", "worker", "other")
        self.admit("twin", "worker", "plane")

    def admit(self, name: str, role: str, *services: str) -> None:
        """Make a key; a running broker takes a second until it knows it."""
        pair = self._pairs[name] = new_key_pair()
        self.keys.add(name, role, pair[0], services)

    def start_broker(self, *options: str) -> Process:
        words = ("--contact", str(self.file), "--keys", "--bind", self.endpoint)
        broker = self._processes.python("-m", "mdp", "broker", *words, *QUICK, *options)
        broker.wait_until_it_says("contact file")
        return broker

    def start_worker(self, service: str = "plane") -> Process:
        where = ("--broker", f"@{self.file}")
        return self._processes.python("-m", "mdp", "worker", service, WORKER, *where, *QUICK)

    @contextmanager
    def client(self) -> Iterator[Client]:
        with Client(f"@{self.file}", SETTINGS) as client:
            yield client

    def context(self, holder: str) -> zmq.Context[Any]:
        """The context of a peer: its sockets use the holder's key."""
        context: zmq.Context[Any] = zmq.Context()
        if holder != "none":
            public, secret = self._pairs[holder]
            context.setsockopt(zmq.CURVE_SERVERKEY, self.keys.pair("broker")["public"].encode())
            context.setsockopt(zmq.CURVE_PUBLICKEY, public.encode())
            context.setsockopt(zmq.CURVE_SECRETKEY, secret.encode())
        return context

    def peer(self, holder: str, name: bytes = b"", *, reads: bool = True) -> RawPeer:
        return RawPeer(self.endpoint, name, reads=reads, context=self.context(holder))


@contextmanager
def served(secured: Secured, *options: str) -> Iterator[tuple[Process, Client]]:
    """The broker's process, and a client; the honest worker is ready."""
    broker = secured.start_broker(*options)
    secured.start_worker()
    with secured.client() as client:
        wait_for_workers(client, "plane", 1)
        yield broker, client
        check_honest(client)
        assert broker.popen.poll() is None
        assert "Traceback" not in broker.stderr


def check_honest(client: Client, text: bytes = b"an image") -> None:
    assert client.request("plane", [text]) == [FINGERPRINT.encode(), text]


def failed(client: Client) -> int:
    return strangers(client)


def wait_for_refusals(client: Client, count: int, *, within_s: float = 60.0) -> None:
    until(lambda: failed(client) >= count, f"{count} handshakes have failed", within_s=within_s)
