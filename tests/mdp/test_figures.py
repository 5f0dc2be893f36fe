"""What `mmi.metrics` reports, message by message."""

from __future__ import annotations

import bisect
from typing import Any

import msgpack
import pytest

from mdp.broker import figures
from mdp.broker.broker import Broker
from mdp.broker.serving_times import BOUNDS_S
from mdp.keys.rights import EVERYTHING, Rights
from mdp.settings import BrokerSettings, Heartbeats
from tests.support.frames import RFC7, RFC18, token_of

S = b"plane2"
BOB = Rights("bob", "client", (), "B")
OPERATOR = Rights("op", "operator", (), "P")


def a_broker(**settings: Any) -> Broker:
    quiet = Heartbeats(1000.0, 3)
    return Broker(BrokerSettings(heartbeats=quiet, **settings), 0.0, instance=b"INSTANCE")


def report(broker: Broker, now: float = 0.0, rights: Rights = EVERYTHING) -> Any:
    (answer,) = broker.receive(RFC18.ask(b"me", b"mmi.metrics"), now, rights)
    assert answer[:-1] == RFC18.final(b"me", b"mmi.metrics", b"200")
    packed = answer[-1]
    assert isinstance(packed, bytes)
    return msgpack.unpackb(packed)


def served(broker: Broker, asked_at: float, answered_at: float, *body: bytes) -> None:
    """A client asks the only worker, and gets this answer."""
    (out,) = broker.receive(RFC18.ask(b"c1", S, b"a"), asked_at)
    broker.receive(RFC18.reply(b"w1", token_of(out), *(body or (b"b",))), answered_at)


# Services.


def test_times_are_in_the_first_bucket_whose_bound_is_not_below_them() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    held = [0.0005, 0.0019, 0.0021, 0.3, 0.3, 100.0, 9000.0]
    for number, held_s in enumerate(held):
        served(broker, 10_000.0 * number, 10_000.0 * number + held_s)
    row = report(broker)["services"]["plane2"]
    ordered = sorted(held)
    want = [bisect.bisect_right(ordered, bound) for bound in BOUNDS_S]
    assert row["serving"]["up_to"] == [*want, len(held)]
    assert row["serving"]["sum_s"] == pytest.approx(sum(held))
    assert row["waiting"] == {"up_to": [len(held)] * (len(BOUNDS_S) + 1), "sum_s": 0.0}
    assert report(broker)["bounds_s"] == [0.002 * 2**n for n in range(22)]


def test_histograms_never_forget() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    for number in range(25_000):
        served(broker, float(number), number + 0.0009 * (1 + number % 3))
    row = report(broker)["services"]["plane2"]
    assert row["serving"]["up_to"][-1] == row["answered"] == 25_000
    assert row["serving"]["up_to"][0] == pytest.approx(25_000 * 2 / 3, rel=0.01)


def test_time_in_the_queue_is_counted_when_a_worker_gets_the_request() -> None:
    broker = a_broker()
    broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    broker.receive(RFC18.ask(b"c2", S, b"a"), 3.0)
    row = report(broker, 5.0)["services"]["plane2"]
    assert (row["queued"], row["oldest_s"], row["waiting"]["sum_s"]) == (2, 5.0, 0.0)
    (out,) = broker.receive(RFC18.ready(b"w1", S), 6.0)
    row = report(broker, 7.0)["services"]["plane2"]
    assert (row["queued"], row["oldest_s"], row["waiting"]["sum_s"]) == (1, 4.0, 6.0)
    broker.receive(RFC18.reply(b"w1", token_of(out), b"b"), 8.0)
    row = report(broker, 9.0)["services"]["plane2"]
    assert (row["queued"], row["oldest_s"], row["waiting"]["sum_s"]) == (0, 0.0, 11.0)


def test_a_request_that_was_requeued_waits_from_then_on_but_its_age_counts_from_the_start() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    broker.receive(RFC18.disconnect(b"w1"), 10.0)
    row = report(broker, 12.0)["services"]["plane2"]
    assert (row["requeued"], row["oldest_s"]) == (1, 12.0)
    broker.receive(RFC18.ready(b"w2", S), 14.0)
    assert report(broker, 14.0)["services"]["plane2"]["waiting"]["sum_s"] == 4.0


def test_errors_count_by_code_whoever_answers_them() -> None:
    broker = a_broker(max_queue=1, expiry_s=60.0)
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    for code in (b"500", b"500", b"400", b"999", b"x" * 100):
        served(broker, 0.0, 1.0, b"MDP-ERROR", code, b"why")
    served(broker, 0.0, 1.0, b"MDP-ERROR")  # an answer of one frame is not an error
    broker.receive(RFC18.ask(b"c1", b"plane0", b"a"), 2.0)
    broker.receive(RFC18.ask(b"c1", b"plane0", b"a"), 2.0)
    broker.tick(100.0)
    services = report(broker)["services"]
    assert services["plane2"]["failed"] == {"500": 2, "400": 1, "other": 2}
    assert services["plane2"]["answered"] == 6
    assert services["plane0"]["failed"] == {"429": 1, "404": 1}


