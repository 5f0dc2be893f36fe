"""Keys that become valid, and brokers with other keys: peers connect again by themselves.

libzmq never connects again after a broker has refused a key, so clients and workers must.
"""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path

import pytest

from mdp import Client, MDPError
from mdp.keys.key_folder import KeyFolder
from mdp.sockets import new_key_pair
from mdp.system import contact
from mdp.system.contact import KEYS_VARIABLE, Contact
from tests.support import keys
from tests.support.processes import (
    QUICK,
    QUICK_CLIENT,
    Processes,
    counters,
    until,
    wait_for_workers,
)

OBEDIENT = "tests.faults.handlers:Obedient"
BODY = [b"reverse", b"abc"]


def _write_own(path: Path, address: str, pair: tuple[str, str], name: str) -> None:
    """A contact file with the keys of one person, for a broker of this test."""
    broker = keys.of_site().pair("broker")["public"]
    public, secret = pair
    contact.write(
        path,
        Contact(address, broker_key=broker, public_key=public, secret_key=secret, key_name=name),
    )


@pytest.mark.parametrize("by_file", [False, True], ids=["MDP_KEYS", "a contact file"])
def test_a_client_and_a_worker_whose_keys_become_valid_are_served_a_few_seconds_later(
    processes: Processes,
    endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    by_file: bool,
) -> None:
    options = keys.broker_options(endpoint)
    folder = KeyFolder(options[1])
    processes.broker(endpoint, *QUICK)
    own = tmp_path / "own"
    pair = new_key_pair()
    _write_own(own, endpoint, pair, "anna")
    broker = f"@{own}" if by_file else endpoint
    with Client(endpoint, QUICK_CLIENT) as witness, caplog.at_level(logging.WARNING):
        if not by_file:
            monkeypatch.setenv(KEYS_VARIABLE, str(own))
        worker = processes.worker(broker, "obedient", OBEDIENT, *QUICK)
        with Client(broker, QUICK_CLIENT) as client:
            futures = [client.submit("obedient", BODY) for _ in range(3)]
            given_up = client.submit("obedient", BODY, timeout_s=1.0)
            with pytest.raises(MDPError):
                given_up.result()  # so it is cancelled, on a lane whose key was refused
            until(lambda: counters(witness)["handshakes_failed"] >= 8, "both are refused")
            assert worker.popen.poll() is None
            assert not any(future.done() for future in futures)
            folder.add("anna", "worker", pair[0], ("obedient",))
            valid_at = time.monotonic()
            assert [future.result(timeout=20.0) for future in futures] == [[b"cba"]] * 3
            assert time.monotonic() - valid_at < 12.0
        wait_for_workers(witness, "obedient", 1)
    assert "temporarily unavailable" not in caplog.text + worker.stderr


def test_a_broker_that_is_started_again_with_new_keys_gets_its_client_and_its_worker_back(
    processes: Processes, endpoint: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(keys.broker_options(endpoint)[1])
    first = processes.broker(endpoint, *QUICK)
    worker = processes.worker(f"@{path}", "obedient", OBEDIENT, *QUICK)
    with Client(f"@{path}", QUICK_CLIENT) as client, caplog.at_level(logging.WARNING):
        assert client.request("obedient", BODY) == [b"cba"]  # its lane is idle now
        first.send(signal.SIGKILL)
        first.wait_until_nothing_is_left()
        KeyFolder(path).renew("broker")
        command = ("-m", "mdp", "broker", "--bind", endpoint, "--contact", str(path), "--keys")
        second = processes.python(*command, *QUICK)
        second.wait_until_it_says("contact file")
        renewed_at = time.monotonic()
        assert client.request("obedient", BODY, timeout_s=30.0) == [b"cba"]
        assert time.monotonic() - renewed_at < 12.0
    assert "temporarily unavailable" not in caplog.text + worker.stderr


def test_peers_whose_key_is_revoked_and_valid_again_come_back(
    processes: Processes, endpoint: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = KeyFolder(keys.broker_options(endpoint)[1])
    pair = new_key_pair()
    folder.add("anna", "worker", pair[0], ("obedient",))
    processes.broker(endpoint, *QUICK)
    own = tmp_path / "own"
    _write_own(own, endpoint, pair, "anna")
    worker = processes.worker(f"@{own}", "obedient", OBEDIENT, *QUICK)
    with (
        Client(endpoint, QUICK_CLIENT) as witness,
        Client(f"@{own}", QUICK_CLIENT) as client,
        caplog.at_level(logging.WARNING),
    ):
        assert client.request("obedient", BODY) == [b"cba"]  # its lane is idle now
        failed = counters(witness)["handshakes_failed"]
        folder.revoke("anna")
        wait_for_workers(witness, "obedient", 0)
        until(lambda: counters(witness)["handshakes_failed"] >= failed + 3, "both are refused")
        waiting = client.submit("obedient", BODY)
        folder.add("anna", "worker", pair[0], ("obedient",))
        valid_at = time.monotonic()
        assert waiting.result(timeout=20.0) == [b"cba"]
        assert time.monotonic() - valid_at < 12.0
        wait_for_workers(witness, "obedient", 1)
    assert "temporarily unavailable" not in caplog.text + worker.stderr
