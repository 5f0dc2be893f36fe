"""The broker and its clients: lanes of one client, leases, memory, answers that do not arrive."""

from __future__ import annotations

import logging
import math

import msgpack
import pytest

from mdp import wire
from mdp.broker.broker import Broker
from mdp.broker.state import PendingRequest
from mdp.settings import BrokerSettings, Heartbeats
from mdp.wire import Frames
from tests.mdp.test_broker import S, a_broker, errors
from tests.support.frames import RFC18, read, token_of

ANNA, BEN = b"anna----", b"ben-----"


def lane(client: bytes, number: int, *, interactive: bool = False) -> bytes:
    return wire.lane_name(client, b"%08d" % number, interactive=interactive)


def asked(out: list[Frames]) -> list[bytes]:
    """The bodies of the requests that workers get."""
    return [bytes(read(f).body[0]) for f in out if read(f).what == "asked"]  # type: ignore[call-overload]


def pulse(broker: Broker, client: bytes, now: float, *, lease_s: float = 6.0) -> list[Frames]:
    """The client's heartbeat, on a lane of its own."""
    body = [lane(client, 1), wire.lease_frame(lease_s)]
    return broker.receive(RFC18.ask(lane(client, 999), b"mmi.broker", *body), now)


# Names.


def test_the_lanes_of_a_client_have_one_owner_and_other_peers_are_their_own() -> None:
    first, second = lane(ANNA, 1), lane(ANNA, 2)
    assert first != second
    assert wire.owner(first) == wire.owner(second) != wire.owner(lane(BEN, 1))
    assert wire.owner(first) != wire.owner(lane(ANNA, 1, interactive=True))
    for peer in (b"", b"L", b"c1", b"\0\0\0\0\1", b"L" * 16, b"W" * 17):
        assert wire.owner(peer) == peer
        assert not wire.is_interactive(peer)


def test_no_name_of_ours_begins_with_a_zero_byte() -> None:
    for interactive in (True, False):
        assert wire.lane_name(bytes(8), bytes(8), interactive=interactive)[0] != 0
    assert wire.worker_name(bytes(15))[0] != 0


@pytest.mark.parametrize(
    "body",
    [[], [b"lane"], [b"lease="], [b"lease=x"], [b"lease=-1"], [b"lease=0"], [b"lease=inf"],
     [b"lease=nan"], [b"lease=5", b"lane"]],
)  # fmt: skip
def test_a_body_without_a_right_last_frame_has_no_lease(body: Frames) -> None:
    assert wire.lease_of(body) is None


def test_a_lease_is_read_as_it_was_written() -> None:
    assert wire.lease_of([b"lane", wire.lease_frame(2.5)]) == 2.5


# Turns.


def test_lanes_of_one_client_share_its_turn() -> None:
    broker = a_broker()
    for number in range(4):
        broker.receive(RFC18.ask(lane(ANNA, number), S, b"anna%d" % number), 0.0)
    broker.receive(RFC18.ask(lane(BEN, 0), S, b"ben0"), 0.0)
    order = []
    for number in range(5):
        order += asked(broker.receive(RFC18.ready(b"w%d" % number, S), 0.0))
    assert order == [b"anna0", b"ben0", b"anna1", b"anna2", b"anna3"]


def test_a_hundred_thousand_requests_of_one_client_cost_another_one_turn() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    for _ in range(100_000):
        broker.receive(RFC18.ask(b"flood", S, b"flood"), 0.0)
    broker.receive(RFC18.ask(b"c1", S, b"one"), 0.0)
    worker = broker.workers[b"w1"]
    assert asked(broker.receive(RFC18.reply(b"w1", worker.token), 0.1)) == [b"flood"]
    assert asked(broker.receive(RFC18.reply(b"w1", worker.token), 0.2)) == [b"one"]


def test_an_interactive_client_is_served_before_production() -> None:
    broker = a_broker()
    broker.receive(RFC18.ask(lane(ANNA, 1), S, b"production"), 0.0)
    broker.receive(RFC18.ask(lane(BEN, 1, interactive=True), S, b"display"), 0.0)
    assert asked(broker.receive(RFC18.ready(b"w1", S), 0.0)) == [b"display"]


# Leases.


