"""What clients say about their work, on the wire and in the broker's report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdp import Client
from mdp.broker.broker import Broker
from mdp.commands.tables import progress_text
from mdp.settings import BrokerSettings
from mdp.wire import MDP02, Frames, progress_frame, progress_in, progress_of
from tests.support.processes import QUICK, QUICK_CLIENT, Processes, until, wait_for_workers

LANE = b"L" + bytes(range(1, 17))
PROBE = LANE[:9] + b"the probe"[:8]
SAID = {"what": "events", "done": 12, "of": 100, "failed": 1, "before": 3, "output": "o.h5"}


def heartbeat(*about: bytes) -> Frames:
    return [PROBE, *MDP02.request(b"mmi.broker", [LANE, *about, b"lease=9.0"])]


def broker_with_a_client() -> Broker:
    broker = Broker(BrokerSettings(), 0.0, instance=b"instance")
    broker.receive([LANE, *MDP02.request(b"echo", [b"x"])], 0.0)
    return broker


def shown(broker: Broker) -> dict[str, object] | None:
    [out] = broker.receive([b"operator", *MDP02.request(b"mmi.clients", [])], 1.0)
    assert isinstance(out[-1], bytes)
    [client] = msgpack.unpackb(out[-1])["clients"]
    progress: dict[str, object] | None = client["progress"]
    return progress


def test_the_report_has_what_the_last_heartbeat_said() -> None:
    broker = broker_with_a_client()
    assert shown(broker) is None
    broker.receive(heartbeat(progress_frame({**SAID, "begun_at": 5.0}), b"who=n7:8 bob"), 0.5)
    assert shown(broker) == {**SAID, "begun_at": 5.0}
    broker.receive(heartbeat(b"who=n7:8 bob"), 0.6)
    assert shown(broker) is None


def test_a_frame_about_the_work_is_no_lane_that_is_lost() -> None:
    [out] = broker_with_a_client().receive(heartbeat(progress_frame({"done": 1}), b"who=n7"), 0.5)
    assert isinstance(out[-1], bytes)
    assert msgpack.unpackb(out[-1])["lost"] == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", None),
        ("[1]", None),
        ("{", None),
        ("[" * 2000, None),
        ('{"done": -1}', None),
        ('{"done": true, "of": 4}', None),
        ('{"done": 1e9}', None),
        ('{"done": 1%s}' % ("0" * 400), None),
        ('{"done": 1, "of": "x", "what": 7, "begun_at": NaN}', {"done": 1}),
        ('{"done": 1, "begun_at": Infinity, "more": {}}', {"done": 1}),
        (r'{"done": 1, "what": "\ud800\u001b[2J"}', {"done": 1, "what": r"\ud800\x1b[2J"}),
    ],
)
def test_only_what_is_usable_is_kept(text: str, kept: dict[str, object] | None) -> None:
    broker = broker_with_a_client()
    broker.receive(heartbeat(b"progress=" + text.encode(), b"who=n7"), 0.5)
    assert shown(broker) == kept


@given(st.binary(max_size=300))
def test_no_frame_stops_the_broker(noise: bytes) -> None:
    broker = broker_with_a_client()
    broker.receive(heartbeat(b"progress=" + noise, b"who=n7"), 0.5)
    shown(broker)


def test_a_frame_that_is_too_long_is_not_kept() -> None:
    frame = b"progress=" + json.dumps({"done": 1, "x": "y" * 3000}).encode()
    assert progress_in([frame, b"who=n7", b"lease=1"]) == b""
    longest = progress_frame({"done": 1, "what": "\U0001f30a" * 999, "output": "\U0001f30a" * 999})
    kept = progress_of(progress_in([longest, b"who=n7", b"lease=1"]))
    assert kept is not None
    assert kept["done"] == 1


def test_a_table_shows_it_in_words() -> None:
    assert progress_text(None) == ""
    assert progress_text({"done": 3}) == "3"
    assert progress_text(SAID) == "12 of 100 events"


def test_an_operator_sees_what_a_client_tells(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    processes.broker(endpoint, *QUICK)
    processes.worker(endpoint, "echo", "tests.faults.handlers:Obedient", *QUICK)
    with Client(endpoint, QUICK_CLIENT) as client, Client(endpoint, QUICK_CLIENT) as operator:
        wait_for_workers(operator, "echo", 1)
        client.tell_progress(12, 100, before=3, failed=1, output="o.h5")
        note, release = (os.fsencode(tmp_path / name) for name in ("note", "release"))
        future = client.submit("echo", [b"wait_for", b"", note, release])

        def told() -> dict[str, object] | None:
            clients = operator.management("clients")["clients"]
            return clients[0]["progress"] if clients else None

        progress = until(told, "the progress is shown")
        future.cancel()
    assert progress is not None
    begun_at = progress.pop("begun_at")
    assert isinstance(begun_at, float)
    assert progress == SAID
