"""What operators order a broker to do, message by message; and who may."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import msgpack
import pytest

from mdp import wire
from mdp.broker.broker import Broker
from mdp.broker.orders import ORDERS
from mdp.keys.rights import EVERYTHING, Rights
from mdp.settings import BrokerSettings, Heartbeats
from mdp.wire import Frames
from tests.support.frames import RFC7, RFC18, read, token_of

S = b"plane2"
OPERATOR = Rights("ann", "operator", (), "A")
SITE = Rights("site", "site", ("*",), "S")
CLIENT = Rights("bob", "client", (), "B")
FARM = Rights("farm", "worker", ("*",), "F")
LANE = wire.lane_name(b"client 1", b"random 1", interactive=False)
OTHER = wire.lane_name(b"client 1", b"random 2", interactive=False)
STRANGE = wire.lane_name(b"client 2", b"random 3", interactive=False)
FACTS = {"host": "n7", "pid": 812, "job": "8812_3"}


def a_broker(**settings: Any) -> Broker:
    heartbeats = Heartbeats(1.0, 1000)
    return Broker(BrokerSettings(heartbeats=heartbeats, **settings), 0.0, instance=b"INSTANCE")


def ready(broker: Broker, name: bytes, now: float = 0.0) -> list[Frames]:
    """A worker of ours, which has sent facts."""
    facts = msgpack.packb(FACTS)
    broker.receive(RFC18.ask(name, b"mmi.fingerprint", S, b"", facts), now)
    return broker.receive(RFC18.ready(name, S), now)


def order(
    broker: Broker, name: bytes, wanted: object, now: float = 0.0, rights: Rights = EVERYTHING
) -> tuple[bytes, Any, list[Frames]]:
    """Return the code, the map or text of the answer, and the messages to others."""
    packed = msgpack.packb(wanted)
    answer, *out = broker.receive(RFC18.ask(b"op", name, packed), now, rights)
    code, content = read(answer).body
    assert isinstance(code, bytes)
    assert isinstance(content, bytes)
    return code, msgpack.unpackb(content) if code == b"200" else content.decode(), out


def ask(broker: Broker, report: bytes, *body: bytes, now: float = 0.0) -> Any:
    [answer] = broker.receive(RFC18.ask(b"asks", report, *body), now)
    code, packed = read(answer).body
    assert code == b"200"
    return msgpack.unpackb(packed)


def short(name: bytes) -> str:
    return hashlib.sha256(name).hexdigest()[:16]


def notice(worker: bytes, service: bytes, *body: bytes) -> Frames:
    return [worker, b"MDPC02", b"\x03", service, *body]


def requests_to(out: list[Frames]) -> list[bytes]:
    return [bytes(f[0]) for f in out if f[1:3] == [b"MDPW02", b"\x02"]]  # type: ignore[call-overload]


# Who may.


@pytest.mark.parametrize("name", [*ORDERS, b"mmi.clients"])
@pytest.mark.parametrize("rights", [CLIENT, FARM], ids=lambda rights: rights.role)
def test_only_operators_give_orders(name: bytes, rights: Rights) -> None:
    broker = a_broker()
    ready(broker, b"w1")
    wanted = {"service": "plane2", "workers": [short(b"w1")], "client": "x"}
    code, text, out = order(broker, name, wanted, rights=rights)
    assert code == b"403"
    assert rights.name in text
    assert out == []
    assert broker.counters.forbidden == 1
    assert broker.services[S].pause is None
    assert not broker.workers[b"w1"].retired
    assert broker.orders.drained_by is None


@pytest.mark.parametrize("rights", [OPERATOR, SITE, EVERYTHING], ids=lambda rights: rights.name)
def test_the_log_names_the_key_before_who_the_sender_says_to_be(
    rights: Rights, caplog: pytest.LogCaptureFixture
) -> None:
    broker = a_broker()
    ready(broker, b"w1")
    caplog.set_level(logging.INFO)
    assert order(broker, b"mmi.pause", {"service": "plane2", "by": "x\n@n1"}, rights=rights)
    by = f"key {rights.name} (x\\n@n1)" if rights.name else "x\\n@n1"
    assert f"paused by {by}" in caplog.text
    assert ask(broker, b"mmi.services")["plane2"]["paused"] == {"by": by, "for_s": 0.0}


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize(
    "body", [[], [b""], [b"\xc1"], [b"\x01"], [b"a", b"b"], [b"x" * (2 << 20)]]
)
def test_an_order_that_is_no_map_is_answered_with_400(name: bytes, body: list[bytes]) -> None:
    broker = a_broker()
    [answer] = broker.receive(RFC18.ask(b"op", name, *body), 0.0)
    assert read(answer).body[0] == b"400"
    assert not broker.draining


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (b"mmi.pause", {}),
        (b"mmi.resume", {"service": 3}),
        (b"mmi.dismiss", {"workers": "w1"}),
        (b"mmi.dismiss", {"workers": [1]}),
        (b"mmi.abort", {}),
        (b"mmi.abort", {"requests": None}),
    ],
)
def test_an_order_without_what_it_needs_says_what_it_wants(name: bytes, wanted: object) -> None:
    code, text, out = order(a_broker(), name, wanted)
    assert (code, out) == (b"400", [])
    assert "want '" in text


# Pause and resume.


def test_a_paused_service_hands_nothing_out_until_it_is_resumed() -> None:
    broker = a_broker()
    ready(broker, b"w1")
    token = token_of(broker.receive(RFC18.ask(LANE, S, b"1"), 0.0)[0])
    code, state, out = order(broker, b"mmi.pause", {"service": "plane2"}, now=1.0)
    assert (code, state["held"], state["queued"]) == (b"200", 1, 0)
    assert out == [notice(b"w1", b"mmi.paused", b"1")]
    assert broker.receive(RFC18.ask(OTHER, S, b"2"), 2.0) == []
    answer = broker.receive(RFC18.reply(b"w1", token, b"x"), 3.0)
    assert [frames[0] for frames in answer] == [LANE], "its worker gets no other request"
    assert broker.receive(RFC18.ask(STRANGE, S, b"3"), 3.0) == [], "though the worker is idle"
    assert ready(broker, b"w2", 4.0) == [notice(b"w2", b"mmi.paused", b"1")]
    code, state, out = order(broker, b"mmi.resume", {"service": "plane2"}, now=5.0)
    assert state["queued"] == 2
    assert sorted(requests_to(out)) == [b"w1", b"w2"]
    assert [f for f in out if f[3] == b"mmi.paused"] == [
        notice(name, b"mmi.paused", b"0") for name in (b"w1", b"w2")
    ]


def test_foreign_workers_are_told_nothing_of_a_pause() -> None:
    broker = a_broker()
    broker.receive(RFC7.ready(b"w1", S), 0.0)
    assert order(broker, b"mmi.pause", {"service": "plane2"})[2] == []


def test_requests_of_a_paused_service_do_not_expire_and_then_have_all_the_time_again() -> None:
    broker = a_broker(expiry_s=10.0)
    ready(broker, b"w1")
    order(broker, b"mmi.pause", {"service": "plane2"})
    broker.receive(RFC18.disconnect(b"w1"), 1.0)
    broker.receive(RFC18.ask(LANE, S, b"1"), 2.0)
    broker.receive(RFC18.ask(LANE, b"mmi.broker", LANE, b"lease=900.000"), 2.0)
    assert broker.tick(100.0) == []
    order(broker, b"mmi.resume", {"service": "plane2"}, now=100.0)
    assert broker.tick(109.9) == []
    [refusal] = broker.tick(110.1)
    assert read(refusal).body[:2] == [b"MDP-ERROR", b"404"]


def test_clients_learn_of_a_pause_only_while_they_wait_for_the_service() -> None:
    broker = a_broker()
    ready(broker, b"w1")
    order(broker, b"mmi.pause", {"service": "plane2", "by": "ann@n1"}, now=1.0)
    assert ask(broker, b"mmi.broker", LANE, now=2.0)["paused"] == {}
    broker.receive(RFC18.ask(LANE, S, b"1"), 2.0)
    assert ask(broker, b"mmi.broker", LANE, now=3.0)["paused"] == {
        "plane2": {"by": "ann@n1", "for_s": 2.0}
    }
    assert ask(broker, b"mmi.broker", STRANGE, now=3.0)["paused"] == {}


def test_a_second_pause_leaves_the_first_one_and_an_unknown_service_is_404() -> None:
    broker = a_broker()
    ready(broker, b"w1")
    order(broker, b"mmi.pause", {"service": "plane2", "by": "ann"}, now=1.0)
    _, state, _ = order(broker, b"mmi.pause", {"service": "plane2", "by": "eve"}, now=3.0)
    assert state["paused"] == {"by": "ann", "for_s": 2.0}
    code, text, _ = order(broker, b"mmi.pause", {"service": "plane3"})
    assert code == b"404"
    assert "plane2" in text


# Dismiss.


def test_a_dismissed_worker_of_ours_answers_and_is_told_to_leave() -> None:
    broker = a_broker()
    ready(broker, b"w1")
    token = token_of(broker.receive(RFC18.ask(LANE, S, b"1"), 0.0)[0])
    broker.receive(RFC18.ask(OTHER, S, b"2"), 0.0)
    code, done, out = order(broker, b"mmi.dismiss", {"workers": [short(b"w1"), "other"]})
    assert (code, done) == (b"200", {"dismissed": [short(b"w1")], "unknown": ["other"]})
    assert out == [notice(b"w1", b"mmi.leave")]
    [answer] = broker.receive(RFC18.reply(b"w1", token, b"x"), 1.0)
    assert answer[0] == LANE
    assert broker.services[S].queued == 1, "it gets no other request"
    [row] = ask(broker, b"mmi.workers")["workers"]
    assert row["retired"]
    assert row["dismissed"]


@pytest.mark.parametrize("busy", [False, True])
def test_a_dismissed_foreign_worker_is_disconnected_when_it_holds_no_request(busy: bool) -> None:
    broker = a_broker()
    broker.receive(RFC7.ready(b"w1", S), 0.0)
    token = token_of(broker.receive(RFC18.ask(LANE, S, b"1"), 0.0)[0]) if busy else b""
    _, _, out = order(broker, b"mmi.dismiss", {"workers": [short(b"w1")]})
    if busy:
        assert out == []
        answer, *out = broker.receive(RFC7.reply(b"w1", token, b"x"), 1.0)
        assert answer[0] == LANE
    assert out == [RFC7.disconnect(b"w1")]
    assert broker.workers == {}
    assert (broker.counters.workers_lost, broker.counters.workers_died) == (0, 0)


def test_peers_without_a_name_of_their_own_cannot_be_named() -> None:
    broker = a_broker()
    broker.receive(RFC7.ready(b"\0w1", S), 0.0)
    broker.receive(RFC18.ask(b"\0c1", S, b"1"), 0.0)
    _, done, _ = order(broker, b"mmi.dismiss", {"workers": ["(given by the broker)"]})
    assert done["dismissed"] == []
    _, done, _ = order(broker, b"mmi.abort", {"client": "(given by the broker)"})
    assert done["cancelled"] == []


# Abort.


def test_all_requests_of_a_client_end_with_an_error_that_says_who_did_it() -> None:
    broker = a_broker()
    ready(broker, b"w1")
    token = token_of(broker.receive(RFC18.ask(LANE, S, b"1"), 0.0)[0])
    broker.receive(RFC18.ask(OTHER, S, b"2"), 0.0)
    broker.receive(RFC18.ask(STRANGE, S, b"3"), 0.0)
    [row] = [r for r in ask(broker, b"mmi.clients")["clients"] if r["queued"] + r["held"] == 2]
    assert row["client"] == short(LANE[:9])
    code, done, out = order(
        broker, b"mmi.abort", {"client": row["client"], "by": "ann@n1"}, rights=OPERATOR
    )
    assert code == b"200"
    assert sorted(done["cancelled"]) == [b"random 1".hex(), b"random 2".hex()]
    stop = [f for f in out if f[3] == b"mmi.stop"]
    assert stop == [notice(b"w1", b"mmi.stop", token, b"grace")]
    errors = {bytes(f[0]): read(f).body for f in out if f not in stop}  # type: ignore[call-overload]
    assert set(errors) == {LANE, OTHER}
    for body in errors.values():
        assert body[:2] == [b"MDP-ERROR", b"410"]
        assert b"key ann (ann@n1)" in body[2]  # type: ignore[operator]
    out = broker.receive(RFC18.reply(b"w1", token, b"late"), 1.0)
    assert requests_to(out) == [b"w1"], "the request of the other client"
    assert len(out) == 1, "the late answer is dropped"
    counters = broker.counters
    assert (counters.accepted, counters.refused) == (3, 2)


def test_one_request_is_cancelled_by_its_id() -> None:
    broker = a_broker()
    broker.receive(RFC18.ask(LANE, S, b"1"), 0.0)
    broker.receive(RFC18.ask(OTHER, S, b"2"), 0.0)
    _, done, [error] = order(broker, b"mmi.abort", {"requests": [b"random 2".hex()]})
    assert done["cancelled"] == [b"random 2".hex()]
    assert error[0] == OTHER
    assert order(broker, b"mmi.abort", {"requests": []})[1]["cancelled"] == []
    assert broker.services[S].queued == 1


# Drain.


def test_the_loop_is_asked_to_drain_after_the_answer() -> None:
    broker = a_broker()
    ready(broker, b"w1")
    for lane in (LANE, OTHER):
        broker.receive(RFC18.ask(lane, S, b"1"), 0.0)
    code, state, out = order(broker, b"mmi.drain", {"by": "ann"})
    assert (code, state, out) == (b"200", {"held": 1, "queued": 1}, [])
    assert broker.orders.drained_by == "ann"


# Ids.


def test_ids_come_from_the_lane_the_request_or_the_broker_and_reach_the_worker() -> None:
    broker = a_broker()
    for number in range(4):
        ready(broker, b"w%d" % number)
    [out] = broker.receive(RFC18.ask(LANE, S, b"1"), 0.0)
    assert token_of(out)[-8:] == b"random 1"
    [out] = broker.receive([OTHER, b"MDPC02", b"\x01IDENTITY", S, b"2"], 0.0)
    assert token_of(out)[-8:] == b"IDENTITY"
    ids = {token_of(broker.receive(RFC7.ask(b"c%d" % n, S, b"3"), 0.0)[0])[-8:] for n in (1, 2)}
    assert len(ids) == 2


@pytest.mark.parametrize("head", [b"\x01short", b"\x02IDENTITY", b"\x01IDENTITY2", b""])
def test_a_command_that_is_no_request_with_an_id_is_dropped(head: bytes) -> None:
    broker = a_broker()
    assert broker.receive([LANE, b"MDPC02", head, S, b"2"], 0.0) == []
    assert (broker.counters.malformed, broker.counters.accepted) == (1, 0)