def test_a_client_that_is_silent_for_its_lease_is_not_computed_for() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    for number in range(3):
        broker.receive(RFC18.ask(lane(ANNA, number), S, b"%d" % number), 0.0)
    broker.receive(RFC18.ask(lane(BEN, 1), S, b"ben"), 0.0)
    pulse(broker, ANNA, 1.0)
    pulse(broker, BEN, 1.0)
    token = broker.workers[b"w1"].token
    for now in (2.0, 4.0, 6.0):
        broker.receive(RFC18.heartbeat(b"w1"), now)
        pulse(broker, BEN, now)
    assert broker.deadline() <= 7.0
    broker.tick(6.999)
    assert broker.counters.cancelled == 0
    broker.tick(7.0)
    assert (broker.counters.cancelled, broker.counters.clients_lost) == (3, 1)
    assert asked(broker.receive(RFC18.reply(b"w1", token), 7.1)) == [b"ben"]
    assert set(broker.clients.owners) == {wire.owner(lane(BEN, 1))}


def test_every_request_and_every_heartbeat_renews_the_lease() -> None:
    broker = a_broker()
    broker.receive(RFC18.ask(lane(ANNA, 1), S, b"a"), 0.0)
    pulse(broker, ANNA, 1.0)
    broker.receive(RFC18.ask(lane(ANNA, 2), S, b"b"), 5.0)
    broker.tick(10.9)
    pulse(broker, ANNA, 10.9)
    broker.tick(16.8)
    assert broker.counters.cancelled == 0
    broker.tick(16.9)
    assert broker.counters.cancelled == 2


def test_a_foreign_client_without_heartbeats_is_never_given_up() -> None:
    broker = a_broker(expiry_s=1e6)
    broker.receive(RFC18.ask(b"foreign", S, b"a"), 0.0)
    broker.receive(RFC18.ask(b"foreign", b"mmi.broker", b"foreign"), 0.0)
    broker.tick(9e5)
    assert broker.counters.cancelled == 0


def test_a_client_that_died_before_its_first_heartbeat_is_given_up_after_a_minute() -> None:
    broker = a_broker(expiry_s=1e6)
    broker.receive(RFC18.ask(lane(ANNA, 1), S, b"a"), 0.0)
    broker.tick(59.9)
    assert broker.counters.cancelled == 0
    broker.tick(60.0)
    assert broker.counters.cancelled == 1
    assert not broker.clients.owners


def test_a_client_that_was_only_slow_asks_again_and_is_served() -> None:
    broker = a_broker()
    broker.receive(RFC18.ask(lane(ANNA, 1), S, b"a"), 0.0)
    pulse(broker, ANNA, 0.0)
    broker.tick(6.0)
    lost = msgpack.unpackb(pulse(broker, ANNA, 6.5)[0][-1])["lost"]
    assert lost == [lane(ANNA, 1)]
    broker.receive(RFC18.ask(lane(ANNA, 2), S, b"a"), 7.0)
    assert asked(broker.receive(RFC18.ready(b"w1", S), 7.0)) == [b"a"]


def test_a_client_at_rest_is_forgotten_when_its_lease_is_over() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    out = broker.receive(RFC18.ask(lane(ANNA, 1), S, b"a"), 0.0)
    broker.receive(RFC18.reply(b"w1", token_of(out[0])), 0.1)
    assert broker.clients.owners
    assert not broker.clients.lanes
    broker.tick(61.0)
    assert not broker.clients.owners
    assert broker.counters.clients_lost == 0


def test_requests_one_after_the_other_do_not_pile_up_alarms() -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 1000))
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    for number in range(5000):
        now = number / 100
        out = broker.receive(RFC18.ask(lane(ANNA, 1), S, b"a"), now)
        pulse(broker, ANNA, now)
        broker.receive(RFC18.reply(b"w1", token_of(out[0])), now)
        broker.tick(now)
    assert len(broker._alarms) < 10


# Memory.


def test_all_services_together_hold_at_most_so_much_and_one_client_about_half() -> None:
    size = 10_000
    broker = a_broker(max_bytes=100_000, max_queue_bytes=50_000)
    taken = 0
    for number in range(20):
        out = broker.receive(RFC18.ask(b"greedy", b"s%d" % number, bytes(size)), 0.0)
        taken += not out
    assert taken == 4  # then the next one would be more than is free
    assert broker.receive(RFC18.ask(b"modest", b"s", bytes(size)), 0.0) == []
    assert broker.clients.memory == 5 * (size + PendingRequest.OVERHEAD_BYTES)
    for number in range(100):
        broker.receive(RFC18.ask(b"c%d" % number, b"t%d" % number, bytes(size)), 0.0)
        assert broker.clients.memory <= 100_000


