"""What docs/protocol.md promises of the broker, rule by rule, with numbers for time."""

from __future__ import annotations

import gc
import logging
import math
import sys
from types import FrameType
from typing import Any

import pytest

from mdp.broker.broker import Broker
from mdp.settings import BrokerSettings, Heartbeats
from mdp.wire import Frames
from tests.support.frames import MAJORTOMO, RFC7, RFC18, SPELLINGS, Spelling, read, token_of

S = b"plane2"
ALL = list(SPELLINGS.values())
CLIENTS = pytest.mark.parametrize("client", ALL, ids=list(SPELLINGS))
WORKERS = pytest.mark.parametrize("worker", ALL, ids=list(SPELLINGS))
STREAMING = pytest.mark.parametrize("worker", [RFC18, MAJORTOMO], ids=["MDP/0.2", "majortomo"])


def a_broker(**settings: Any) -> Broker:
    return Broker(BrokerSettings(**settings), 0.0, instance=b"INSTANCE")


def hold(broker: Broker, *body: bytes, now: float, worker: bytes = b"w1") -> bytes:
    """Client c1 asks and that worker, the only idle one, holds the request: its token."""
    out = broker.receive(RFC18.ask(b"c1", S, *body), now)
    assert [read(frames).peer for frames in out] == [worker]
    return token_of(out[0])


def errors(out: list[Frames]) -> list[tuple[bytes, int]]:
    """The client and the code of each message; all of them are errors of RFC 18's spelling."""
    result = []
    for frames in out:
        sent = read(frames)
        assert sent.what == "final"
        mark, code, text = sent.body
        assert mark == b"MDP-ERROR"
        assert isinstance(code, bytes)
        assert isinstance(text, bytes)
        assert text.decode()
        result.append((sent.peer, int(code)))
    return result


# The three dialects.


@CLIENTS
@WORKERS
def test_a_request_goes_to_a_worker_and_its_answer_back_each_in_its_own_dialect(
    client: Spelling, worker: Spelling
) -> None:
    broker = a_broker()
    assert broker.receive(worker.ready(b"w1", S), 0.0) == []
    out = broker.receive(client.ask(b"c1", S, b"a", b"", b"c"), 0.1)
    token = token_of(out[0])
    assert out == [worker.asked(b"w1", token, b"a", b"", b"c")]
    out = broker.receive(worker.reply(b"w1", token, b"x", b""), 0.2)
    assert out == [client.final(b"c1", S, b"x", b"")]
    assert (broker.counters.accepted, broker.counters.answered) == (1, 1)


@CLIENTS
@WORKERS
def test_a_request_without_a_body_and_an_answer_without_one_are_passed_on(
    client: Spelling, worker: Spelling
) -> None:
    broker = a_broker()
    broker.receive(worker.ready(b"w1", S), 0.0)
    out = broker.receive(client.ask(b"c1", S), 0.0)
    token = token_of(out[0])
    assert out == [worker.asked(b"w1", token)]
    assert broker.receive(worker.reply(b"w1", token), 0.0) == [client.final(b"c1", S)]


@pytest.mark.parametrize("client", [RFC18, MAJORTOMO], ids=["MDP/0.2", "majortomo"])
@STREAMING
def test_parts_are_passed_on_one_by_one(client: Spelling, worker: Spelling) -> None:
    broker = a_broker()
    broker.receive(worker.ready(b"w1", S), 0.0)
    token = token_of(broker.receive(client.ask(b"c1", S, b"a"), 0.0)[0])
    out = broker.receive(worker.part(b"w1", token, b"1", b"2"), 0.1)
    assert out == [client.partial(b"c1", S, b"1", b"2")]
    out = broker.receive(worker.part(b"w1", token, b"3"), 0.2)
    assert out == [client.partial(b"c1", S, b"3")]
    assert broker.receive(worker.reply(b"w1", token), 0.3) == [client.final(b"c1", S)]
    assert broker.counters.partials == 2


@STREAMING
def test_a_client_that_cannot_stream_gets_the_frames_of_all_parts_in_one_reply(
    worker: Spelling,
) -> None:
    broker = a_broker()
    broker.receive(worker.ready(b"w1", S), 0.0)
    token = token_of(broker.receive(RFC7.ask(b"c1", S, b"a"), 0.0)[0])
    assert broker.receive(worker.part(b"w1", token, b"1", b"2"), 0.1) == []
    assert broker.receive(worker.part(b"w1", token, b"3"), 0.2) == []
    out = broker.receive(worker.reply(b"w1", token, b"4"), 0.3)
    assert out == [RFC7.final(b"c1", S, b"1", b"2", b"3", b"4")]


@CLIENTS
def test_an_error_is_a_final_reply_in_the_clients_dialect(client: Spelling) -> None:
    broker = a_broker(max_queue=1)
    broker.receive(client.ask(b"c1", S, b"a"), 0.0)
    out = broker.receive(client.ask(b"c1", S, b"a"), 0.0)
    text = b"the queue of plane2 is full (--max-queue): 1 requests of this client"
    assert out == [client.final(b"c1", S, b"MDP-ERROR", b"429", text)]


def test_one_peer_may_be_a_client_and_a_worker() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"p", S), 0.0)
    token = token_of(broker.receive(RFC7.ask(b"p", S, b"a"), 0.0)[0])
    assert broker.receive(RFC18.reply(b"p", token, b"x"), 0.0) == [RFC7.final(b"p", S, b"x")]


@pytest.mark.parametrize("name", [b"\xff\x00\r\n", "größe".encode(), b"mmi", b" ", b"s" * 255])
def test_a_service_may_have_any_name_of_up_to_255_bytes(name: bytes) -> None:
    broker = a_broker()
    broker.receive(RFC7.ready(b"w1", name), 0.0)
    token = token_of(broker.receive(RFC18.ask(b"c1", name, b"a"), 0.0)[0])
    out = broker.receive(RFC7.reply(b"w1", token, b"x"), 0.0)
    assert out == [RFC18.final(b"c1", name, b"x")]


