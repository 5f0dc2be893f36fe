"""The network in between does what it is told: with a server that gives every line back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from mdp import Client
from mdp.sockets.link import Link
from mdp.system.contact import KEYS_VARIABLE
from tests.support import keys
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    counters,
    free_port,
    until,
    wait_for_workers,
)


class Echo(threading.Thread):
    """A server that gives back what it hears, and remembers all of it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.heard: list[bytes] = []
        """By connection."""
        self.open = 0

    def run(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.heard.append(b"")
            self.open += 1
            args = (peer, len(self.heard) - 1)
            threading.Thread(target=self._serve, args=args, daemon=True).start()

    def _serve(self, peer: socket.socket, number: int) -> None:
        with peer:
            try:
                while data := peer.recv(1024):
                    self.heard[number] += data
                    peer.sendall(data)
            except OSError:
                pass
        self.open -= 1

    def close(self) -> None:
        if self.listener.fileno() >= 0:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()


class Peer:
    """A client of it."""

    def __init__(self, link: Link) -> None:
        address = link.endpoint.removeprefix("tcp://").split(":")
        self.socket = socket.create_connection((address[0], int(address[1])), timeout=10)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def says(self, text: bytes) -> bytes:
        """What comes back; nothing if the connection is over."""
        try:
            self.socket.sendall(text)
            return self.socket.recv(1024)
        except OSError:
            return b""

    @property
    def hears_nothing(self) -> bool:
        """So far; and is not over."""
        self.socket.setblocking(False)
        try:
            self.socket.recv(1024)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(10)
        return False


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    server.start()
    yield server
    server.close()


@pytest.fixture
def link(echo: Echo) -> Iterator[Link]:
    with Link(f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{echo.port}") as result:
        yield result


def test_bytes_go_both_ways_while_nothing_is_wrong(link: Link, echo: Echo) -> None:
    with Peer(link) as one, Peer(link) as other:
        assert one.says(b"abc") == b"abc"
        assert other.says(b"def") == b"def"
    until(lambda: echo.open == 0, "the server hears of the end")


def test_dropped_connections_are_over_at_both_ends_and_new_ones_work(
    link: Link, echo: Echo
) -> None:
    with Peer(link) as one:
        assert one.says(b"abc") == b"abc"
        link.drop()
        assert one.says(b"def") == b""
    until(lambda: echo.open == 0, "the server hears of the end")
    with Peer(link) as another:
        assert another.says(b"ghi") == b"ghi"


def test_refused_connections_are_taken_again_when_all_that_refuses_is_mended(link: Link) -> None:
    one, other = link.refuse(), link.refuse()
    with pytest.raises(ConnectionRefusedError):
        Peer(link)
    one()
    with pytest.raises(ConnectionRefusedError):
        Peer(link)
    other()
    with Peer(link) as peer:
        assert peer.says(b"abc") == b"abc"


def test_what_waits_in_a_silence_arrives_after_it(link: Link, echo: Echo) -> None:
    with Peer(link) as old:
        assert old.says(b"abc") == b"abc"
        mend = link.silence()
        with Peer(link) as new:
            until(lambda: len(echo.heard) == 2, "a new connection is accepted")
            old.socket.sendall(b"def")
            new.socket.sendall(b"ghi")
            link.delay(0.0)()  # the link has had its turn
            assert old.hears_nothing
            assert new.hears_nothing
            assert echo.heard == [b"abc", b""]
            mend()
            assert old.socket.recv(1024) == b"def"
            assert new.socket.recv(1024) == b"ghi"


def test_delayed_bytes_arrive_later_and_in_order(link: Link) -> None:
    with Peer(link) as peer:
        assert peer.says(b"abc") == b"abc"
        mend = link.delay(0.2)
        peer.socket.sendall(b"def")
        assert peer.hears_nothing
        assert peer.socket.recv(1024) == b"def"
        mend()
        assert peer.says(b"ghi") == b"ghi"


def test_the_brokers_end_of_a_half_open_connection_stays_until_it_is_mended(
    link: Link, echo: Echo
) -> None:
    with Peer(link) as old:
        assert old.says(b"abc") == b"abc"
        mend = link.half_open()
        assert old.says(b"def") == b""
        with Peer(link) as new:
            assert new.says(b"ghi") == b"ghi"
            assert echo.open == 2
            mend()
            until(lambda: echo.open == 1, "the server hears of the end")
            assert new.says(b"jkl") == b"jkl"
    assert echo.heard == [b"abc", b"ghijkl"]


def test_the_peers_end_of_a_void_connection_stays_and_leads_nowhere(link: Link, echo: Echo) -> None:
    with Peer(link) as old:
        assert old.says(b"abc") == b"abc"
        mend = link.void()
        until(lambda: echo.open == 0, "the server hears of the end")
        old.socket.sendall(b"def")
        assert old.hears_nothing
        with Peer(link) as new:
            assert new.says(b"ghi") == b"ghi"
            mend()
            assert old.says(b"jkl") == b""
            assert new.says(b"mno") == b"mno"
    assert echo.heard == [b"abc", b"ghimno"]


def test_an_idle_connection_is_forgotten_and_neither_end_hears_of_it(
    link: Link, echo: Echo
) -> None:
    with Peer(link) as idle, Peer(link) as busy:
        assert idle.says(b"abc") == b"abc"
        mend = link.forget_idle(0.2)

        def is_forgotten() -> bool:
            assert busy.says(b"x") == b"x"
            return link.forgotten == 1

        until(is_forgotten, "the idle connection is forgotten")
        mend()
        idle.socket.sendall(b"def")
        assert idle.hears_nothing
        assert echo.open == 2
        assert busy.says(b"ghi") == b"ghi"
        with Peer(link) as new:
            assert new.says(b"jkl") == b"jkl"
    assert echo.heard[0] == b"abc"


def test_a_replay_says_all_that_was_said_on_a_second_connection(link: Link, echo: Echo) -> None:
    with Peer(link) as peer:
        assert peer.says(b"abc") == b"abc"
        assert peer.says(b"def") == b"def"
        mend = link.replay(0.5)
        until(lambda: echo.heard == [b"abcdef"] * 2, "it is said twice")
        assert echo.open == 2
        assert peer.hears_nothing
        mend()
        until(lambda: echo.open == 1, "the second connection is over")
        assert peer.says(b"ghi") == b"ghi"


def test_a_replay_of_nothing_and_to_nobody_does_nothing(link: Link, echo: Echo) -> None:
    link.replay(0.0)()
    assert echo.heard == []
    with Peer(link) as peer:
        assert peer.says(b"abc") == b"abc"
        echo.close()
        until(lambda: not _takes(echo.port), "nobody listens")
        link.replay(0.0)()
        assert peer.says(b"def") == b"def"
    assert echo.heard == [b"abcdef"]


@pytest.mark.parametrize("has_keys", [False, True], ids=["without keys", "with keys"])
def test_a_brokers_peers_that_are_replayed_are_heard_only_by_a_broker_without_keys(
    processes: Processes, endpoint: str, monkeypatch: pytest.MonkeyPatch, has_keys: bool
) -> None:
    """Their handshake is replayed, too: a broker hangs up on one that comes in a single piece.

    With keys it fails: the broker's part of the handshake is new in each connection.
    """
    if not has_keys:
        monkeypatch.delenv(keys.FOLDER_VARIABLE)
        monkeypatch.delenv(KEYS_VARIABLE)
    processes.broker(endpoint, *QUICK)
    with (
        Link(f"tcp://127.0.0.1:{free_port()}", endpoint) as clients,
        Link(f"tcp://127.0.0.1:{free_port()}", endpoint) as workers,
        Client(endpoint, QUICK_CLIENT) as direct,
    ):
        obedient = ("obedient", "tests.faults.handlers:Obedient", *QUICK)
        worker = processes.worker(workers.endpoint, *obedient)
        wait_for_workers(direct, "obedient", 1)
        with Client(clients.endpoint, QUICK_CLIENT) as client:
            assert client.request("obedient", [b"reverse", b"a" * 200]) == [b"a" * 200]
        worker.kill()  # while it lives, the broker refuses a second connection of its name
        wait_for_workers(direct, "obedient", 0)
        earlier = counters(direct)
        if has_keys:
            _replay_until(workers, 1.0, direct, "handshakes_failed")
            _replay_until(clients, 0.0, direct, "handshakes_failed")
            for name in ("dead_tokens", "accepted", "forbidden"):
                assert counters(direct)[name] == earlier[name]
        else:
            _replay_until(workers, 1.0, direct, "dead_tokens")  # an old answer
            _replay_until(clients, 0.0, direct, "accepted")  # an old request
        processes.worker(workers.endpoint, *obedient)
        assert direct.request("obedient", [b"reverse", b"def"]) == [b"fed"]


def _replay_until(link: Link, share: float, direct: Client, counter: str) -> None:
    """Replay what one peer sent, until the broker has counted something."""
    earlier = counters(direct)[counter]
    lay = link.replay(share)
    until(lambda: counters(direct)[counter] > earlier, f"{counter} of a replay")
    lay()


def _takes(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
