"""Foreign peers at a broker with keys: they come in with CURVE options, and not without.

majortomo has no option for keys, but both its classes take a context, and the sockets of a context
of pyzmq take its options.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import majortomo
import pytest
import zmq

from mdp import Client
from mdp.system.contact import KEYS_VARIABLE
from tests.interop import rfc7
from tests.interop.peers import DIALECTS, Ask, start_worker
from tests.support import keys
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    counters,
    free_port,
    strangers,
    until,
    wait_for_workers,
    workers_of,
)

FOREIGN = tuple(name for name in DIALECTS if name != "MDP/0.2")
BODY = [b"reverse", b"abc"]


@pytest.fixture(scope="module", autouse=True)
def with_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    environment: dict[str, str] = {}
    keys.use(tmp_path_factory.mktemp("keys"), environment)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, with_keys: None) -> Iterator[str]:
    """The address of a broker with keys, with a worker of each dialect; it has a key, too."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Processes(tmp_path_factory.mktemp("interop")) as processes:
        broker = processes.broker(endpoint, *QUICK)
        assert "with keys" in broker.stderr
        for dialect in DIALECTS:
            start_worker(processes, endpoint, dialect, dialect)
        with Client(endpoint, QUICK_CLIENT) as client:
            for dialect in DIALECTS:
                wait_for_workers(client, dialect, 1)
        yield endpoint


@pytest.mark.parametrize("dialect", DIALECTS)
def test_clients_and_workers_with_curve_options_are_served(
    ask: Ask, secured: str, dialect: str
) -> None:
    assert ask(secured, dialect.encode(), BODY) == [[b"cba"]]
    large = bytes(range(256)) * 4096
    assert ask(secured, dialect.encode(), [b"reverse", large]) == [[large[::-1]]]


def _ask_rfc7(endpoint: str) -> None:
    with rfc7.Client(endpoint) as client:
        client.wait_at_most(1.0)
        with pytest.raises(zmq.Again):
            client.request(b"MDP/0.2", BODY)


def _ask_majortomo(endpoint: str) -> None:
    with (
        keys.new_context() as context,
        majortomo.Client(endpoint, context, zmq_linger=0) as client,
    ):
        client.send(b"MDP/0.2", *BODY)
        with pytest.raises(majortomo.error.Timeout):
            list(client.recv_all(timeout=1.0))


@pytest.mark.parametrize("ask_in_vain", [_ask_rfc7, _ask_majortomo], ids=["0.1", "majortomo"])
def test_a_foreign_client_without_keys_gets_no_answer(
    secured: str, monkeypatch: pytest.MonkeyPatch, ask_in_vain: Callable[[str], None]
) -> None:
    with Client(secured, QUICK_CLIENT) as witness:
        answered, failed = _answered_and_failed(witness)
        monkeypatch.delenv(KEYS_VARIABLE)
        ask_in_vain(secured)
        until(lambda: _answered_and_failed(witness)[1] > failed, "it is refused, and counted")
        assert _answered_and_failed(witness)[0] == answered


def _answered_and_failed(client: Client) -> tuple[int, int]:
    return counters(client)["answered"], strangers(client)


@pytest.mark.parametrize("dialect", FOREIGN)
def test_a_foreign_worker_without_keys_serves_nothing(
    processes: Processes, secured: str, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    with Client(secured, QUICK_CLIENT) as witness:
        failed = strangers(witness)
        monkeypatch.delenv(KEYS_VARIABLE)
        start_worker(processes, secured, dialect, "a stranger's")
        until(lambda: strangers(witness) > failed, "it is refused")
        assert workers_of(witness, "a stranger's") == 0


def test_foreign_workers_with_keys_come_back_after_a_restart(
    processes: Processes, endpoint: str
) -> None:
    broker = processes.broker(endpoint, *QUICK)
    for name in FOREIGN:
        start_worker(processes, endpoint, name, name)
    with Client(endpoint, QUICK_CLIENT) as client:
        for name in FOREIGN:
            wait_for_workers(client, name, 1)
        broker.send(signal.SIGKILL)
        broker.wait_until_nothing_is_left()
        processes.broker(endpoint, *QUICK)
        for name in FOREIGN:
            wait_for_workers(client, name, 1)
            assert client.request(name, BODY) == [b"cba"]
