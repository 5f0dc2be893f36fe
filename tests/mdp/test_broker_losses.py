"""The broker when several things go wrong at once: what a request is charged with, and what not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import msgpack
import pytest

from mdp.broker.broker import Broker
from mdp.settings import BrokerSettings, Heartbeats
from mdp.wire import Frames
from tests.support.frames import RFC7, RFC18, SPELLINGS, Spelling, read, token_of

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


# Deaths of children, and hosts that go away, are counted apart.

FACTS = b"\x81\xa7regular\xc2"  # msgpack: {"regular": False}; only workers of ours send facts


def ours(broker: Broker, worker: bytes, now: float) -> Frames:
    """A worker of ours that joins, and gets the one request that is queued."""
    announcement = RFC18.ask(worker, b"mmi.fingerprint", S, b"", FACTS)
    assert broker.receive(announcement, now)[0][4] == b"200"
    return the_request(broker.receive(RFC18.ready(worker, S), now))


def foreign(broker: Broker, worker: bytes, now: float) -> Frames:
    return the_request(broker.receive(RFC18.ready(worker, S), now))


def the_request(out: list[Frames]) -> Frames:
    (frames,) = out
    assert read(frames).what == "asked"
    return frames


def crash(broker: Broker, worker: bytes, frames: Frames, now: float) -> list[Frames]:
    """Its child dies: it says so, and leaves."""
    out = broker.receive(RFC18.ask(worker, b"mmi.crashed", token_of(frames)), now)
    assert broker.receive(RFC18.disconnect(worker), now) == []
    return out


def leave(broker: Broker, worker: bytes, frames: Frames, now: float) -> list[Frames]:
    return broker.receive(RFC18.disconnect(worker), now)


def fall_silent(broker: Broker, worker: bytes, frames: Frames, now: float) -> list[Frames]:
    out = broker.tick(now + broker.settings.heartbeats.silence_s)
    return [frames for frames in out if read(frames).peer != worker]


def break_connection(broker: Broker, worker: bytes, frames: Frames, now: float) -> list[Frames]:
    return broker.unreachable(worker, now + 0.1)


def register_again(broker: Broker, worker: bytes, frames: Frames, now: float) -> list[Frames]:
    out = broker.receive(RFC18.ready(worker, S), now)
    assert read(out[0]).what == "disconnect"
    return out[1:]


Join = Callable[[Broker, bytes, float], Frames]
End = Callable[[Broker, bytes, Frames, float], list[Frames]]
DEATHS: list[tuple[Join, End]] = [(ours, crash), (foreign, leave)]
LOSSES: list[tuple[Join, End]] = [
    (ours, leave),
    (ours, fall_silent),
    (ours, break_connection),
    (ours, register_again),
    (foreign, fall_silent),
    (foreign, break_connection),
    (foreign, register_again),
]


def ends(pairs: list[tuple[Join, End]]) -> pytest.MarkDecorator:
    names = [f"{join.__name__} {end.__name__}" for join, end in pairs]
    return pytest.mark.parametrize(("join", "end"), pairs, ids=names)


def error(out: list[Frames]) -> tuple[int, str]:
    """The code and the text of the only message, an error for the client."""
    (frames,) = out
    mark, code, text = read(frames).body
    assert mark == b"MDP-ERROR"
    assert isinstance(code, bytes)
    assert isinstance(text, bytes)
    return int(code), text.decode()


def with_a_request(**settings: Any) -> Broker:
    broker = a_broker(heartbeats=Heartbeats(1.0, 3), expiry_s=1000.0, **settings)
    assert broker.receive(RFC18.ask(b"c1", S, b"x"), 0.0) == []
    return broker


@ends(DEATHS)
def test_the_third_death_refuses_a_request_and_names_its_limit(join: Join, end: End) -> None:
    broker = with_a_request()
    for n in range(2):
        worker = b"w%d" % n
        assert end(broker, worker, join(broker, worker, n), n) == []
    code, text = error(end(broker, b"w2", join(broker, b"w2", 2.0), 2.0))
    assert code == 502
    assert "3 workers of plane2 died" in text
    assert "(--max-attempts)" in text
    counters = broker.counters
    assert (counters.workers_died, counters.workers_lost, counters.requeued) == (3, 0, 2)


@ends(LOSSES)
def test_the_twelfth_loss_refuses_a_request_and_names_its_limit(join: Join, end: End) -> None:
    broker = with_a_request()
    for n in range(11):
        worker, now = b"w%d" % n, n * 10.0
        assert end(broker, worker, join(broker, worker, now), now) == []
    code, text = error(end(broker, b"w11", join(broker, b"w11", 110.0), 110.0))
    assert code == 502
    assert "12 workers of plane2 were lost" in text
    assert "(--max-lost)" in text
    counters = broker.counters
    assert (counters.workers_died, counters.workers_lost, counters.requeued) == (0, 12, 11)


def test_deaths_and_losses_do_not_add_up() -> None:
    broker = with_a_request(max_attempts=2, max_lost=2)
    assert crash(broker, b"w1", ours(broker, b"w1", 0.0), 0.0) == []
    assert leave(broker, b"w2", ours(broker, b"w2", 0.0), 0.0) == []
    code, text = error(crash(broker, b"w3", ours(broker, b"w3", 0.0), 0.0))
    assert (code, "(--max-attempts)" in text) == (502, True)


def test_hosts_that_go_away_make_no_request_poison() -> None:
    broker = with_a_request(max_attempts=1)
    for n in range(11):
        leave(broker, b"w%d" % n, ours(broker, b"w%d" % n, n), n)
    token = token_of(ours(broker, b"alive", 11.0))
    out = broker.receive(RFC18.reply(b"alive", token, b"scores"), 11.0)
    assert out == [RFC18.final(b"c1", S, b"scores")]


@pytest.mark.parametrize("body", [[], [b"x"], [b"x", b"y"]])
def test_a_death_under_another_token_changes_nothing(body: list[bytes]) -> None:
    broker = with_a_request()
    frames = ours(broker, b"w1", 0.0)
    for peer in (b"w1", b"w2", b"c1"):
        out = broker.receive(RFC18.ask(peer, b"mmi.crashed", *body), 0.0)
        assert out == [RFC18.final(peer, b"mmi.crashed", b"404")]
    for peer in (b"w2", b"c1"):  # the right token, from others
        out = broker.receive(RFC18.ask(peer, b"mmi.crashed", token_of(frames)), 0.0)
        assert out == [RFC18.final(peer, b"mmi.crashed", b"404")]
    assert broker.receive(RFC18.reply(b"w1", token_of(frames), b"y"), 0.0) != []
    assert broker.counters.workers_died == 0


def test_a_worker_whose_child_has_died_may_register_again_at_once() -> None:
    broker = with_a_request()
    crash(broker, b"w1", ours(broker, b"w1", 0.0), 0.0)
    assert b"w1" not in broker.workers
    ours(broker, b"w1", 0.0)
    assert broker.services[S].workers == 1


@pytest.mark.parametrize("spelling", list(SPELLINGS.values()), ids=list(SPELLINGS))
def test_the_death_of_a_child_is_told_in_every_dialect(spelling: Spelling) -> None:
    broker = with_a_request(max_attempts=1)
    (frames,) = broker.receive(spelling.ready(b"w1", S), 0.0)
    out = broker.receive(spelling.ask(b"w1", b"mmi.crashed", token_of(frames)), 0.0)
    assert error(out)[0] == 502


def test_the_death_of_a_child_whose_request_was_cancelled_is_counted_and_costs_nothing() -> None:
    broker = a_broker(max_attempts=1)
    broker.receive(RFC18.ready(b"w1", S), 0.0)
    frames = the_request(broker.receive(RFC18.ask(b"c1", S, b"x"), 0.0))
    broker.cancel(b"c1", 0.0)
    assert crash(broker, b"w1", frames, 0.0) == []
    counters = broker.counters
    assert (counters.workers_died, counters.cancelled, counters.refused) == (1, 1, 0)


def test_the_text_and_the_log_name_the_host_and_the_job_of_the_last_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="mdp")
    broker = with_a_request(max_attempts=1)
    facts = msgpack.packb({"host": "n7", "job": "8812_3"})
    broker.receive(RFC18.ask(b"w1", b"mmi.fingerprint", S, b"", facts), 0.0)
    frames = the_request(broker.receive(RFC18.ready(b"w1", S), 0.0))
    code, text = error(crash(broker, b"w1", frames, 0.0))
    assert code == 502
    assert text.endswith("the last: lost its child process on n7 (job 8812_3)")
    lines = [record.getMessage() for record in caplog.records]
    assert "plane2: worker 7731 on n7 (job 8812_3) is ready (MDP/0.2), 1 now" in lines
    assert "plane2: worker 7731 on n7 (job 8812_3) lost its child process after 0.0 s" in lines
