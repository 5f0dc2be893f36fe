"""What the broker says of itself: RFC 8, and the services of our own."""

from __future__ import annotations

import hashlib
from typing import Any

import msgpack
import pytest

from mdp.broker.broker import Broker
from mdp.settings import BrokerSettings, Heartbeats
from tests.support.frames import MAJORTOMO, RFC7, RFC18, SPELLINGS, Spelling, token_of

CLIENTS = pytest.mark.parametrize("client", list(SPELLINGS.values()), ids=list(SPELLINGS))


def a_broker(**settings: Any) -> Broker:
    return Broker(BrokerSettings(**settings), 0.0, instance=b"INSTANCE", started_at=1.7e9)


def ask(broker: Broker, service: bytes, *body: bytes, now: float = 0.0) -> Any:
    """What the map in the answer of a service of the broker's own says."""
    (answer,) = broker.receive(RFC18.ask(b"me", service, *body), now)
    assert answer[:-1] == RFC18.final(b"me", service, b"200")
    packed = answer[-1]
    assert isinstance(packed, bytes)
    return msgpack.unpackb(packed)


def code(broker: Broker, *body: bytes) -> object:
    (answer,) = broker.receive(RFC18.ask(b"me", b"mmi.service", *body), 0.0)
    assert answer[:-1] == RFC18.final(b"me", b"mmi.service")
    return answer[-1]


# mmi.service


@CLIENTS
def test_mmi_service_is_answered_in_the_clients_dialect(client: Spelling) -> None:
    broker = a_broker()
    broker.receive(RFC7.ready(b"w1", b"plane2"), 0.0)
    for name, want in (b"plane2", b"200"), (b"plane3", b"404"):
        out = broker.receive(client.ask(b"c1", b"mmi.service", name), 0.0)
        assert out == [client.final(b"c1", b"mmi.service", want)]


def test_mmi_service_knows_a_busy_worker() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", b"plane2"), 0.0)
    broker.receive(RFC18.ask(b"c1", b"plane2", b"a"), 0.0)
    assert code(broker, b"plane2") == b"200"


def test_mmi_service_says_404_when_the_last_worker_is_gone() -> None:
    broker = a_broker()
    for worker in (b"w1", b"w2"):
        broker.receive(RFC18.ready(worker, b"plane2"), 0.0)
    broker.receive(RFC18.disconnect(b"w1"), 0.0)
    assert code(broker, b"plane2") == b"200"
    broker.receive(RFC18.disconnect(b"w2"), 0.0)
    assert code(broker, b"plane2") == b"404"


def test_mmi_service_says_404_for_a_service_that_has_only_requests() -> None:
    broker = a_broker()
    broker.receive(RFC18.ask(b"c1", b"plane2", b"a"), 0.0)
    assert code(broker, b"plane2") == b"404"


def test_mmi_service_without_a_name_says_404() -> None:
    assert code(a_broker()) == b"404"


# mmi.services


def test_mmi_services_reports_how_long_workers_hold_requests() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", b"plane2"), 0.0)
    for number in range(10):
        at = 10.0 * number
        (out,) = broker.receive(RFC18.ask(b"c1", b"plane2", b"a"), at)
        broker.receive(RFC18.reply(b"w1", token_of(out), b"b"), at + (1.0 if number else 5.0))
    serving = ask(broker, b"mmi.services")["plane2"]["serving_s"]
    assert serving["measured"] == 10
    assert serving["p50"] == pytest.approx(1.0, rel=0.2)
    assert serving["p95"] == pytest.approx(5.0, rel=0.2)