def test_requests_without_a_body_take_memory_too() -> None:
    broker = a_broker(max_bytes=100_000, max_queue_bytes=50_000)
    for _ in range(1000):
        broker.receive(RFC18.ask(b"greedy", S), 0.0)
    assert broker.services[S].queued <= 50


def test_a_request_that_never_fits_gets_413_with_size_limit_and_option() -> None:
    broker = a_broker(max_queue_bytes=1000)
    (frames,) = broker.receive(RFC18.ask(b"c1", S, bytes(1001)), 0.0)
    assert errors([frames]) == [(b"c1", 413)]
    text = bytes(read(frames).body[2]).decode()  # type: ignore[call-overload]
    for word in ("1001", "1000", "--max-queue-bytes"):
        assert word in text


def test_mmi_broker_echoes_only_short_names() -> None:
    broker = a_broker()
    names = [lane(ANNA, 1), b"n" * 32, b"n" * 33, b"n" * 16_000]
    (frames,) = broker.receive(RFC18.ask(b"c1", b"mmi.broker", *names), 0.0)
    assert msgpack.unpackb(frames[-1])["lost"] == names[:2]


# Answers that do not arrive.


def test_an_answer_that_cannot_be_sent_does_not_count_as_answered() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    out = broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    broker.receive(RFC18.reply(b"w1", token_of(out[0])), 0.1)
    broker.unreachable(b"c1", 0.1)
    counters = broker.counters
    assert (counters.accepted, counters.answered, counters.undelivered) == (1, 0, 1)
    assert broker.services[S].answered == 0


def test_another_message_that_cannot_be_sent_takes_back_no_answer() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    out = broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    broker.receive(RFC18.reply(b"w1", token_of(out[0])), 0.1)
    broker.receive(RFC18.ask(b"c1", b"mmi.broker"), 0.2)
    broker.unreachable(b"c1", 0.2)
    assert (broker.counters.answered, broker.counters.undelivered) == (1, 0)


# Workers that nobody waits for.


def announce(broker: Broker, worker: bytes, *, regular: bool = False) -> None:
    body = [S, b"", msgpack.packb({"regular": regular})]
    (answer,) = broker.receive(RFC18.ask(worker, b"mmi.fingerprint", *body), 0.0)
    assert answer[4] == b"200"


def stopped(worker: bytes, token: bytes, how: bytes) -> Frames:
    return [worker, b"MDPC02", b"\x03", b"mmi.stop", token, how]


def test_a_worker_is_told_that_its_request_was_cancelled() -> None:
    broker = a_broker()
    announce(broker, b"w1")
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = token_of(broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)[0])
    answer, stop = broker.receive(RFC18.ask(b"c9", b"mmi.cancel", b"c1"), 0.1)
    assert read(answer).peer == b"c9"
    assert stop == stopped(b"w1", token, b"grace")
    assert broker.receive(RFC18.ask(b"c2", S, b"b"), 0.2) == []  # it is busy until it answers
    assert asked(broker.receive(RFC18.reply(b"w1", token), 0.3)) == [b"b"]


def test_a_foreign_worker_is_not_told() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)
    assert len(broker.receive(RFC18.ask(b"c9", b"mmi.cancel", b"c1"), 0.1)) == 1


def test_a_worker_is_told_when_its_client_is_gone_or_cannot_be_reached() -> None:
    for lost in ("lease", "unreachable"):
        broker = a_broker(heartbeats=Heartbeats(1.0, 1000))
        announce(broker, b"w1")
        broker.receive(RFC18.ready(b"w1", S), 0.0)
        client = lane(ANNA, 1)
        token = token_of(broker.receive(RFC18.ask(client, S, b"a"), 0.0)[0])
        out = broker.tick(60.0) if lost == "lease" else broker.unreachable(client, 0.1)
        assert stopped(b"w1", token, b"grace") in out


