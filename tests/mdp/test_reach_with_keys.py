"""Why a connection with or without keys does not work: each reason once, with real sockets."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdp import Client, ClientSettings, RequestTimeout
from mdp.sockets import clock, new_key_pair, why_unreachable
from mdp.sockets.addresses import A_BROKER_SERVES, NO_ANSWER, ClientKeys, with_hint
from mdp.system import contact
from tests.support.processes import Processes, free_port, until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A broker with keys: its contact file and its address."""
    folder = tmp_path_factory.mktemp("keys")
    file, address = folder / "broker.json", f"tcp://127.0.0.1:{free_port()}"
    with Processes(folder) as processes:
        processes.python(
            *("-m", "mdp", "broker", "--contact", str(file), "--keys", "--bind", address)
        )
        until(file.exists, "the broker has written its contact file")
        yield file, address


def keys_of(file: Path) -> ClientKeys:
    keys = contact.locate(f"@{file}").keys
    assert keys is not None
    return keys


def test_without_a_key_the_reason_says_what_to_type(broker: tuple[Path, str]) -> None:
    reason = why_unreachable(broker[1])
    assert reason.startswith(A_BROKER_SERVES)
    for word in (broker[1].removeprefix("tcp://"), "asks for a key", "--broker @FILE", "MDP_KEYS"):
        assert word in reason
    assert "mdp broker" not in with_hint(reason, broker[1])  # there is one


def test_an_unknown_key_is_named_with_its_file(broker: tuple[Path, str]) -> None:
    public, secret = new_key_pair()
    keys = dataclasses.replace(keys_of(broker[0]), public=public, secret=secret, name="bob")
    reason = why_unreachable(broker[1], keys)
    for word in ("does not know the key 'bob'", f"@{broker[0]}", "revoked"):
        assert word in reason


def test_another_key_of_the_broker_is_told_from_an_unknown_one(broker: tuple[Path, str]) -> None:
    keys = dataclasses.replace(keys_of(broker[0]), broker=new_key_pair()[0])
    reason = why_unreachable(broker[1], keys)
    assert f"another key than @{broker[0]} has" in reason
    assert reason.startswith(A_BROKER_SERVES)


def test_with_the_right_key_only_the_answer_is_missing(broker: tuple[Path, str]) -> None:
    reason = why_unreachable(broker[1], keys_of(broker[0]))
    assert NO_ANSWER in reason
    assert "accepts the key" in reason


def test_keys_at_a_broker_without_keys(broker: tuple[Path, str], tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        address = f"ipc://{tmp_path}/plain"
        processes.broker(address)
        reason = why_unreachable(address, keys_of(broker[0]))
    assert "has no keys" in reason
    assert f"@{broker[0]} has keys" in reason


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b""])
def test_another_service_is_not_taken_for_a_broker(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.sendall(greeting)

        thread = threading.Thread(target=serve)
        thread.start()
        reason = why_unreachable(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert ("does not speak ZeroMQ" if greeting else "another service") in reason


def test_a_peer_that_stops_after_its_greeting_costs_no_more_than_the_time(
    broker: tuple[Path, str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
        peers: list[socket.socket] = []

        def serve() -> None:
            for _ in range(2):
                peer, _ = server.accept()
                peers.append(peer)
                peer.sendall(greeting)

        thread = threading.Thread(target=serve)
        thread.start()
        began_at = clock()
        keys = keys_of(broker[0])
        reason = why_unreachable(f"tcp://127.0.0.1:{server.getsockname()[1]}", keys, 1.0)
        assert clock() - began_at < 3.0
        thread.join()
        for peer in peers:
            peer.close()
    assert "within 1 s" in reason


def test_the_probe_leaves_no_descriptor_open(broker: tuple[Path, str]) -> None:
    keys = keys_of(broker[0])
    why_unreachable(broker[1], keys)
    opened = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        why_unreachable(broker[1], keys)
    assert len(os.listdir("/proc/self/fd")) <= opened


def test_keys_that_are_not_keys_are_a_reason_and_no_exception(broker: tuple[Path, str]) -> None:
    keys = dataclasses.replace(keys_of(broker[0]), public="~" * 40)
    assert "cannot be tried" in why_unreachable(broker[1], keys)


def test_keys_from_the_variable_are_named_by_it(
    broker: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = json.loads(broker[0].read_text())
    values["public_key"], values["secret_key"] = new_key_pair()
    file = tmp_path / "old.json"
    file.touch(0o600)
    file.write_text(json.dumps(values))
    monkeypatch.setenv("MDP_KEYS", str(file))
    place = contact.locate(broker[1])
    assert f"MDP_KEYS={file}" in why_unreachable(place.address, place.keys)


def test_a_request_that_no_broker_answered_fails_with_the_reason(broker: tuple[Path, str]) -> None:
    settings = ClientSettings(tries=1, waits=True)
    with Client(broker[1], settings) as client, pytest.raises(RequestTimeout) as caught:
        client.request("echo", [b"x"], timeout_s=13.0)
    assert "no broker has answered at all" in str(caught.value)
    assert "asks for a key" in str(caught.value)