# Queue and workers.


def test_a_request_without_an_idle_worker_waits_for_one() -> None:
    broker = a_broker()
    assert broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0) == []
    out = broker.receive(RFC18.ready(b"w1", S), 1.0)
    assert out == [RFC18.asked(b"w1", token_of(out[0]), b"a")]


def test_requests_are_served_first_in_first_out() -> None:
    broker = a_broker()
    for number in range(5):
        broker.receive(RFC18.ask(b"c%d" % number, S, b"%d" % number), 0.0)
    out = broker.receive(RFC18.ready(b"w1", S), 0.0)
    for number in range(5):
        token = token_of(out[-1])
        assert out[-1] == RFC18.asked(b"w1", token, b"%d" % number)
        out = broker.receive(RFC18.reply(b"w1", token, b"x"), 0.0)
        assert out[0] == RFC18.final(b"c%d" % number, S, b"x")
    assert len(out) == 1


def test_a_worker_holds_one_request_at_a_time() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    hold(broker, b"a", now=0.0)
    assert broker.receive(RFC18.ask(b"c2", S, b"b"), 0.0) == []
    assert (broker.held, broker.services[S].queued) == (1, 1)


def test_workers_are_served_least_recently_used_first() -> None:
    broker = a_broker()
    for worker in (b"w1", b"w2", b"w3"):
        broker.receive(RFC18.ready(worker, S), 0.0)
    tokens = {}
    for client in (b"c1", b"c2", b"c3"):
        sent = read(broker.receive(RFC18.ask(client, S, b"a"), 0.0)[0])
        tokens[sent.peer] = sent.token
    assert list(tokens) == [b"w1", b"w2", b"w3"]
    for worker in (b"w2", b"w3", b"w1"):
        broker.receive(RFC18.reply(worker, tokens[worker], b"x"), 0.5)
    order = [read(broker.receive(RFC18.ask(b"c", S), 1.0)[0]).peer for _ in range(3)]
    assert order == [b"w2", b"w3", b"w1"]


def test_a_heartbeat_does_not_change_the_workers_order() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.ready(b"w2", S), 0.0)
    broker.receive(RFC18.heartbeat(b"w1"), 0.5)
    assert read(broker.receive(RFC18.ask(b"c", S), 0.6)[0]).peer == b"w1"


def test_each_service_has_its_own_workers_and_its_own_queue() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", b"plane1"), 0.0)
    assert broker.receive(RFC18.ask(b"c1", b"plane2", b"a"), 0.0) == []
    out = broker.receive(RFC18.ask(b"c2", b"plane1", b"b"), 0.0)
    assert out == [RFC18.asked(b"w1", token_of(out[0]), b"b")]
    assert broker.receive(RFC18.reply(b"w1", token_of(out[0])), 0.0) == [
        RFC18.final(b"c2", b"plane1")
    ]


# Paranoid Pirate.


@WORKERS
def test_an_idle_worker_gets_heartbeats_at_the_interval(worker: Spelling) -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 100))
    broker.receive(worker.ready(b"w1", S), 0.0)
    assert broker.deadline() == 1.0
    assert broker.tick(0.999) == []
    assert broker.tick(1.0) == [worker.heartbeat(b"w1")]
    assert broker.tick(1.0) == []
    assert broker.deadline() == 2.0
    assert broker.tick(2.5) == [worker.heartbeat(b"w1")]
    assert broker.deadline() == 3.5


@WORKERS
def test_a_busy_worker_gets_heartbeats_too(worker: Spelling) -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 100))
    broker.receive(worker.ready(b"w1", S), 0.0)
    hold(broker, b"a", now=0.5)
    assert broker.tick(1.499) == []
    for now in (1.5, 2.5, 3.5):
        assert broker.tick(now) == [worker.heartbeat(b"w1")]


def test_a_request_stands_for_a_heartbeat() -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 100))
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    for tenth in range(1, 30, 4):  # asked each 0.4 s: never a second without a word
        token = hold(broker, b"a", now=tenth / 10)
        assert broker.tick(tenth / 10) == []
        broker.receive(RFC18.reply(b"w1", token, b"x"), tenth / 10 + 0.1)
        assert broker.tick(tenth / 10 + 0.3) == []


def test_a_heartbeat_is_not_answered() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    assert broker.receive(RFC18.heartbeat(b"w1"), 0.5) == []


@WORKERS
def test_a_silent_worker_is_dropped_when_its_liveness_is_used_up(worker: Spelling) -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 3))
    broker.receive(worker.ready(b"w1", S), 0.0)
    assert broker.tick(2.999) == [worker.heartbeat(b"w1")]
    assert broker.deadline() == 3.0
    assert broker.tick(3.0) == [worker.disconnect(b"w1")]
    assert not broker.workers
    assert broker.counters.workers_lost == 1


def test_a_silent_worker_is_dropped_and_its_request_goes_to_the_next() -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 3))
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    first = hold(broker, b"a", now=0.0)
    broker.receive(RFC18.ready(b"w2", S), 2.9)
    broker.tick(2.9)
    out = broker.tick(3.0)
    second = token_of(out[1])
    assert out == [RFC18.disconnect(b"w1"), RFC18.asked(b"w2", second, b"a")]
    assert second != first


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_worker_that_sends_heartbeats_lives_however_long_it_computes(busy: bool) -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 3))
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    if busy:
        hold(broker, b"a", now=0.0)
    for second in range(1, 1000):
        broker.receive(RFC18.heartbeat(b"w1"), float(second))
        assert broker.tick(float(second)) == [RFC18.heartbeat(b"w1")]
    assert broker.held == busy


