"""What a broker lets each key do, message by message, and what it does when a key is revoked."""

from __future__ import annotations

import logging

import msgpack
import pytest

from mdp import wire
from mdp.broker.broker import Broker
from mdp.keys.rights import Rights
from mdp.settings import BrokerSettings, Heartbeats
from mdp.wire import Frames
from tests.support.frames import MAJORTOMO, RFC7, RFC18, SPELLINGS, Spelling, read, token_of

S = b"plane2"
SITE = Rights("site", "site", ("*",), "S")
FARM = Rights("farm", "worker", ("plane*",), "F")
OTHER = Rights("other", "worker", ("plane*",), "O")
BOB = Rights("bob", "client", (), "B")
ANN = Rights("ann", "client", (), "A")
OPERATOR = Rights("op", "operator", (), "P")
WORKERS = pytest.mark.parametrize("worker", list(SPELLINGS.values()), ids=list(SPELLINGS))
LANE_OF_BOB = wire.lane_name(b"bobs one", b"random 1", interactive=False)
LANE2_OF_BOB = wire.lane_name(b"bobs one", b"random 2", interactive=False)


def a_broker(**settings: float) -> Broker:
    heartbeats = Heartbeats(1.0, 3)
    return Broker(BrokerSettings(heartbeats=heartbeats, **settings), 0.0, instance=b"INSTANCE")  # type: ignore[arg-type]


def ready(broker: Broker, name: bytes = b"w1", rights: Rights = FARM) -> None:
    assert broker.receive(RFC18.ready(name, S), 0.0, rights) == []


def mmi(broker: Broker, service: bytes, *body: bytes, rights: Rights) -> Frames:
    """Return the body of the broker's answer."""
    out = broker.receive(RFC18.ask(b"asks", service, *body), 0.0, rights)
    return read(out[0]).body


def forbidden(body: Frames) -> str:
    """Return the text of an answer 403."""
    code, text = body
    assert code == b"403"
    assert isinstance(text, bytes)
    return text.decode()


# READY.


@WORKERS
@pytest.mark.parametrize(
    "rights",
    [BOB, OPERATOR, Rights("f", "worker", ("echo",), "G"), Rights("f", "worker", (), "H")],
    ids=["client", "operator", "of another service", "of no service"],
)
def test_a_key_that_may_not_serve_is_disconnected_at_ready(
    worker: Spelling, rights: Rights, caplog: pytest.LogCaptureFixture
) -> None:
    broker = a_broker()
    out = broker.receive(worker.ready(b"w1", S), 0.0, rights)
    assert [read(frames).what for frames in out] == ["disconnect"]
    assert broker.workers == {}
    assert broker.services == {}
    assert broker.counters.forbidden == 1
    assert rights.name in caplog.text
    assert rights.role in caplog.text
    assert "plane2" in caplog.text


@WORKERS
@pytest.mark.parametrize("rights", [FARM, SITE], ids=["worker", "site"])
def test_a_key_that_may_serve_is_a_worker(worker: Spelling, rights: Rights) -> None:
    broker = a_broker()
    assert broker.receive(worker.ready(b"w1", S), 0.0, rights) == []
    assert broker.counters.forbidden == 0
    [frames] = broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0, BOB)
    token = token_of(frames)
    assert broker.receive(worker.reply(b"w1", token, b"b"), 0.0, rights) == [
        RFC18.final(b"c1", S, b"b")
    ]


def test_refusals_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    broker = a_broker()
    for number in range(5000):
        broker.receive(RFC18.ready(b"%d" % number, S), 0.0, BOB)
    assert broker.counters.forbidden == 5000
    assert len(caplog.records) == 1
    assert (len(broker.workers), len(broker.services)) == (0, 0)


def test_a_fingerprint_of_a_key_that_may_not_serve_is_refused_with_the_reason() -> None:
    broker = a_broker()
    text = forbidden(mmi(broker, wire.FINGERPRINT, S, b"abc", rights=BOB))
    assert "'bob'" in text
    assert "client" in text
    assert "mdp keys new" in text
    text = forbidden(
        mmi(broker, wire.FINGERPRINT, b"echo", b"abc", rights=FARM)
    )  # not one of its services
    assert "plane*" in text
    assert "echo" in text
    assert mmi(broker, wire.FINGERPRINT, S, b"abc", rights=FARM)[0] == b"200"
    assert broker.counters.forbidden == 2


