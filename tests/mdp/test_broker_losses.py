"""The broker when several things go wrong at once: what a request is charged with, and what not."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from mdp.broker.broker import Broker
from mdp.settings import BrokerSettings, Heartbeats
from tests.support.frames import RFC7, RFC18, read, token_of

S = b"plane2"


def a_broker(**settings: Any) -> Broker:
    return Broker(BrokerSettings(**settings), 0.0, instance=b"INSTANCE")


def test_workers_that_die_together_do_not_use_up_the_attempts_of_a_request() -> None:
    broker = a_broker()
    for worker in (b"w1", b"w2", b"w3"):
        broker.receive(RFC18.ready(worker, S), 0.0)
    broker.receive(RFC18.ready(b"alive", S), 0.5)
    broker.receive(RFC18.ask(b"c1", S, b"x"), 1.0)
    broker.receive(RFC18.heartbeat(b"alive"), 2.9)
    out = broker.tick(3.0)
    assert [s.peer for s in map(read, out) if s.what == "asked"][-1] == b"alive", out


def test_workers_that_die_within_one_interval_do_not_use_up_the_attempts() -> None:
    broker = a_broker()
    for n, worker in enumerate((b"w1", b"w2", b"w3")):
        broker.receive(RFC18.ready(worker, S), n * 0.25)
    broker.receive(RFC18.ready(b"alive", S), 0.75)
    broker.receive(RFC18.ask(b"c1", S, b"x"), 1.0)
    out = []
    for tick in range(12, 20):
        broker.receive(RFC18.heartbeat(b"alive"), tick / 4)
        out += broker.tick(tick / 4)
    assert [s.peer for s in map(read, out) if s.what == "asked"][-1] == b"alive", out


def test_workers_that_cannot_be_reached_do_not_use_up_the_attempts() -> None:
    broker = a_broker()
    for worker in (b"w1", b"w2", b"w3", b"alive"):
        broker.receive(RFC18.ready(worker, S), 0.0)
    out = broker.receive(RFC18.ask(b"c1", S, b"x"), 0.5)
    for frames in out:
        peer = frames[0]
        if peer in (b"w1", b"w2", b"w3"):
            assert isinstance(peer, bytes)
            out += broker.unreachable(peer, 0.5)
    assert read(out[-1]).peer == b"alive", out


def test_mmi_broker_takes_any_mapping_of_time_limits() -> None:
    broker = a_broker(time_limits_s=MappingProxyType({"plane2": 1.0}))
    broker.receive(RFC18.ask(b"me", b"mmi.broker"), 0.0)


def test_closing_without_a_drain_keeps_the_count() -> None:
    broker = a_broker()
    broker.receive(RFC18.ask(b"c1", S, b"x"), 0.0)
    broker.close(0.0)
    assert broker.services[S].queued == 0


def test_a_workers_question_to_the_broker_counts_as_its_heartbeat() -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 3))
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.ask(b"w1", b"mmi.service", S), 2.0)
    assert broker.tick(3.0) == [RFC18.heartbeat(b"w1")]


def test_gathering_parts_does_not_copy_what_was_gathered() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = token_of(broker.receive(RFC7.ask(b"c1", S), 0.0)[0])
    broker.receive(RFC18.part(b"w1", token, b"x"), 0.0)
    job = broker.workers[b"w1"].job
    assert job is not None
    earlier = job.gathered
    broker.receive(RFC18.part(b"w1", token, b"x"), 0.0)
    assert job.gathered is earlier


def test_parts_that_are_gathered_count_as_what_the_service_holds_and_are_bounded() -> None:
    broker = a_broker(max_queue_bytes=20)
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC7.ask(b"c1", S, b"x"), 0.0)
    token = broker.workers[b"w1"].token
    assert broker.receive(RFC18.part(b"w1", token, b"y" * 10), 0.1) == []
    assert broker.services[S].body_bytes == 11
    (refusal,) = broker.receive(RFC18.part(b"w1", token, b"y" * 10), 0.2)
    assert refusal[:6] == [b"c1", b"", b"MDPC01", S, b"MDP-ERROR", b"413"]
    assert broker.services[S].body_bytes == 0