def test_a_part_and_a_reply_count_as_heartbeats() -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 3))
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = hold(broker, b"a", now=0.0)
    broker.receive(RFC18.part(b"w1", token, b"1"), 2.5)
    assert RFC18.disconnect(b"w1") not in broker.tick(5.4)
    broker.receive(RFC18.reply(b"w1", token, b"2"), 5.4)
    assert RFC18.disconnect(b"w1") not in broker.tick(8.3)
    assert broker.tick(8.4) == [RFC18.disconnect(b"w1")]


def test_a_reply_under_a_dead_token_counts_as_a_heartbeat() -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 3))
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.reply(b"w1", b"dead", b"x"), 2.0)
    assert broker.tick(4.9) == [RFC18.heartbeat(b"w1")]
    assert broker.tick(5.0) == [RFC18.disconnect(b"w1")]


def test_interval_and_liveness_are_what_the_settings_say() -> None:
    broker = a_broker(heartbeats=Heartbeats(0.25, 8))
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    assert broker.deadline() == 0.25
    assert broker.tick(1.75) == [RFC18.heartbeat(b"w1")]
    assert broker.tick(2.0) == [RFC18.disconnect(b"w1")]


def test_a_broker_with_nothing_to_wait_for_has_no_deadline() -> None:
    broker = a_broker()
    assert broker.deadline() == math.inf
    assert broker.tick(1e6) == []


@WORKERS
def test_a_worker_that_leaves_is_forgotten_without_an_answer(worker: Spelling) -> None:
    broker = a_broker()
    broker.receive(worker.ready(b"w1", S), 0.0)
    assert broker.receive(worker.disconnect(b"w1"), 0.5) == []
    assert broker.receive(RFC18.ask(b"c1", S, b"a"), 0.6) == []
    assert not broker.workers
    assert broker.tick(2.0) == []
    assert (broker.counters.workers_lost, broker.counters.unexpected) == (0, 0)


def test_a_worker_that_left_may_come_again_under_its_name() -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 3))
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.disconnect(b"w1"), 0.5)
    broker.receive(RFC7.ready(b"w1", b"plane0"), 0.9)
    assert broker.tick(1.0) == []  # the alarm of the worker that left is not the new one's
    assert broker.tick(1.9) == [RFC7.heartbeat(b"w1")]
    assert broker.tick(3.8) == [RFC7.heartbeat(b"w1")]
    assert broker.tick(3.9) == [RFC7.disconnect(b"w1")]


# Commands that are valid but unexpected.


@WORKERS
def test_a_heartbeat_from_a_worker_that_is_not_known_is_answered_with_disconnect(
    worker: Spelling,
) -> None:
    broker = a_broker()
    assert broker.receive(worker.heartbeat(b"w1"), 0.0) == [worker.disconnect(b"w1")]
    assert broker.counters.unexpected == 1
    assert not broker.workers


@WORKERS
def test_a_goodbye_from_a_worker_that_is_not_known_is_not_answered(worker: Spelling) -> None:
    broker = a_broker()
    assert broker.receive(worker.disconnect(b"w1"), 0.0) == []


@WORKERS
def test_a_reply_from_a_worker_that_is_not_known_is_dropped_and_counted(
    worker: Spelling,
) -> None:
    broker = a_broker()
    out = broker.receive(worker.reply(b"w1", b"token", b"x"), 0.0)
    assert out == [worker.disconnect(b"w1")]
    assert broker.counters.dead_tokens == 1


@WORKERS
def test_a_second_ready_is_answered_with_disconnect_and_the_worker_is_forgotten(
    worker: Spelling,
) -> None:
    broker = a_broker()
    broker.receive(worker.ready(b"w1", S), 0.0)
    assert broker.receive(worker.ready(b"w1", S), 0.1) == [worker.disconnect(b"w1")]
    assert broker.receive(RFC18.ask(b"c1", S, b"a"), 0.2) == []
    assert broker.counters.unexpected == 1
    assert not broker.workers


def test_a_second_ready_of_a_busy_worker_puts_its_request_back() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    broker.receive(RFC18.ready(b"w2", S), 0.0)
    out = broker.receive(RFC18.ready(b"w1", b"plane0"), 0.1)
    assert out == [RFC18.disconnect(b"w1"), RFC18.asked(b"w2", token_of(out[1]), b"a")]


@WORKERS
@pytest.mark.parametrize("name", [b"mmi.service", b"mmi.", b"mmi.mine"])
def test_a_worker_for_a_service_of_the_brokers_own_is_sent_away(
    worker: Spelling, name: bytes
) -> None:
    broker = a_broker()
    assert broker.receive(worker.ready(b"w1", name), 0.0) == [worker.disconnect(b"w1")]
    assert broker.counters.unexpected == 1
    assert not broker.workers
    assert not broker.services


# What cannot be parsed.


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"p"],
        [b"p", b""],
        [b"p", b"hello", b"world"],
        [b"p", b"", b"MDPC01", b""],
        [b"p", b"MDPC02", b"\x01", b"s" * 10_000, b"x"],
        [b"p", b"MDPW02", b"\x01", b"s" * 10_000],
        [b"p", b"MDPW02", b"\x07"],
        [b"p", b"", b"MDPC01", S, *[b"x"] * 9_996],
        [b""] * 10_000,
    ],
)
def test_a_malformed_message_is_dropped_and_counted(frames: list[bytes]) -> None:
    broker = a_broker()
    assert broker.receive([*frames], 0.0) == []
    assert broker.counters.malformed == 1
    assert (broker.counters.accepted, broker.counters.unexpected) == (0, 0)


def test_a_malformed_message_of_a_worker_costs_it_nothing() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = hold(broker, b"a", now=0.0)
    assert broker.receive([b"w1", b"MDPW02", b"\x04", token, b"not empty"], 0.1) == []
    assert broker.receive(RFC18.reply(b"w1", token, b"x"), 0.2) == [RFC18.final(b"c1", S, b"x")]