def test_mmi_services_counts_workers_requests_and_bytes() -> None:
    broker = a_broker()
    for worker in (b"w1", b"w2", b"w3"):
        broker.receive(RFC18.ready(worker, b"plane2"), 0.0)
    token = token_of(broker.receive(RFC18.ask(b"c1", b"plane2", b"123"), 0.0)[0])
    broker.receive(RFC18.ask(b"c2", b"plane2", b"45"), 0.0)
    broker.receive(RFC18.reply(b"w1", token, b"x"), 0.0)
    for body in (b"6", b"789"):
        broker.receive(RFC18.ask(b"c3", b"plane0", body), 0.0)
    reports = ask(broker, b"mmi.services")
    assert reports["plane2"].pop("serving_s")["measured"] == 1
    assert reports == {
        "plane2": {
            "workers": 3,
            "retired": 0,
            "idle": 2,
            "busy": 1,
            "queued": 0,
            "bytes": 2,
            "answered": 1,
            "requeued": 0,
            "time_limit_s": None,
            "paused": None,
        },
        "plane0": {
            "workers": 0,
            "retired": 0,
            "idle": 0,
            "busy": 0,
            "queued": 2,
            "bytes": 4,
            "answered": 0,
            "requeued": 0,
            "time_limit_s": None,
            "serving_s": None,
            "paused": None,
        },
    }
    broker.receive(RFC18.disconnect(b"w2"), 0.0)
    assert ask(broker, b"mmi.services")["plane2"]["requeued"] == 1


def test_mmi_services_does_not_count_what_was_cancelled() -> None:
    broker = a_broker()
    for client in (b"c1", b"c2"):
        broker.receive(RFC18.ask(client, b"plane2", b"123"), 0.0)
    broker.cancel(b"c1", 0.0)
    plane2 = ask(broker, b"mmi.services")["plane2"]
    assert (plane2["queued"], plane2["bytes"]) == (1, 3)


def test_mmi_services_writes_a_name_that_is_no_text_with_escapes() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", b"plane\n2"), 0.0)
    broker.receive(RFC18.ready(b"w2", b"\xfe"), 0.0)
    assert list(ask(broker, b"mmi.services")) == ["plane\\n2", "\\xfe"]


def test_mmi_services_of_a_new_broker_is_empty() -> None:
    assert ask(a_broker(), b"mmi.services") == {}


# mmi.workers


def test_mmi_workers_says_who_they_are_and_what_they_do() -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 100))
    broker.receive(RFC7.ready(b"w1", b"plane2"), 1.0)
    broker.receive(MAJORTOMO.ready(b"\x00w2", b"plane2"), 2.0)
    broker.receive(RFC18.ask(b"c1", b"plane2", b"a"), 3.0)
    broker.receive(RFC7.heartbeat(b"w1"), 5.5)
    assert ask(broker, b"mmi.workers", now=6.0) == {
        "workers": [
            {
                "service": "plane2",
                "address": hashlib.sha256(b"w1").hexdigest()[:16],
                "dialect": "MDP/0.1",
                "fingerprint": "",
                "retired": False,
                "dismissed": False,
                "since_s": 5.0,
                "busy_s": 3.0,
                "heard_s": 0.5,
                "facts": {},
            },
            {
                "service": "plane2",
                "address": "(given by the broker)",
                "dialect": "majortomo",
                "fingerprint": "",
                "retired": False,
                "dismissed": False,
                "since_s": 4.0,
                "busy_s": None,
                "heard_s": 4.0,
                "facts": {},
            },
        ]
    }


# mmi.broker


def test_mmi_broker_says_which_broker_this_is_and_how_it_is_set() -> None:
    broker = a_broker(max_attempts=5, heartbeats=Heartbeats(0.5, 4), time_limits_s={"plane2": 2.0})
    broker.receive(RFC18.ask(b"c1", b"plane2", b"a"), 0.0)
    says = ask(broker, b"mmi.broker")
    assert says["instance"] == b"INSTANCE".hex()
    assert says["started_at"] == 1.7e9
    assert isinstance(says["version"], str)
    assert says["draining"] is False
    assert says["settings"]["max_attempts"] == 5
    assert says["settings"]["heartbeats"] == {"interval_s": 0.5, "liveness": 4}
    assert says["settings"]["time_limits_s"] == {"plane2": 2.0}
    assert says["counters"]["accepted"] == 1
    broker.drain(0.0)
    assert ask(broker, b"mmi.broker")["draining"] is True