# Reports and commands.


@pytest.mark.parametrize("rights", [BOB, FARM], ids=["client", "worker"])
def test_the_report_that_names_peers_is_for_operators(rights: Rights) -> None:
    broker = a_broker()
    ready(broker)
    text = forbidden(mmi(broker, b"mmi.workers", rights=rights))
    assert rights.name in text
    assert "operator" in text
    assert broker.counters.forbidden == 1
    for other in (b"mmi.services", b"mmi.broker", b"mmi.service"):
        assert mmi(broker, other, rights=rights)[0] in (b"200", b"404")
    for may in (OPERATOR, SITE):
        assert mmi(broker, b"mmi.workers", rights=may)[0] == b"200"


@pytest.mark.parametrize("rights", [BOB, FARM, OPERATOR, SITE], ids=lambda rights: rights.role)
def test_every_key_may_ask(rights: Rights) -> None:
    broker = a_broker()
    ready(broker)
    [frames] = broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0, rights)
    assert read(frames).peer == b"w1"


def cancelled(body: Frames) -> int:
    code, packed = body
    assert code == b"200"
    assert isinstance(packed, bytes)
    count: int = msgpack.unpackb(packed)["cancelled"]
    return count


@pytest.mark.parametrize(
    ("rights", "count"),
    [(BOB, 1), (ANN, 0), (FARM, 0), (OPERATOR, 1), (SITE, 1)],
    ids=["its own", "another client", "worker", "operator", "site"],
)
def test_only_its_own_key_and_operators_cancel_a_request(rights: Rights, count: int) -> None:
    broker = a_broker()
    broker.receive(RFC18.ask(LANE_OF_BOB, S, b"a"), 0.0, BOB)
    assert cancelled(mmi(broker, wire.CANCEL, LANE_OF_BOB, rights=rights)) == count
    assert broker.counters.cancelled == count
    assert broker.counters.forbidden == 1 - count
    assert len(list(broker.clients)) == 1 - count


# A peer's address with another key.


@WORKERS
@pytest.mark.parametrize("rights", [OTHER, BOB, OPERATOR], ids=lambda rights: rights.role)
def test_a_workers_address_with_another_key_answers_nothing(
    worker: Spelling, rights: Rights
) -> None:
    broker = a_broker()
    broker.receive(worker.ready(b"w1", S), 0.0, FARM)
    [frames] = broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0, BOB)
    token = token_of(frames)
    out = broker.receive(worker.reply(b"w1", token, b"POISON"), 0.0, rights)
    assert [(read(frames).peer, read(frames).what) for frames in out] == [(b"w1", "disconnect")]
    assert broker.counters.answered == 0
    assert broker.receive(worker.reply(b"w1", token, b"b"), 0.1, FARM) == [
        RFC18.final(b"c1", S, b"b")
    ]


@pytest.mark.parametrize("worker", [RFC18, MAJORTOMO, RFC7], ids=["MDP/0.2", "majortomo", "RFC 7"])
def test_a_workers_address_with_another_key_keeps_it_not_alive_and_ends_it_not(
    worker: Spelling,
) -> None:
    broker = a_broker()
    broker.receive(worker.ready(b"w1", S), 0.0, FARM)
    broker.receive(worker.disconnect(b"w1"), 0.5, OTHER)
    broker.receive(RFC18.ask(b"w1", wire.RETIRE), 0.5, OTHER)
    assert set(broker.workers) == {b"w1"}
    assert not broker.workers[b"w1"].retired
    broker.receive(worker.heartbeat(b"w1"), 2.9, OTHER)
    broker.receive(RFC18.ask(b"w1", b"mmi.broker"), 2.9, OTHER)
    broker.tick(3.0)
    assert broker.workers == {}