# Tokens.


def test_each_handing_out_has_a_new_token() -> None:
    broker = a_broker(max_attempts=100)
    tokens = set()
    for number in range(50):
        broker.receive(RFC18.ready(b"w1", S), 0.0)
        if number == 0:
            broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
            broker.receive(RFC18.disconnect(b"w1"), 0.0)
            broker.receive(RFC18.ready(b"w1", S), 0.0)
        worker = broker.workers[b"w1"]
        assert worker.job is not None
        tokens.add(worker.token)
        broker.receive(RFC18.disconnect(b"w1"), 0.0)
    assert len(tokens) == 50


def test_tokens_of_another_life_of_the_broker_are_dead() -> None:
    tokens = []
    for instance in (b"life one", b"life two"):
        broker = Broker(BrokerSettings(), 0.0, instance=instance)
        broker.receive(RFC18.ready(b"w1", S), 0.0)
        tokens.append(token_of(broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)[0]))
    assert tokens[0] != tokens[1]
    assert broker.receive(RFC18.reply(b"w1", tokens[0], b"x"), 0.0) == []
    assert broker.counters.dead_tokens == 1


def test_the_clients_address_stays_in_the_broker() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    out = broker.receive(RFC18.ask(b"a secret address", S, b"a"), 0.0)
    for frame in out[0]:
        assert isinstance(frame, bytes)
        assert b"secret" not in frame


def test_a_late_reply_is_dropped_and_counted_and_the_right_one_is_forwarded() -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 3))
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    first = hold(broker, b"a", now=0.0)
    broker.receive(RFC18.ready(b"w2", S), 2.9)
    second = token_of(broker.tick(3.0)[-1])
    assert broker.receive(RFC18.reply(b"w1", first, b"late"), 3.1) == [RFC18.disconnect(b"w1")]
    assert broker.counters.dead_tokens == 1
    out = broker.receive(RFC18.reply(b"w2", second, b"right"), 3.2)
    assert out == [RFC18.final(b"c1", S, b"right")]
    assert broker.counters.answered == 1


def test_a_worker_that_came_again_cannot_answer_under_its_old_token() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    first = hold(broker, b"a", now=0.0)
    broker.receive(RFC18.disconnect(b"w1"), 0.1)
    second = token_of(broker.receive(RFC18.ready(b"w1", S), 0.2)[0])
    for message in (RFC18.part(b"w1", first, b"late"), RFC18.reply(b"w1", first, b"late")):
        assert broker.receive(message, 0.3) == []
    assert broker.counters.dead_tokens == 2
    out = broker.receive(RFC18.reply(b"w1", second, b"right"), 0.4)
    assert out == [RFC18.final(b"c1", S, b"right")]


def test_a_reply_under_another_workers_token_is_dropped_and_counted() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.ready(b"w2", S), 0.0)
    first, second = (
        token_of(broker.receive(RFC18.ask(client, S, b"a"), 0.0)[0]) for client in (b"c1", b"c2")
    )
    assert broker.receive(RFC18.reply(b"w2", first, b"x"), 0.1) == []
    assert broker.counters.dead_tokens == 1
    assert broker.receive(RFC18.reply(b"w1", first, b"1"), 0.2) == [RFC18.final(b"c1", S, b"1")]
    assert broker.receive(RFC18.reply(b"w2", second, b"2"), 0.2) == [RFC18.final(b"c2", S, b"2")]


def test_a_second_final_reply_is_dropped_and_counted() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = hold(broker, b"a", now=0.0)
    assert len(broker.receive(RFC18.reply(b"w1", token, b"x"), 0.1)) == 1
    assert broker.receive(RFC18.reply(b"w1", token, b"x"), 0.1) == []
    assert broker.counters.dead_tokens == 1


@pytest.mark.parametrize("token", [b"", b"c1"])
def test_an_idle_worker_cannot_answer_anyone(token: bytes) -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.ready(b"w2", S), 0.0)
    hold(broker, b"a", now=0.0)
    assert broker.receive(RFC18.reply(b"w2", token, b"x"), 0.1) == []
    assert (broker.counters.dead_tokens, broker.held) == (1, 1)
    assert len(broker.services[S].idle) == 1


# Requeue.


def test_a_requeued_request_stands_at_the_head_of_its_queue() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    hold(broker, b"first", now=0.0)
    broker.receive(RFC18.ask(b"c2", S, b"second"), 0.1)
    assert broker.receive(RFC18.disconnect(b"w1"), 0.2) == []
    out = broker.receive(RFC18.ready(b"w2", S), 0.3)
    assert out == [RFC18.asked(b"w2", token_of(out[0]), b"first")]
    assert broker.counters.requeued == broker.services[S].requeued == 1


def test_a_requeued_request_goes_to_an_idle_worker_at_once() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    hold(broker, b"a", now=0.0)
    broker.receive(RFC7.ready(b"w2", S), 0.1)
    out = broker.receive(RFC18.disconnect(b"w1"), 0.2)
    assert out == [RFC7.asked(b"w2", token_of(out[0]), b"a")]


def test_a_request_whose_workers_died_max_attempts_times_is_refused_with_502() -> None:
    broker = a_broker(max_attempts=3)
    broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    for worker in (b"w1", b"w2"):
        assert len(broker.receive(RFC18.ready(worker, S), 0.0)) == 1
        assert broker.receive(RFC18.disconnect(worker), 0.0) == []
    broker.receive(RFC18.ready(b"w3", S), 0.0)
    assert errors(broker.receive(RFC18.disconnect(b"w3"), 0.0)) == [(b"c1", 502)]
    assert (broker.counters.requeued, broker.counters.refused) == (2, 1)
    assert broker.receive(RFC18.ready(b"w4", S), 0.0) == []
    assert broker.services[S].body_bytes == 0