def test_mmi_broker_names_the_clients_for_whom_it_holds_nothing() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", b"plane2"), 0.0)
    token = token_of(broker.receive(RFC18.ask(b"held", b"plane2", b"a"), 0.0)[0])
    broker.receive(RFC18.ask(b"queued", b"plane2", b"a"), 0.0)
    clients = (b"held", b"nobody", b"queued")
    assert ask(broker, b"mmi.broker", *clients)["lost"] == [b"nobody"]
    broker.receive(RFC18.reply(b"w1", token, b"x"), 0.0)
    assert ask(broker, b"mmi.broker", *clients)["lost"] == [b"held", b"nobody"]


def test_mmi_broker_says_who_runs_it_and_where() -> None:
    broker = Broker(BrokerSettings(), 0.0, instance=b"INSTANCE", user="ann", host="login2")
    report = ask(broker, b"mmi.broker")
    assert (report["user"], report["host"]) == ("ann", "login2")
    report = ask(a_broker(), b"mmi.broker")
    assert (report["user"], report["host"]) == ("", "")


def test_mmi_broker_names_the_services_without_workers_that_the_lanes_wait_for() -> None:
    broker = a_broker(expiry_s=1000.0)
    broker.receive(RFC18.ready(b"w1", b"plane2"), 0.0)
    broker.receive(RFC18.ask(b"held", b"plane2", b"a"), 1.0)
    broker.receive(RFC18.ask(b"queued", b"plane2", b"a"), 1.0)
    broker.receive(RFC18.ask(b"mine", b"plane0", b"a"), 5.0)
    broker.receive(RFC18.ask(b"other", b"plane1", b"a"), 5.0)

    def unserved(*lanes: bytes, now: float) -> object:
        return ask(broker, b"mmi.broker", *lanes, now=now)["unserved"]

    assert unserved(now=15.0) == {}
    assert unserved(b"held", b"queued", b"nobody", now=2.0) == {}
    assert unserved(b"held", b"mine", now=15.0) == {"plane0": 10.0}
    assert unserved(b"mine", b"lease=6.000", now=16.0) == {"plane0": 11.0}
    broker.receive(RFC18.disconnect(b"w1"), 20.0)
    want = {"plane2": 2.0, "plane0": 17.0}
    assert unserved(b"held", b"queued", b"mine", now=22.0) == want
    broker.receive(RFC18.ready(b"w2", b"plane2"), 23.0)
    assert unserved(b"held", b"queued", b"mine", now=24.0) == {"plane0": 19.0}


def test_mmi_services_counts_the_workers_that_have_retired() -> None:
    broker = a_broker()
    for worker in (b"w1", b"w2"):
        broker.receive(RFC18.ready(worker, b"plane2"), 0.0)
    broker.receive(RFC18.ask(b"w1", b"mmi.retire"), 0.0)
    row = ask(broker, b"mmi.services")["plane2"]
    assert (row["workers"], row["retired"], row["idle"]) == (2, 1, 1)
    broker.receive(RFC18.disconnect(b"w1"), 0.0)
    row = ask(broker, b"mmi.services")["plane2"]
    assert (row["workers"], row["retired"], row["idle"]) == (1, 0, 1)


def test_every_service_of_the_brokers_own_still_answers_while_it_drains() -> None:
    broker = a_broker()
    broker.drain(0.0)
    for service in (b"mmi.services", b"mmi.workers", b"mmi.broker", b"mmi.cancel"):
        ask(broker, service)
    assert code(broker, b"plane2") == b"404"


# mmi.cancel