def test_busy_workers_are_those_that_have_not_retired() -> None:
    broker = a_broker()
    for name in (b"w1", b"w2", b"w3"):
        broker.receive(RFC18.ready(name, S), 0.0)
    broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    broker.receive(RFC18.ask(b"w3", b"mmi.retire"), 0.0)
    row = report(broker)["services"]["plane2"]
    assert (row["idle"], row["busy"], row["retired"]) == (1, 1, 1)


def test_services_that_were_served_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MOST_SERVICES", 2)
    broker = a_broker()
    for name in (b"typo1", b"typo2", b"typo3"):
        broker.receive(RFC18.ask(b"c1", name, b"a"), 0.0)
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    said = report(broker)
    assert set(said["services"]) == {"plane2", "typo1"}
    assert said["services_left_out"] == 2


# Workers and clients.


def test_a_worker_has_its_facts_and_what_it_answered() -> None:
    broker = a_broker()
    facts = msgpack.packb({"host": "n7", "job": "12_3", "device": "cuda:0", "restarts": 4})
    broker.receive(RFC18.ask(b"w1", b"mmi.fingerprint", S, b"", facts), 0.0)
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    for number in range(20):
        served(broker, 10.0 * number, 10.0 * number + (5.0 if number == 9 else 1.0))
    broker.receive(RFC18.ask(b"c1", S, b"a"), 300.0)
    (row,) = report(broker, 302.0)["workers"]
    assert len(row.pop("worker")) == 16
    assert row.pop("p95_s") == pytest.approx(1.0, rel=0.2)
    assert row == {
        "service": "plane2",
        "host": "n7",
        "job": "12_3",
        "device": "cuda:0",
        "restarts": 4,
        "answered": 20,
        "busy_s": 2.0,
    }
    broker.receive(RFC18.disconnect(b"w1"), 303.0)
    assert report(broker)["workers"] == []


def test_the_sum_over_the_workers_that_are_not_named_never_falls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(figures, "MOST_WORKERS", 2)
    broker = a_broker()
    workers = [b"w%d" % number for number in range(5)]
    for name in workers:
        broker.receive(RFC18.ready(name, S), 0.0)
    for name in workers:  # the one that has been idle longest
        (out,) = broker.receive(RFC18.ask(b"c1", S, b"a"), 1.0)
        broker.receive(RFC18.reply(name, token_of(out), b"b"), 2.0)
    said = report(broker)
    assert [row["answered"] for row in said["workers"]] == [1, 1]
    assert said["workers_left_out"] == 3
    assert said["services"]["plane2"]["rest"]["answered"] == 3
    assert said["services"]["plane2"]["rest"]["p95_s"] == pytest.approx(1.0, rel=0.2)
    for name in (b"w0", b"w4"):
        broker.receive(RFC18.disconnect(name), 3.0)
    said = report(broker)
    assert [row["answered"] for row in said["workers"]] == [1]
    assert said["services"]["plane2"]["rest"]["answered"] == 3
    assert said["services"]["plane2"]["answered"] == 5


def test_peers_without_a_name_of_their_own_are_in_the_sums() -> None:
    broker = a_broker()
    broker.receive(RFC7.ready(b"\0w1", S), 0.0)
    broker.receive(RFC7.ask(b"\0c1", S, b"a"), 0.0)
    broker.receive(RFC7.ask(b"\0c2", S, b"a"), 0.0)
    said = report(broker)
    assert (said["workers"], said["clients"]) == ([], [])
    assert said["workers_left_out"] == 1
    assert said["clients_left_out"] == {"count": 2, "waiting": 1, "in_flight": 1}


def test_the_clients_with_most_requests_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MOST_CLIENTS", 2)
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.ask(b"held", S, b"a"), 0.0, OPERATOR)
    for client, count in ((b"few", 2), (b"many", 7), (b"more", 9)):
        for number in range(count):
            broker.receive(RFC18.ask(client, (S, b"plane0")[number % 2], b"a"), 0.0, BOB)
    said = report(broker)
    assert [(row["key"], row["waiting"]) for row in said["clients"]] == [("bob", 9), ("bob", 7)]
    assert said["clients_left_out"] == {"count": 2, "waiting": 2, "in_flight": 1}


def test_a_cancelled_request_is_nobodys() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    broker.cancel(b"c1", 0.0)
    assert report(broker)["clients"] == []


# Rights, and the size.


def test_only_an_operator_is_told_about_peers() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    of_operator, of_client = report(broker, rights=OPERATOR), report(broker, rights=BOB)
    assert len(of_operator["workers"]) == len(of_operator["clients"]) == 1
    assert "no_peers" not in of_operator
    assert not {"workers", "clients"} & set(of_client)
    assert "'bob'" in of_client["no_peers"]
    assert of_client["services"] == of_operator["services"]
    assert broker.counters.forbidden == 0


def test_the_report_has_what_the_loop_knows() -> None:
    figures_of_loop = {"lag_s": 0.25, "received_bytes": 7}
    broker = Broker(BrokerSettings(), 0.0, instance=b"INSTANCE", process=lambda: figures_of_loop)
    assert report(broker)["process"] == figures_of_loop
    assert report(a_broker())["process"] == {}


def test_the_figures_of_a_service_take_constant_memory() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    sizes = []
    for many in (100, 10_000):
        for number in range(many):
            served(broker, float(number), number + 0.01 * (1 + number % 7))
        sizes.append(len(msgpack.packb(report(broker))))
    assert sizes[1] < 1.2 * sizes[0] < 3000