def test_at_the_time_limit_a_worker_is_told_to_stop_now_and_the_next_one_gets_the_request() -> None:
    broker = a_broker(time_limits_s={"plane2": 2.0}, heartbeats=Heartbeats(1.0, 100))
    for worker in (b"w1", b"w2"):
        announce(broker, worker)
        broker.receive(RFC18.ready(worker, S), 0.0)
    token = token_of(broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)[0])
    out = broker.tick(2.0)
    assert out[:2] == [stopped(b"w1", token, b"now"), RFC18.disconnect(b"w1")]
    assert asked(out) == [b"a"]
    assert [read(f).peer for f in out if read(f).what == "asked"] == [b"w2"]
    assert errors([f for f in broker.tick(4.0) if read(f).what == "final"][-1:]) == [(b"c1", 504)]


# Time limits that follow from the times measured.


def a_service_of(broker: Broker, *, seconds: float, count: int) -> None:
    announce(broker, b"w1", regular=True)
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    for number in range(count):
        now = number * seconds
        out = broker.receive(RFC18.ask(b"c1", S, b"a"), now)
        broker.receive(RFC18.reply(b"w1", token_of(out[0])), now + seconds)


@pytest.mark.parametrize(
    ("seconds", "count", "lowest", "highest"),
    [(0.1, 99, 600, 600), (0.1, 100, 60, 60), (20.0, 100, 200, 240)],
)
def test_a_regular_service_has_a_limit_of_ten_times_its_99_percent(
    seconds: float, count: int, lowest: float, highest: float
) -> None:
    broker = a_broker(heartbeats=Heartbeats(1.0, 10_000))
    a_service_of(broker, seconds=seconds, count=count)
    assert lowest <= broker.services[S].time_limit_s() <= highest


def test_a_service_whose_workers_do_not_say_that_they_are_regular_has_no_limit() -> None:
    broker = a_broker()
    announce(broker, b"w1", regular=False)
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    assert broker.services[S].time_limit_s() == math.inf


@pytest.mark.parametrize(("limit", "right"), [(5.0, 5.0), (math.inf, math.inf), (None, 600.0)])
def test_the_users_limit_counts_whatever_the_workers_say(limit: float | None, right: float) -> None:
    for regular in (True, False):
        settings = BrokerSettings(time_limits_s={"plane2": limit})
        broker = Broker(settings, 0.0, instance=b"INSTANCE")
        announce(broker, b"w1", regular=regular)
        broker.receive(RFC18.ready(b"w1", S), 0.0)
        assert broker.services[S].time_limit_s() == right


@pytest.mark.parametrize("facts", [b"", b"\xc1", b"\x01", b"\x93", msgpack.packb([1]), bytes(5000)])
def test_facts_that_are_no_map_are_refused(facts: bytes) -> None:
    broker = a_broker()
    (answer,) = broker.receive(RFC18.ask(b"w1", b"mmi.fingerprint", S, b"", facts), 0.0)
    assert answer[4:] == [b"400"]


# The log.


def test_a_flood_of_ready_and_disconnect_is_logged_in_a_few_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    broker = a_broker()
    for number in range(20_000):
        now = number / 1000
        broker.receive(RFC18.ready(b"w1", b"name" * 50), now)
        broker.receive(RFC18.disconnect(b"w1"), now)
    assert len(caplog.records) < 60


# Parts that a broken connection has lost.


def numbered(worker: bytes, token: bytes, number: int, body: bytes, *, final: bool) -> Frames:
    command = b"\x13" if final else b"\x12"
    return [worker, b"MDPW02", command, token, b"", b"%d" % number, body]


def test_parts_for_a_lane_are_numbered_and_the_final_has_their_number() -> None:
    broker = a_broker()
    client = lane(ANNA, 1)
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = token_of(broker.receive(RFC18.ask(client, S, b"a"), 0.0)[0])
    for number in range(2):
        out = broker.receive(RFC18.part(b"w1", token, b"part"), 0.1)
        assert out == [[client, b"MDPC02", b"\x12", S, b"%d" % number, b"part"]]
    out = broker.receive(RFC18.reply(b"w1", token, b"last"), 0.2)
    assert out == [[client, b"MDPC02", b"\x13", S, b"2", b"last"]]


def test_an_answer_without_parts_and_one_for_a_foreign_client_are_not_numbered() -> None:
    broker = a_broker()
    for client, parts in ((lane(ANNA, 1), 0), (b"c1", 2)):
        broker.receive(RFC18.ready(b"w1", S), 0.0)
        token = token_of(broker.receive(RFC18.ask(client, S, b"a"), 0.0)[0])
        for _ in range(parts):
            out = broker.receive(RFC18.part(b"w1", token, b"part"), 0.1)
            assert out == [RFC18.partial(client, S, b"part")]
        out = broker.receive(RFC18.reply(b"w1", token, b"last"), 0.2)
        assert out == [RFC18.final(client, S, b"last")]
        broker.receive(RFC18.disconnect(b"w1"), 0.3)