def test_workers_that_answer_other_requests_do_not_count_as_attempts() -> None:
    broker = a_broker(max_attempts=1)
    for _ in range(5):
        broker.receive(RFC18.ready(b"w1", S), 0.0)
        token = hold(broker, b"a", now=0.0)
        assert len(broker.receive(RFC18.reply(b"w1", token), 0.0)) == 1
        assert broker.receive(RFC18.disconnect(b"w1"), 0.0) == []
    assert broker.counters.refused == 0


@pytest.mark.parametrize("client", [RFC18, MAJORTOMO], ids=["MDP/0.2", "majortomo"])
def test_parts_of_a_requeued_request_are_not_repeated_to_the_client(client: Spelling) -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = token_of(broker.receive(client.ask(b"c1", S, b"a"), 0.0)[0])
    for part in (b"1", b"2"):
        assert len(broker.receive(RFC18.part(b"w1", token, part), 0.1)) == 1
    broker.receive(RFC18.disconnect(b"w1"), 0.2)
    token = token_of(broker.receive(RFC18.ready(b"w2", S), 0.3)[0])
    assert broker.receive(RFC18.part(b"w2", token, b"1"), 0.4) == []
    broker.receive(RFC18.disconnect(b"w2"), 0.5)  # and it dies sooner than the first
    token = token_of(broker.receive(RFC18.ready(b"w3", S), 0.6)[0])
    for part in (b"1", b"2"):
        assert broker.receive(RFC18.part(b"w3", token, part), 0.7) == []
    out = broker.receive(RFC18.part(b"w3", token, b"3"), 0.8)
    assert out == [client.partial(b"c1", S, b"3")]
    out = broker.receive(RFC18.reply(b"w3", token, b"4"), 0.9)
    assert out == [client.final(b"c1", S, b"4")]
    assert broker.counters.partials == 3


def test_parts_of_a_requeued_request_are_not_repeated_in_a_gathered_reply() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = token_of(broker.receive(RFC7.ask(b"c1", S, b"a"), 0.0)[0])
    broker.receive(RFC18.part(b"w1", token, b"1"), 0.1)
    broker.receive(RFC18.disconnect(b"w1"), 0.2)
    token = token_of(broker.receive(RFC18.ready(b"w2", S), 0.3)[0])
    for part in (b"1", b"2"):
        assert broker.receive(RFC18.part(b"w2", token, part), 0.4) == []
    out = broker.receive(RFC18.reply(b"w2", token, b"3"), 0.5)
    assert out == [RFC7.final(b"c1", S, b"1", b"2", b"3")]


# Bounds.


def test_a_full_queue_refuses_with_429_and_takes_again_when_it_has_room() -> None:
    broker = a_broker(max_queue=2)
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = hold(broker, b"a", now=0.0)  # what a worker holds is not queued
    for _ in range(2):
        assert broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0) == []
    assert errors(broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)) == [(b"c1", 429)]
    assert broker.receive(RFC18.ask(b"c2", S, b"a"), 0.0) == []  # another client has its own limit
    assert len(broker.receive(RFC18.reply(b"w1", token), 0.1)) == 2
    assert broker.receive(RFC18.ask(b"c1", S, b"a"), 0.2) == []
    assert (broker.counters.accepted, broker.counters.refused) == (6, 1)


def test_a_full_queue_of_one_service_does_not_refuse_for_another() -> None:
    broker = a_broker(max_queue=1)
    broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    assert broker.receive(RFC18.ask(b"c1", b"plane1", b"a"), 0.0) == []


def test_a_service_holds_at_most_so_many_bytes_queued_and_handed_out() -> None:
    broker = a_broker(max_queue_bytes=10)
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = hold(broker, b"1234", b"56", now=0.0)
    assert broker.receive(RFC18.ask(b"c2", S, b"1234"), 0.0) == []
    assert errors(broker.receive(RFC18.ask(b"c3", S, b"1"), 0.0)) == [(b"c3", 429)]
    assert broker.receive(RFC18.ask(b"c4", S), 0.0) == []
    assert broker.services[S].body_bytes == 10
    broker.receive(RFC18.reply(b"w1", token), 0.1)
    assert broker.services[S].body_bytes == 4
    assert broker.receive(RFC18.ask(b"c5", S, b"123456"), 0.2) == []


def test_a_request_larger_than_the_bound_is_refused_by_an_idle_service_too() -> None:
    broker = a_broker(max_queue_bytes=10)
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    assert errors(broker.receive(RFC18.ask(b"c1", S, b"1" * 11), 0.0)) == [(b"c1", 413)]
    assert broker.services[S].body_bytes == 0


@pytest.mark.parametrize("end", ["answered", "cancelled", "expired", "too slow", "died"])
def test_bytes_are_given_back_however_a_request_ends(end: str) -> None:
    broker = a_broker(max_attempts=1, time_limits_s={"plane2": 2.0}, heartbeats=Heartbeats(1.0, 3))
    broker.receive(RFC18.ask(b"c1", S, b"12345"), 0.0)
    assert broker.services[S].body_bytes == 5
    if end == "expired":
        assert errors(broker.tick(60.0)) == [(b"c1", 404)]
    elif end == "cancelled":
        broker.cancel(b"c1", 0.0)
        assert broker.counters.cancelled == 1
    else:
        token = token_of(broker.receive(RFC18.ready(b"w1", S), 0.0)[0])
        assert broker.services[S].body_bytes == 5
        if end == "answered":
            broker.receive(RFC18.reply(b"w1", token), 0.1)
        elif end == "died":
            assert errors(broker.receive(RFC18.disconnect(b"w1"), 0.1)) == [(b"c1", 502)]
        else:
            broker.tick(2.0)
            broker.receive(RFC18.ready(b"w2", S), 2.0)
            assert errors(broker.tick(4.0)[1:]) == [(b"c1", 504)]
    assert broker.services[S].body_bytes == 0
    assert broker.clients.memory == 0
    assert not broker.clients.lanes
    assert not broker.clients.owners


