"""The traps that other brokers fell into. Each test fails on a broker that does as they do."""

from __future__ import annotations

import pytest

from mdp.broker.broker import Broker
from mdp.settings import BrokerSettings, Heartbeats
from tests.support.frames import RFC7, RFC18, SPELLINGS, Spelling, token_of

S = b"plane2"
WORKERS = pytest.mark.parametrize("worker", list(SPELLINGS.values()), ids=list(SPELLINGS))


@pytest.fixture
def broker() -> Broker:
    settings = BrokerSettings(heartbeats=Heartbeats(1.0, 3), time_limits_s={"slow": 2.0})
    return Broker(settings, 0.0, instance=b"INSTANCE")


@WORKERS
def test_the_request_of_a_worker_that_dies_is_not_lost(broker: Broker, worker: Spelling) -> None:
    """The Guide's broker and majortomo forget it; their client waits until its own timeout."""
    broker.receive(worker.ready(b"w1", S), 0.0)
    broker.receive(RFC7.ask(b"c1", S, b"image"), 0.0)
    assert broker.tick(3.0) == [worker.disconnect(b"w1")]
    out = broker.receive(worker.ready(b"w2", S), 3.5)
    assert out == [worker.asked(b"w2", token_of(out[0]), b"image")]
    out = broker.receive(worker.reply(b"w2", token_of(out[0]), b"score"), 4.0)
    assert out == [RFC7.final(b"c1", S, b"score")]


@WORKERS
def test_a_reply_from_a_worker_already_purged_does_not_stop_the_broker(
    broker: Broker, worker: Spelling
) -> None:
    """zeromq/majordomo: an assertion that the worker is known ends the process."""
    broker.receive(worker.ready(b"w1", S), 0.0)
    token = token_of(broker.receive(RFC7.ask(b"c1", S, b"image"), 0.0)[0])
    broker.tick(3.0)
    late = broker.receive(worker.reply(b"w1", token, b"score"), 3.1)
    assert late == [worker.disconnect(b"w1")]
    out = broker.receive(worker.ready(b"w1", S), 3.2)
    assert out == [worker.asked(b"w1", token_of(out[0]), b"image")]


@WORKERS
def test_disconnect_from_a_busy_worker_does_not_stop_the_broker(
    broker: Broker, worker: Spelling
) -> None:
    """The Guide's Python broker removes it from a list of idle workers where it is not."""
    broker.receive(worker.ready(b"w1", S), 0.0)
    broker.receive(RFC7.ask(b"c1", S, b"image"), 0.0)
    assert broker.receive(worker.disconnect(b"w1"), 0.1) == []
    out = broker.receive(worker.ready(b"w2", S), 0.2)
    assert out == [worker.asked(b"w2", token_of(out[0]), b"image")]


@pytest.mark.parametrize("lost_by", ["disconnect", "silence", "second READY", "unreachable"])
def test_mmi_service_does_not_say_200_with_no_worker_left(broker: Broker, lost_by: str) -> None:
    """The Guide's Python broker: a service that once had a worker has one for ever."""
    broker.receive(RFC7.ready(b"w1", S), 0.0)
    assert broker.receive(RFC7.ask(b"c1", b"mmi.service", S), 0.0) == [
        RFC7.final(b"c1", b"mmi.service", b"200")
    ]
    if lost_by == "disconnect":
        broker.receive(RFC7.disconnect(b"w1"), 0.1)
    elif lost_by == "silence":
        broker.tick(3.0)
    elif lost_by == "second READY":
        broker.receive(RFC7.ready(b"w1", S), 0.1)
    else:
        broker.unreachable(b"w1", 0.1)
    assert broker.receive(RFC7.ask(b"c1", b"mmi.service", S), 3.0) == [
        RFC7.final(b"c1", b"mmi.service", b"404")
    ]


@WORKERS
def test_a_heartbeat_of_a_busy_worker_brings_it_no_second_request(
    broker: Broker, worker: Spelling
) -> None:
    """SSNetServer: each heartbeat puts its sender into the queue of ready workers."""
    broker.receive(worker.ready(b"w1", S), 0.0)
    token = token_of(broker.receive(RFC7.ask(b"c1", S, b"first"), 0.0)[0])
    assert broker.receive(RFC7.ask(b"c2", S, b"second"), 0.1) == []
    assert broker.receive(worker.heartbeat(b"w1"), 0.2) == []
    assert broker.receive(RFC7.ask(b"c3", S, b"third"), 0.3) == []
    assert broker.tick(0.3) == []
    out = broker.receive(worker.reply(b"w1", token, b"score"), 0.4)
    assert out == [
        RFC7.final(b"c1", S, b"score"),
        worker.asked(b"w1", token_of(out[1]), b"second"),
    ]


@WORKERS
def test_the_late_reply_of_a_worker_disconnected_as_too_slow_is_not_forwarded(
    broker: Broker, worker: Spelling
) -> None:
    """majortomo disconnects it, lets it compute on and forwards what it sends then."""
    broker.receive(worker.ready(b"w1", b"slow"), 0.0)
    token = token_of(broker.receive(RFC18.ask(b"c1", b"slow", b"image"), 0.0)[0])
    assert broker.tick(2.0) == [worker.disconnect(b"w1")]
    late = broker.receive(worker.reply(b"w1", token, b"score"), 2.5)
    assert late == [worker.disconnect(b"w1")]
    broker.receive(worker.ready(b"w1", b"slow"), 3.0)
    assert broker.receive(worker.reply(b"w1", token, b"score"), 3.1) == []
    assert broker.counters.dead_tokens == 2