@pytest.mark.parametrize("final", [True, False])
def test_a_worker_that_lost_a_part_loses_its_request_and_the_client_gets_every_part_once(
    final: bool,
) -> None:
    broker = a_broker()
    client = lane(ANNA, 1)
    for worker in (b"w1", b"w2"):
        broker.receive(RFC18.ready(worker, S), 0.0)
    token = token_of(broker.receive(RFC18.ask(client, S, b"a"), 0.0)[0])
    broker.receive(numbered(b"w1", token, 0, b"p0", final=False), 0.1)
    out = broker.receive(numbered(b"w1", token, 2, b"p2", final=final), 0.2)
    assert out[0] == RFC18.disconnect(b"w1")
    assert asked(out) == [b"a"]
    token = token_of(out[1])
    assert broker.receive(numbered(b"w2", token, 0, b"p0", final=False), 0.3) == []
    out = broker.receive(numbered(b"w2", token, 1, b"p1", final=False), 0.3)
    assert out == [[client, b"MDPC02", b"\x12", S, b"1", b"p1"]]
    out = broker.receive(numbered(b"w2", token, 2, b"p2", final=True), 0.3)
    assert out == [[client, b"MDPC02", b"\x13", S, b"2", b"p2"]]


def test_a_worker_whose_request_was_cancelled_may_send_all_its_parts() -> None:
    broker = a_broker()
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = token_of(broker.receive(RFC18.ask(b"c1", S, b"a"), 0.0)[0])
    broker.receive(numbered(b"w1", token, 0, b"p0", final=False), 0.1)
    broker.cancel(b"c1", 0.0)
    assert broker.receive(numbered(b"w1", token, 1, b"p1", final=False), 0.2) == []
    assert broker.receive(numbered(b"w1", token, 2, b"p2", final=True), 0.3) == []
    assert broker.workers[b"w1"] in broker.services[S].idle


def test_one_client_does_not_take_all_bytes_of_a_service() -> None:
    broker = a_broker(max_queue_bytes=1000)
    taken = sum(not broker.receive(RFC18.ask(b"greedy", S, bytes(100)), 0.0) for _ in range(20))
    assert taken == 5
    assert broker.receive(RFC18.ask(b"modest", S, bytes(500)), 0.0) == []
    assert errors(broker.receive(RFC18.ask(b"third", S, bytes(1)), 0.0)) == [(b"third", 429)]


def test_the_largest_message_is_taken_by_an_empty_service() -> None:
    broker = a_broker(max_queue_bytes=1000)
    assert broker.receive(RFC18.ask(b"c1", S, bytes(1000)), 0.0) == []


def test_a_request_that_its_client_no_longer_names_is_cancelled_after_three_heartbeats() -> None:
    broker = a_broker()
    announce(broker, b"w1")
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    token = token_of(broker.receive(RFC18.ask(lane(ANNA, 2), S, b"forgotten"), 0.0)[0])
    broker.receive(RFC18.ask(lane(ANNA, 1), S, b"wanted"), 0.0)
    for now in (1.0, 2.0):
        assert len(pulse(broker, ANNA, now)) == 1  # it names lane 1 only
    answer, stop = pulse(broker, ANNA, 3.0)
    assert read(answer).what == "final"
    assert stop == stopped(b"w1", token, b"grace")
    assert broker.counters.cancelled == 1
    assert list(broker.clients.lanes) == [lane(ANNA, 1)]


def test_a_request_that_overtakes_heartbeats_is_not_cancelled() -> None:
    broker = a_broker()
    broker.receive(RFC18.ask(lane(ANNA, 2), S, b"new"), 0.0)
    for now in (0.1, 0.2):
        pulse(broker, ANNA, now)
    body = [lane(ANNA, 1), lane(ANNA, 2), wire.lease_frame(6.0)]
    broker.receive(RFC18.ask(lane(ANNA, 999), b"mmi.broker", *body), 0.3)
    for now in (0.4, 0.5):
        pulse(broker, ANNA, now)
    assert broker.counters.cancelled == 0