def test_too_many_services_are_refused() -> None:
    broker = a_broker(max_services=2)
    broker.receive(RFC18.ready(b"w1", b"served"), 0.0)
    assert broker.receive(RFC18.ask(b"c1", b"queued", b"a"), 0.0) == []
    assert errors(broker.receive(RFC18.ask(b"c2", b"invented", b"a"), 0.0)) == [(b"c2", 429)]
    assert broker.receive(RFC18.ready(b"w2", b"invented"), 0.0) == [RFC18.disconnect(b"w2")]
    assert set(broker.services) == {b"served", b"queued"}
    assert broker.receive(RFC18.ask(b"c3", b"queued", b"a"), 0.0) == []


def test_services_that_nobody_uses_make_room_for_new_ones() -> None:
    broker = a_broker(max_services=2)
    broker.receive(RFC18.ready(b"w1", b"served"), 0.0)
    broker.receive(RFC18.ask(b"c1", b"queued", b"a"), 0.0)
    assert errors(broker.tick(60.0)[1:]) == [(b"c1", 404)]
    broker.receive(RFC18.ready(b"w1", b"served"), 60.0)
    assert broker.receive(RFC18.ask(b"c2", b"new", b"a"), 60.0) == []
    assert set(broker.services) == {b"served", b"new"}


# Time.


def test_a_request_for_a_service_without_workers_expires_with_404() -> None:
    broker = a_broker(expiry_s=60.0)
    broker.receive(RFC18.ask(b"c1", S, b"a"), 1.0)
    broker.receive(RFC18.ask(b"c2", S, b"b"), 2.0)
    assert broker.deadline() == 61.0
    assert broker.tick(60.999) == []
    assert errors(broker.tick(61.0)) == [(b"c1", 404)]
    assert broker.deadline() == 62.0
    assert errors(broker.tick(62.0)) == [(b"c2", 404)]
    assert broker.deadline() == math.inf
    assert broker.counters.refused == 2


def test_a_request_does_not_expire_while_its_service_has_a_worker() -> None:
    broker = a_broker(expiry_s=5.0, heartbeats=Heartbeats(1.0, 1000))
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = hold(broker, b"a", now=0.0)
    broker.receive(RFC18.ask(b"c2", S, b"b"), 1.0)
    assert broker.tick(500.0) == [RFC18.heartbeat(b"w1")]
    assert len(broker.receive(RFC18.reply(b"w1", token), 500.0)) == 2


def test_the_time_to_expiry_runs_from_when_the_last_worker_was_lost() -> None:
    broker = a_broker(expiry_s=5.0, heartbeats=Heartbeats(1.0, 1000))
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    hold(broker, b"a", now=0.0)
    broker.receive(RFC18.ask(b"c2", S, b"b"), 1.0)
    broker.receive(RFC18.disconnect(b"w1"), 100.0)
    broker.receive(RFC18.ask(b"c3", S, b"c"), 102.0)
    assert broker.tick(104.999) == []
    assert errors(broker.tick(105.0)) == [(b"c1", 404), (b"c2", 404)]
    assert errors(broker.tick(107.0)) == [(b"c3", 404)]


def test_a_worker_that_was_there_meanwhile_starts_the_time_to_expiry_anew() -> None:
    broker = a_broker(expiry_s=5.0)
    broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    broker.receive(RFC18.ready(b"w1", S), 4.0)
    broker.receive(RFC18.disconnect(b"w1"), 4.5)
    assert broker.tick(5.0) == []
    assert broker.tick(9.0) == []
    assert errors(broker.tick(9.5)) == [(b"c1", 404)]


def test_a_worker_that_comes_in_time_saves_the_whole_queue_from_expiry() -> None:
    broker = a_broker(expiry_s=5.0)
    for client in (b"c1", b"c2"):
        broker.receive(RFC18.ask(client, S, b"a"), 0.0)
    broker.receive(RFC18.ready(b"w1", S), 4.9)
    assert broker.tick(5.0) == []
    assert (broker.held, broker.services[S].queued) == (1, 1)


def test_a_cancelled_request_does_not_expire_and_does_not_hide_the_next() -> None:
    broker = a_broker(expiry_s=5.0)
    broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    broker.receive(RFC18.ask(b"c2", S, b"b"), 1.0)
    broker.cancel(b"c1", 0.0)
    assert broker.tick(5.0) == []
    assert errors(broker.tick(6.0)) == [(b"c2", 404)]


@CLIENTS
@WORKERS
def test_a_request_over_the_time_limit_is_tried_on_one_more_worker_and_then_gets_504(
    client: Spelling, worker: Spelling
) -> None:
    broker = a_broker(time_limits_s={"plane2": 2.5})
    broker.receive(worker.ready(b"w1", S), 0.0)
    broker.receive(client.ask(b"c1", S, b"a"), 0.5)
    broker.receive(worker.heartbeat(b"w1"), 2.4)
    broker.tick(2.4)
    assert broker.deadline() == 3.0
    assert broker.tick(2.999) == []
    assert broker.tick(3.0) == [worker.disconnect(b"w1")]
    assert not broker.workers
    asked = broker.receive(worker.ready(b"w2", S), 3.0)
    assert asked == [worker.asked(b"w2", token_of(asked[0]), b"a")]
    broker.receive(worker.heartbeat(b"w2"), 5.0)
    broker.tick(5.0)
    text = b"2 workers of plane2 took longer than its limit; the last: 2.5 s"
    assert broker.tick(5.5) == [
        worker.disconnect(b"w2"),
        client.final(b"c1", S, b"MDP-ERROR", b"504", text),
    ]
    assert not broker.workers
    assert (broker.counters.refused, broker.counters.workers_lost) == (1, 2)
    assert broker.counters.requeued == 1


