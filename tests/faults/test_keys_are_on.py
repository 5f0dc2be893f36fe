"""The fault suite really runs with keys: a peer without keys gets no answer from its brokers."""

from __future__ import annotations

import logging

import pytest

from mdp import Client, RequestTimeout
from mdp.system.contact import KEYS_VARIABLE
from tests.support.processes import QUICK, QUICK_CLIENT, Processes, strangers, until
from tests.support.raw_peer import RawPeer

OBEDIENT = "tests.faults.handlers:Obedient"


def test_a_broker_of_this_suite_answers_peers_with_keys_and_nobody_else(
    processes: Processes, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = processes.broker(endpoint, *QUICK)
    processes.worker(endpoint, "obedient", OBEDIENT, *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client:
        assert client.request("obedient", [b"reverse", b"abc"]) == [b"cba"]
        with RawPeer(endpoint) as peer:
            peer.ask(b"obedient", b"reverse", b"abc")
            assert peer.receive() is not None
        monkeypatch.delenv(KEYS_VARIABLE)
        with RawPeer(endpoint) as stranger:
            stranger.ask(b"obedient", b"reverse", b"abc")
            until(lambda: strangers(client), "the stranger is refused")
            assert stranger.receive(within_s=1.0) is None
    assert "with keys" in broker.stderr


def test_a_client_without_keys_fails_by_its_time_limit_and_reports_no_broken_socket(
    processes: Processes,
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    processes.broker(endpoint, *QUICK)
    monkeypatch.delenv(KEYS_VARIABLE)
    with Client(endpoint, QUICK_CLIENT) as client, caplog.at_level(logging.WARNING):
        futures = [client.submit("obedient", [b"a"], timeout_s=1.0, tries=2) for _ in range(3)]
        for future in futures:
            with pytest.raises(RequestTimeout, match="no broker has answered"):
                future.result(timeout=10.0)
    assert "socket" not in caplog.text