def test_a_crash_of_a_worker_is_reported_by_its_own_key_only() -> None:
    broker = a_broker()
    ready(broker)
    [frames] = broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0, BOB)
    token = token_of(frames)
    out = broker.receive(RFC18.ask(b"w1", wire.CRASHED, token), 0.0, OTHER)
    assert read(out[0]).body == [b"404"]
    assert broker.counters.workers_died == 0
    broker.receive(RFC18.ask(b"w1", wire.CRASHED, token), 0.0, FARM)
    assert broker.counters.workers_died == 1


def test_another_keys_heartbeat_keeps_no_lane_alive_and_gives_none_up() -> None:
    broker = a_broker()
    lease = wire.lease_frame(5.0)
    broker.receive(RFC18.ask(LANE_OF_BOB, S, b"a"), 0.0, BOB)
    control = LANE2_OF_BOB
    broker.receive(RFC18.ask(control, b"mmi.broker", LANE_OF_BOB, lease), 0.0, BOB)
    for second in range(1, 5):  # without the lane's name: it would be given up
        broker.receive(RFC18.ask(control, b"mmi.broker", lease), float(second), ANN)
    assert len(list(broker.clients)) == 1
    broker.tick(5.0)  # the lease of bob's own heartbeat has ended
    assert broker.counters.clients_lost == 1
    assert len(list(broker.clients)) == 0


# Revoked.


def test_the_request_of_a_revoked_worker_goes_to_the_next_and_its_answer_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    broker = a_broker()
    ready(broker, b"w1", FARM)
    [frames] = broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0, BOB)
    token = token_of(frames)
    ready(broker, b"w2", OTHER)
    [again] = broker.revoke(FARM, 1.0)
    assert read(again).peer == b"w2"
    assert set(broker.workers) == {b"w2"}
    late = broker.receive(RFC18.reply(b"w1", token, b"late"), 1.1, FARM)
    assert [read(frames).peer for frames in late] == [b"w1"]
    assert broker.counters.dead_tokens == 1
    answer = broker.receive(RFC18.reply(b"w2", token_of(again), b"b"), 1.2, OTHER)
    assert answer == [RFC18.final(b"c1", S, b"b")]
    counters = broker.counters
    assert (counters.answered, counters.requeued, counters.workers_lost) == (1, 1, 1)
    assert "its key farm was revoked" in caplog.text


def test_revoked_workers_are_no_losses_of_the_request() -> None:
    broker = a_broker(max_lost=1, max_attempts=1)
    broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0, BOB)
    for number in range(5):
        key = Rights("farm", "worker", ("*",), f"F{number}")
        assert len(broker.receive(RFC18.ready(b"w%d" % number, S), 0.0, key)) == 1
        assert broker.revoke(key, 0.1) == []
    assert (broker.counters.refused, broker.counters.requeued) == (0, 5)


def test_the_requests_of_a_revoked_client_are_cancelled_and_those_of_others_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = a_broker()
    ready(broker)
    broker.receive(RFC18.ask(b"b1", S, b"a"), 0.0, BOB)
    broker.receive(RFC18.ask(b"b2", S, b"a"), 0.0, BOB)
    broker.receive(RFC18.ask(b"a1", S, b"a"), 0.0, ANN)
    broker.revoke(BOB, 1.0)
    assert broker.counters.cancelled == 2
    assert [job.client.name for job in broker.clients] == [b"a1"]
    assert "cancelled 2 requests: their key bob was revoked" in caplog.text
    assert broker.revoke(BOB, 1.0) == []
    assert broker.counters.cancelled == 2


# Handshakes.


def test_failed_handshakes_are_counted_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    broker = a_broker()
    broker.handshakes_failed(1, [], 0.0)
    assert "refused 1 connection that showed no known key" in caplog.text
    broker.handshakes_failed(3, [("PUBLIC", "10.0.0.7")] * 3, 0.0)
    assert "PUBLIC" not in caplog.text
    broker.handshakes_failed(2, [("PUBLIC", "10.0.0.7")] * 2, 60.0)
    assert broker.counters.handshakes_failed == 6
    last = caplog.records[-1].getMessage()
    for words in ("2 connections", "PUBLIC", "10.0.0.7", "and 1 more"):
        assert words in last
    assert len(caplog.records) == 2