def test_a_time_limit_shorter_than_a_heartbeat_is_kept() -> None:
    broker = a_broker(time_limits_s={"plane2": 0.1})
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    for now in (0.25, 0.5):
        token = hold(broker, b"a", now=now)
        assert broker.tick(now + 0.05) == []
        assert len(broker.receive(RFC18.reply(b"w1", token), now + 0.05)) == 1
        assert broker.tick(now + 0.2) == []
    hold(broker, b"a", now=0.75)
    assert broker.tick(0.875) == [RFC18.disconnect(b"w1")]


def test_a_time_limit_starts_anew_with_each_worker() -> None:
    broker = a_broker(time_limits_s={"plane2": 2.0})
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    hold(broker, b"a", now=0.0)
    broker.receive(RFC18.disconnect(b"w1"), 1.5)
    broker.receive(RFC18.ready(b"w2", S), 1.5)
    assert broker.tick(3.25) == [RFC18.heartbeat(b"w2")]
    assert broker.tick(3.5) == [RFC18.disconnect(b"w2")]


def test_a_time_limit_is_its_services_alone() -> None:
    broker = a_broker(time_limits_s={"plane1": 2.0}, heartbeats=Heartbeats(1.0, 1000))
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    hold(broker, b"a", now=0.0)
    assert broker.tick(500.0) == [RFC18.heartbeat(b"w1")]


def test_a_late_reply_after_the_time_limit_is_dropped() -> None:
    broker = a_broker(time_limits_s={"plane2": 2.0})
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = hold(broker, b"a", now=0.0)
    broker.tick(2.0)
    assert broker.receive(RFC18.reply(b"w1", token, b"late"), 2.1) == [RFC18.disconnect(b"w1")]
    assert (broker.counters.answered, broker.counters.dead_tokens) == (0, 1)


# Cancel.


def test_a_cancelled_request_leaves_the_queue() -> None:
    broker = a_broker(max_queue=2)
    broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    broker.receive(RFC18.ask(b"c2", S, b"b"), 0.0)
    broker.receive(RFC18.ask(b"c9", b"mmi.cancel", b"c1"), 0.1)
    assert (broker.counters.cancelled, broker.services[S].queued) == (1, 1)
    assert broker.receive(RFC18.ask(b"c3", S, b"c"), 0.2) == []  # there is room again
    out = broker.receive(RFC18.ready(b"w1", S), 0.3)
    assert out == [RFC18.asked(b"w1", token_of(out[0]), b"b")]


def test_the_reply_to_a_cancelled_request_goes_nowhere_and_its_worker_goes_on() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = hold(broker, b"a", now=0.0)
    broker.receive(RFC18.ask(b"c9", b"mmi.cancel", b"c1"), 0.1)
    assert broker.held == 0
    assert broker.receive(RFC18.ask(b"c2", S, b"b"), 0.2) == []  # it still computes
    assert broker.receive(RFC18.part(b"w1", token, b"1"), 0.3) == []
    out = broker.receive(RFC18.reply(b"w1", token, b"2"), 0.4)
    assert out == [RFC18.asked(b"w1", token_of(out[0]), b"b")]
    assert (broker.counters.cancelled, broker.counters.answered) == (1, 0)


def test_a_cancelled_request_is_not_requeued() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    hold(broker, b"a", now=0.0)
    broker.cancel(b"c1", 0.0)
    assert broker.receive(RFC18.disconnect(b"w1"), 0.1) == []
    assert broker.receive(RFC18.ready(b"w2", S), 0.2) == []
    assert broker.counters.requeued == 0


def test_a_requeued_request_can_be_cancelled_in_the_queue() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    hold(broker, b"a", now=0.0)
    broker.receive(RFC18.disconnect(b"w1"), 0.1)
    assert broker.cancel(b"c1", 0.0) == []
    assert (broker.services[S].queued, broker.counters.cancelled) == (0, 1)
    assert broker.receive(RFC18.ready(b"w2", S), 0.2) == []


def test_a_cancelled_request_over_the_time_limit_costs_the_worker_but_no_504() -> None:
    broker = a_broker(time_limits_s={"plane2": 2.0})
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    hold(broker, b"a", now=0.0)
    broker.cancel(b"c1", 0.0)
    assert broker.tick(2.0) == [RFC18.disconnect(b"w1")]


def test_cancelling_takes_all_of_a_client_and_nothing_of_others() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    hold(broker, b"a", now=0.0)
    for client in (b"c1", b"c2", b"c1"):
        broker.receive(RFC18.ask(client, S, b"b"), 0.0)
    for client in (b"c1", b"c1", b"nobody"):
        assert broker.cancel(client, 0.0) == []
    assert broker.counters.cancelled == 3
    assert (broker.held, broker.services[S].queued) == (0, 1)
    assert list(broker.clients.lanes) == [b"c2"]


def test_many_cancelled_requests_do_not_stay_in_the_queue() -> None:
    broker = a_broker()
    for number in range(1000):
        broker.receive(RFC18.ask(b"c%d" % number, S, b"a"), 0.0)
    for number in range(999):
        broker.cancel(b"c%d" % number, 0.0)
    assert broker.services[S].queued == 1
    out = broker.receive(RFC18.ready(b"w1", S), 0.0)
    assert len(out) == 1
    assert (broker.services[S].queued, broker.held) == (0, 1)


# Drain.


def test_a_draining_broker_refuses_new_requests_with_503() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    assert broker.drain(0.0) == []
    assert errors(broker.receive(RFC18.ask(b"c1", S, b"a"), 0.1)) == [(b"c1", 503)]
    assert (broker.counters.accepted, broker.counters.refused) == (1, 1)