def test_mmi_cancel_says_how_many_requests_it_took() -> None:
    broker = a_broker()
    for client in (b"c1", b"c1", b"c2", b"c3"):
        broker.receive(RFC18.ask(client, b"plane2", b"a"), 0.0)
    assert ask(broker, b"mmi.cancel", b"c1", b"c2", b"nobody") == {"cancelled": 3}
    assert ask(broker, b"mmi.cancel", b"c1", b"c2", b"nobody") == {"cancelled": 0}
    assert ask(broker, b"mmi.cancel") == {"cancelled": 0}
    assert broker.services[b"plane2"].queued == 1


def test_names_that_a_broker_gave_cannot_be_cancelled_since_they_can_be_guessed() -> None:
    broker = a_broker()
    for client in (b"\x00\x00\x00\x00\x01", b""):
        broker.receive(RFC18.ask(client, b"plane2", b"a"), 0.0)
        assert ask(broker, b"mmi.cancel", client) == {"cancelled": 0}
    assert broker.services[b"plane2"].queued == 2


# mmi.retire


@CLIENTS
def test_a_worker_that_retires_while_idle_gets_no_more_requests(client: Spelling) -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", b"plane2"), 0.0)
    assert broker.receive(RFC18.ask(b"w1", b"mmi.retire"), 0.0)[0][-2:] == [b"200", b"\x80"]
    assert broker.receive(client.ask(b"c1", b"plane2", b"a"), 0.0) == []
    assert ask(broker, b"mmi.services")["plane2"]["queued"] == 1
    (row,) = ask(broker, b"mmi.workers")["workers"]
    assert row["retired"] is True
    (asked,) = broker.receive(RFC18.ready(b"w2", b"plane2"), 0.0)
    assert asked == RFC18.asked(b"w2", token_of(asked), b"a")


def test_a_worker_that_retires_while_busy_answers_what_it_holds_and_gets_no_more_requests() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", b"plane2"), 0.0)
    token = token_of(broker.receive(RFC18.ask(b"c1", b"plane2", b"a"), 0.0)[0])
    broker.receive(RFC18.ask(b"c2", b"plane2", b"b"), 0.0)
    broker.receive(RFC18.ask(b"w1", b"mmi.retire"), 0.0)
    out = broker.receive(RFC18.reply(b"w1", token, b"x"), 0.0)
    assert out == [RFC18.final(b"c1", b"plane2", b"x")]
    (asked,) = broker.receive(RFC18.ready(b"w2", b"plane2"), 0.0)
    assert asked == RFC18.asked(b"w2", token_of(asked), b"b")


def test_a_worker_that_registers_again_after_it_retired_gets_requests() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", b"plane2"), 0.0)
    broker.receive(RFC18.ask(b"w1", b"mmi.retire"), 0.0)
    broker.receive(RFC18.disconnect(b"w1"), 0.0)
    broker.receive(RFC18.ready(b"w1", b"plane2"), 0.0)
    (asked,) = broker.receive(RFC18.ask(b"c1", b"plane2", b"a"), 0.0)
    assert asked == RFC18.asked(b"w1", token_of(asked), b"a")


# Others, and what they have in common.


@pytest.mark.parametrize("service", [b"mmi.", b"mmi.other", b"mmi.service2", b"mmi.\xff\x00"])
@CLIENTS
def test_anything_else_under_mmi_is_not_implemented(service: bytes, client: Spelling) -> None:
    out = a_broker().receive(client.ask(b"c1", service, b"x"), 0.0)
    assert out == [client.final(b"c1", service, b"501")]


@pytest.mark.parametrize(
    "service", [b"mmi.service", b"mmi.services", b"mmi.workers", b"mmi.broker", b"mmi.cancel"]
)
def test_questions_to_the_broker_are_no_requests_and_take_any_body(service: bytes) -> None:
    broker = a_broker()
    for body in ([], [b""], [b"\xff" * 300], [b"x"] * 500):
        assert len(broker.receive(RFC18.ask(b"c1", service, *body), 0.0)) == 1
    assert broker.counters.accepted == 0
    assert not broker.services
    assert not broker.clients.lanes