def test_a_draining_broker_refuses_what_is_queued_and_waits_for_what_is_held() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = hold(broker, b"a", now=0.0)
    broker.receive(RFC18.ask(b"c2", S, b"b"), 0.0)
    broker.receive(RFC18.ask(b"c3", b"plane1", b"c"), 0.0)
    assert errors(broker.drain(0.1)) == [(b"c2", 503), (b"c3", 503)]
    assert (broker.held, broker.services[S].queued) == (1, 0)
    out = broker.receive(RFC18.reply(b"w1", token, b"x"), 0.2)
    assert out == [RFC18.final(b"c1", S, b"x")]
    assert broker.held == 0


def test_a_worker_that_comes_while_the_broker_drains_is_sent_away() -> None:
    broker = a_broker()
    broker.drain(0.0)
    assert broker.receive(RFC7.ready(b"w1", S), 0.1) == [RFC7.disconnect(b"w1")]
    assert not broker.workers


def test_a_draining_broker_keeps_up_its_heartbeats() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.drain(0.0)
    assert broker.tick(1.0) == [RFC18.heartbeat(b"w1")]


def test_a_request_whose_worker_dies_during_the_drain_goes_to_another() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.ready(b"w2", S), 0.0)
    hold(broker, b"a", now=0.0)
    broker.drain(0.1)
    out = broker.receive(RFC18.disconnect(b"w1"), 0.2)
    assert out == [RFC18.asked(b"w2", token_of(out[0]), b"a")]


def test_closing_sends_all_workers_away_and_refuses_what_is_left() -> None:
    broker = a_broker()
    for name, spelled in (b"w1", RFC18), (b"w2", RFC7), (b"w3", MAJORTOMO):
        broker.receive(spelled.ready(name, S), 0.0)
    hold(broker, b"a", now=0.0)
    broker.drain(0.1)
    out = broker.close(60.1)
    assert errors(out[:1]) == [(b"c1", 503)]
    assert out[1:] == [
        RFC18.disconnect(b"w1"),
        RFC7.disconnect(b"w2"),
        MAJORTOMO.disconnect(b"w3"),
    ]
    assert (broker.counters.accepted, broker.counters.refused) == (1, 1)


def test_closing_a_broker_without_anyone_says_nothing() -> None:
    broker = a_broker()
    broker.drain(0.0)
    assert broker.close(0.0) == []


# Peers that cannot be reached.


def test_a_worker_that_cannot_be_reached_is_forgotten_and_its_request_requeued() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.ready(b"w2", S), 0.0)
    hold(broker, b"a", now=0.0)
    out = broker.unreachable(b"w1", 0.0)
    assert out == [RFC18.asked(b"w2", token_of(out[0]), b"a")]
    assert list(broker.workers) == [b"w2"]
    assert (broker.counters.unreachable, broker.counters.workers_lost) == (1, 1)


def test_a_client_that_cannot_be_reached_is_counted() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = hold(broker, b"a", now=0.0)
    broker.receive(RFC18.reply(b"w1", token), 0.1)
    assert broker.unreachable(b"c1", 0.1) == []
    assert (broker.counters.unreachable, broker.counters.workers_lost) == (1, 0)
    assert list(broker.workers) == [b"w1"]


# Cost.


def _calls(broker: Broker, frames: Frames, now: float) -> tuple[int, list[Frames]]:
    """How many functions, of Python and of C, are called while the broker takes a message."""
    count = 0

    def hear(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    # neither what logging calls, nor what other libraries do when garbage is collected
    logging.disable()
    gc.disable()
    sys.setprofile(hear)
    try:
        out = broker.receive(frames, now)
    finally:
        sys.setprofile(None)
        gc.enable()
        logging.disable(logging.NOTSET)
    return count, out


def _calls_of_one_exchange(*, workers: int, queued: int, clients: int = 1) -> list[int]:
    """Function calls to take a request, a part, a reply, a heartbeat and a cancel."""
    broker = a_broker(heartbeats=Heartbeats(1.0, 1000))
    for number in range(workers):
        broker.receive(RFC18.ready(b"w%d" % number, S), 0.0)
    for number in range(queued + workers if queued else 0):
        broker.receive(RFC18.ask(b"q%d" % (number % clients), S, b"a"), 0.0)
    ask, out = _calls(broker, RFC18.ask(b"c1", S, b"a"), 0.5)
    held = read(out[0]) if out else None
    token = held.token if held else broker.workers[b"w0"].token
    part, _ = _calls(broker, RFC18.part(b"w0", token, b"x"), 0.5)
    reply, out = _calls(broker, RFC18.reply(b"w0", token, b"x"), 0.5)
    assert len(out) == (2 if queued else 1)
    beat, _ = _calls(broker, RFC18.heartbeat(b"w0"), 0.5)
    leave, _ = _calls(broker, RFC18.disconnect(b"w0"), 0.5)
    broker.receive(RFC18.ask(b"c2", S, b"a"), 0.5)
    cancel, _ = _calls(broker, RFC18.ask(b"c3", b"mmi.cancel", b"c2"), 0.5)
    return [ask, part, reply, beat, leave, cancel]


def test_an_exchange_costs_the_same_with_10_and_with_2000_workers() -> None:
    few, many = (_calls_of_one_exchange(workers=n, queued=0) for n in (10, 2000))
    assert few == many


def test_an_exchange_costs_the_same_with_5_and_with_20000_queued_requests() -> None:
    few, many = (_calls_of_one_exchange(workers=3, queued=n) for n in (10, 20_000))
    assert few == many


def test_an_exchange_costs_the_same_with_3_and_with_5000_clients() -> None:
    few, many = (_calls_of_one_exchange(workers=3, queued=20_000, clients=n) for n in (3, 5_000))
    assert few == many


def test_alarms_do_not_pile_up_with_the_requests() -> None:
    broker = a_broker(time_limits_s={"plane2": 0.5})
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    for number in range(5000):
        token = hold(broker, b"a", now=number / 10_000)
        broker.receive(RFC18.reply(b"w1", token), number / 10_000)
    assert len(broker._alarms) < 5
