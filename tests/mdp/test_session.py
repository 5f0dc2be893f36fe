"""A worker's conversation by the numbers: Paranoid Pirate, in frames as literal bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import TypeVar

import msgpack
import pytest

from mdp.errors import MDPError
from mdp.settings import Heartbeats, WorkerSettings
from mdp.sockets.addresses import Place
from mdp.wire import Frame, Frames
from mdp.worker.session import Close, Leave, Open, Send, Session, SocketStep, Stop
from tests.support.steps import Steps

Step = TypeVar("Step")


class Watched(Session):
    """A session whose steps can be compared."""

    def open(self, now: float) -> list[SocketStep]:
        return Steps(super().open(now))

    def close(self, now: float) -> list[SocketStep]:
        return Steps(super().close(now))

    def receive(
        self, frames: Frames, now: float
    ) -> tuple[list[SocketStep], Frames | Stop | Leave | None]:
        steps, order = super().receive(frames, now)
        return Steps(steps), order

    def reply(self, body: Sequence[Frame], *, final: bool, now: float) -> list[SocketStep]:
        return Steps(super().reply(body, final=final, now=now))

    def tick(self, now: float) -> list[SocketStep]:
        return Steps(super().tick(now))

    def disconnected(self, now: float) -> list[SocketStep]:
        return Steps(super().disconnected(now))


FACTS = b"\x81\xa7regular\xc2"  # msgpack: {"regular": False}
ANNOUNCED = Send([b"MDPC02", b"\x01", b"mmi.fingerprint", b"echo", b"", FACTS])
READY = Send([b"MDPW02", b"\x01", b"echo"])
OPENED = [Open(), ANNOUNCED, READY]
HEARTBEAT = Send([b"MDPW02", b"\x05"])
DISCONNECT = Send([b"MDPW02", b"\x06"])
HEARD: Frames = [b"MDPW02", b"\x05"]
GO_AWAY: Frames = [b"MDPW02", b"\x06"]


def request(token: bytes, *body: bytes) -> Frames:
    return [b"MDPW02", b"\x02", token, b"", *body]


def a_session(*, interval_s: float = 1.0, liveness: int = 3) -> Session:
    return Watched(
        b"echo", WorkerSettings(heartbeats=Heartbeats(interval_s=interval_s, liveness=liveness))
    )


def an_open_session(now: float = 0.0) -> Session:
    session = a_session()
    session.open(now)
    return session


def test_the_steps_of_these_tests_are_told_apart() -> None:
    steps: Steps[SocketStep] = Steps([Open()])
    other: list[SocketStep] = [Close()]
    assert steps == [Open()]
    assert steps != other
    assert other[0] not in steps
    assert (steps, None) != (other, None)


# READY and heartbeats.


def test_a_worker_is_announced_on_a_new_socket_and_then_ready() -> None:
    assert a_session().open(0.0) == OPENED


def test_the_announcement_has_the_childs_fingerprint_and_its_facts() -> None:
    session = a_session()
    session.fingerprint, session.regular = b"weights abc", True
    facts = b"\x81\xa7regular\xc3"
    said = Send([b"MDPC02", b"\x01", b"mmi.fingerprint", b"echo", b"weights abc", facts])
    assert session.open(0.0) == [Open(), said, READY]


def test_a_closed_session_says_nothing() -> None:
    session = a_session()
    assert session.tick(100.0) == []
    assert session.close(100.0) == []
    assert session.reply([b"x"], final=True, now=100.0) == []


def test_a_heartbeat_is_sent_each_interval() -> None:
    session = an_open_session(10.0)
    assert session.deadline() == 11.0
    assert session.tick(10.9) == []
    assert session.tick(11.0) == [HEARTBEAT]
    session.receive(HEARD, 11.5)
    assert session.tick(11.9) == []
    assert session.deadline() == 12.0
    assert session.tick(12.0) == [HEARTBEAT]


@pytest.mark.parametrize("final", [True, False])
def test_an_answer_stands_for_a_heartbeat(final: bool) -> None:
    session = an_open_session()
    session.receive(request(b"t"), 0.5)
    session.reply([b"x"], final=final, now=0.75)
    assert session.tick(1.5) == []
    assert session.deadline() == 1.75
    assert session.tick(1.75) == [HEARTBEAT]


def test_a_message_received_does_not_stand_for_one_sent() -> None:
    session = an_open_session()
    session.receive(HEARD, 0.9)
    assert session.tick(1.0) == [HEARTBEAT]


def test_heartbeats_go_on_while_a_request_is_held() -> None:
    session = an_open_session()
    session.receive(request(b"t"), 0.0)
    for second in range(1, 50):
        assert session.tick(float(second)) == [HEARTBEAT]
        session.receive(HEARD, float(second))
    assert session.token == b"t"


# Silence and DISCONNECT.


def test_a_silent_broker_is_left_after_liveness_intervals() -> None:
    session = a_session(interval_s=2.0, liveness=4)
    session.open(0.0)
    for now in (2.0, 4.0, 6.0):
        assert session.tick(now) == [HEARTBEAT]
    assert session.tick(7.9) == []
    assert session.deadline() == 8.0
    assert session.tick(8.0) == [Close()]
    assert not session.is_open
    assert session.deadline() == session.closed_until == 9.0


@pytest.mark.parametrize("frames", [HEARD, request(b"t", b"x")])
def test_every_message_of_the_broker_is_a_sign_of_life(frames: Frames) -> None:
    session = an_open_session()
    session.tick(1.0)
    session.tick(2.0)
    session.receive(frames, 2.9)
    assert session.tick(3.0) == [HEARTBEAT]
    assert session.tick(5.875) == [HEARTBEAT]
    assert session.is_open
    assert session.tick(5.9) == [Close()]


def test_the_wait_before_a_new_socket_doubles_from_1_to_4_seconds() -> None:
    session, now, waits = a_session(), 0.0, []
    for _ in range(8):
        session.open(now)
        assert session.tick(now + 3.0) == [Close()]
        waits.append(session.closed_until - now - 3.0)
        now = session.closed_until
    assert waits == [1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]


@pytest.mark.parametrize(("random", "wait_s"), [(0.0, 1.0), (0.5, 0.875), (1.0, 0.75)])
def test_a_wait_is_shortened_at_random_by_up_to_a_quarter(random: float, wait_s: float) -> None:
    session = Watched(b"echo", WorkerSettings(), jitter=lambda: random)
    session.open(0.0)
    session.receive(GO_AWAY, 0.0)
    assert session.closed_until == wait_s


def test_after_a_minute_without_a_broker_1000_workers_are_back_within_5_seconds_not_at_once() -> (
    None
):
    """The broker dies at 0, is back at 60, and hears a READY 0.2 s after each open session."""
    dice, back_at = Random(16), []
    for _ in range(1000):
        session, now = Watched(b"echo", WorkerSettings(), jitter=dice.random), 0.0
        session.open(now)
        session.disconnected(now)
        while now < 60.0:  # each `now` is when a session opens
            now = session.closed_until
            session.open(now)
            if now < 60.0 <= now + 3.0 - 0.2:  # libzmq is about to connect
                now = 60.0 + 0.2 * dice.random()
            elif now < 60.0:
                session.tick(now + 3.0)
        back_at.append(now)
    assert max(back_at) < 65.0
    of_second = Counter(int(now) for now in back_at if now > 60.2)
    assert len(of_second) >= 4
    assert all(count < 300 for count in of_second.values())


def test_a_message_of_the_broker_resets_the_wait() -> None:
    session, now = a_session(), 0.0
    for _ in range(4):
        session.open(now)
        session.tick(now + 3.0)
        now = session.closed_until
    session.open(now)
    session.receive(HEARD, now)
    session.tick(now + 3.0)
    assert session.closed_until == now + 4.0
    session.open(now + 4.0)
    session.tick(now + 7.0)
    assert session.closed_until == now + 9.0


def test_opening_alone_does_not_reset_the_wait() -> None:
    session = an_open_session()
    session.tick(3.0)
    session.open(4.0)
    session.tick(7.0)
    assert session.closed_until == 9.0


def test_the_settings_give_the_first_and_the_longest_wait() -> None:
    settings = WorkerSettings(reconnect_s=0.5, reconnect_max_s=1.5)
    session, now, waits = Watched(b"echo", settings), 0.0, []
    for _ in range(4):
        session.open(now)
        session.tick(now + 3.0)
        waits.append(session.closed_until - now - 3.0)
        now = session.closed_until
    assert waits == [0.5, 1.0, 1.5, 1.5]


@pytest.mark.parametrize("held", [True, False])
def test_a_disconnect_closes_the_socket_without_a_word(held: bool) -> None:
    session = an_open_session()
    if held:
        session.receive(request(b"t"), 0.1)
    assert session.receive(GO_AWAY, 0.5) == ([Close()], None)
    assert not session.is_open
    assert session.token is None
    assert session.closed_until == 1.5
    assert session.reply([b"too late"], final=True, now=0.6) == []


def test_a_worker_that_leaves_says_so_and_may_come_back_at_once() -> None:
    session = an_open_session()
    session.receive(request(b"t"), 0.1)
    assert session.close(0.5) == [DISCONNECT, Close(flush=True)]
    assert session.closed_until == 0.5
    assert session.token is None
    assert session.close(0.6) == []
    assert session.open(0.5) == OPENED


@pytest.mark.parametrize("held", [True, False])
def test_a_connection_that_breaks_ends_the_session_as_silence_does(held: bool) -> None:
    session = an_open_session()
    if held:
        session.receive(request(b"t"), 0.1)
    assert session.disconnected(0.5) == [Close()]
    assert not session.is_open
    assert session.token is None
    assert session.closed_until == 1.5
    assert session.disconnected(0.6) == []
    assert session.closed_until == 1.5


# Requests that nobody waits for, and limits.


def stop(token: bytes, how: bytes) -> Frames:
    return [b"MDPC02", b"\x03", b"mmi.stop", token, how]


@pytest.mark.parametrize(("how", "at_once"), [(b"grace", False), (b"now", True)])
def test_a_stop_is_passed_on_for_the_held_request_and_its_answer_still_sent(
    how: bytes, at_once: bool
) -> None:
    session = an_open_session()
    session.receive(request(b"t"), 0.1)
    steps, order = session.receive(stop(b"t", how), 0.2)
    assert (steps, type(order), order) == ([], Stop, Stop(at_once))
    assert session.token == b"t"
    assert session.reply([b"x"], final=True, now=0.3) == [
        Send([b"MDPW02", b"\x04", b"t", b"", b"x"])
    ]


@pytest.mark.parametrize(
    "frames",
    [
        stop(b"u", b"grace"),
        stop(b"t", b"soon"),
        stop(b"t", b""),
        stop(b"t", b"now")[:-1],
        [*stop(b"t", b"now"), b""],
        stop(b"t", b"now")[:3],
        [b"MDPC02", b"\x03"],
    ],
)
def test_a_stop_of_another_request_or_that_is_malformed_is_ignored(frames: Frames) -> None:
    session = an_open_session()
    session.receive(request(b"t"), 0.1)
    assert session.receive(frames, 0.2) == ([], None)
    assert session.token == b"t"


def test_a_stop_while_no_request_is_held_is_ignored_but_a_sign_of_life() -> None:
    session = an_open_session()
    assert session.receive(stop(b"", b"now"), 2.0) == ([], None)
    assert session.deadline() == 1.0
    session.tick(2.0)
    session.tick(3.0)
    session.tick(4.0)
    assert session.is_open


def limits(*frames: bytes) -> Frames:
    return [b"MDPC02", b"\x03", b"mmi.fingerprint", *frames]


def test_the_brokers_limit_is_kept_until_the_next_session() -> None:
    session, seen = an_open_session(), []
    session.receive(limits(b"200", msgpack.packb({"max_bytes": 1000, "later": [1]})), 0.1)
    seen.append(session.max_bytes)
    session.receive(GO_AWAY, 0.5)
    session.open(2.0)
    assert [*seen, session.max_bytes] == [1000, None]


@pytest.mark.parametrize(
    "frames",
    [
        [b"200"],
        [b"200", b"\x80"],
        [b"200", b"\xc1"],
        [b"200", b""],
        [b"200", msgpack.packb(7)],
        [b"200", msgpack.packb({"max_bytes": "7"})],
        [b"200", msgpack.packb({"max_bytes": 0})],
        [b"200", msgpack.packb({"max_bytes": True})],
        [b"200", msgpack.packb({"max_bytes": 7}), b""],
        [b"501"],
        [b"400", msgpack.packb({"max_bytes": 7})],
    ],
)
def test_a_broker_that_states_no_limit_has_none(frames: list[bytes]) -> None:
    session = an_open_session()
    session.receive(limits(*frames), 0.1)
    assert session.max_bytes is None


def test_a_broker_that_states_its_limit_gets_parts_with_numbers() -> None:
    session = an_open_session()
    session.receive(limits(b"200", msgpack.packb({"max_bytes": 1000})), 0.1)
    for token in (b"t", b"u"):
        session.receive(request(token), 0.2)
        sent = [session.reply([b"x"], final=final, now=0.3) for final in (False, False, True)]
        assert sent == [
            [Send([b"MDPW02", b"\x12", token, b"", b"0", b"x"])],
            [Send([b"MDPW02", b"\x12", token, b"", b"1", b"x"])],
            [Send([b"MDPW02", b"\x13", token, b"", b"2", b"x"])],
        ]
    session.receive(request(b"v"), 0.2)
    assert session.reply([b"x"], final=True, now=0.3) == [
        Send([b"MDPW02", b"\x04", b"v", b"", b"x"])
    ]


def test_a_broker_of_older_software_gets_parts_without_numbers() -> None:
    session = an_open_session()
    session.receive(limits(b"200", b"\x80"), 0.1)
    session.receive(request(b"t"), 0.2)
    assert session.reply([b"x"], final=False, now=0.3) == [
        Send([b"MDPW02", b"\x03", b"t", b"", b"x"])
    ]


# Requests and answers.


@pytest.mark.parametrize("token", [b"", b"t", b"\x00\xff" * 100, b"MDPW02"])
def test_the_token_is_given_back_as_it_came(token: bytes) -> None:
    session = an_open_session()
    assert session.receive(request(token, b"a", b"", b"b"), 0.1) == ([], [b"a", b"", b"b"])
    assert session.reply([b"p"], final=False, now=0.2) == [
        Send([b"MDPW02", b"\x03", token, b"", b"p"])
    ]
    assert session.reply([b"y", b""], final=True, now=0.3) == [
        Send([b"MDPW02", b"\x04", token, b"", b"y", b""])
    ]


def test_a_request_is_answered_with_one_final() -> None:
    session = an_open_session()
    session.receive(request(b"t"), 0.1)
    session.reply([b"x"], final=True, now=0.2)
    assert session.reply([b"x"], final=True, now=0.3) == []
    assert session.reply([b"x"], final=False, now=0.3) == []


def test_a_request_without_a_body_is_a_request() -> None:
    session = an_open_session()
    assert session.receive(request(b"t"), 0.1) == ([], [])
    assert session.token == b"t"


def test_a_second_request_while_one_is_held_is_ignored() -> None:
    session = an_open_session()
    session.receive(request(b"first", b"x"), 0.1)
    assert session.receive(request(b"second", b"y"), 0.2) == ([], None)
    assert session.reply([b"r"], final=True, now=0.3) == [
        Send([b"MDPW02", b"\x04", b"first", b"", b"r"])
    ]


def test_after_an_answer_the_next_request_is_taken() -> None:
    session = an_open_session()
    session.receive(request(b"1", b"x"), 0.1)
    session.reply([b"r"], final=True, now=0.2)
    assert session.receive(request(b"2", b"y"), 0.3) == ([], [b"y"])
    assert session.token == b"2"


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"MDPW02"],
        [b"MDPW02", b""],
        [b"MDPW02", b"\x07"],
        [b"MDPW02", b"\x01", b"echo"],
        [b"MDPW02", b"\x02"],
        [b"MDPW02", b"\x02", b"t"],
        [b"MDPW02", b"\x02", b"t", b"x", b"y"],
        [b"MDPW01", b"\x04"],
        [b"MDPC02", b"\x05"],
        [b"", b"MDPW02", b"\x05"],
    ],
)
def test_what_is_malformed_is_dropped_and_is_no_sign_of_life(frames: Frames) -> None:
    session = an_open_session()
    session.tick(1.0)
    session.tick(2.0)
    assert session.receive(frames, 2.9) == ([], None)
    assert session.tick(3.0) == [Close()]


# Where the broker is, and which broker it is.


def test_the_broker_is_located_anew_for_each_session_and_named_in_the_announcement() -> None:
    places = [Place("tcp://a:1", "aa"), Place("tcp://b:2", "bb")]
    session = Session(b"echo", WorkerSettings(), locate=lambda: places.pop(0))
    opened, announced, ready = session.open(0.0)
    assert opened == Open("tcp://a:1")
    assert isinstance(announced, Send)
    assert msgpack.unpackb(announced.frames[-1]) == {"regular": False, "instance": "aa"}
    assert ready == READY
    session.disconnected(1.0)
    assert session.open(2.0)[0] == Open("tcp://b:2")


def test_a_broker_that_cannot_be_located_leaves_the_session_closed_for_a_doubling_wait() -> None:
    def nowhere() -> Place:
        raise MDPError("no contact file")

    session = Session(b"echo", WorkerSettings(), locate=nowhere)
    waits = []
    for _ in range(4):
        now = session.closed_until
        assert session.open(now) == []
        assert not session.is_open
        waits.append(session.deadline() - now)
    assert waits == [1.0, 2.0, 4.0, 4.0]


def test_another_broker_than_the_one_that_is_looked_for_ends_the_session() -> None:
    session = an_open_session()
    refused: Frames = [b"MDPC02", b"\x03", b"mmi.fingerprint", b"410", b"this is broker bb"]
    assert session.receive(refused, 0.5) == (Steps([Close()]), None)
    assert not session.is_open
    assert not session.is_heard
    assert session.wrong_broker == "this is broker bb"
    assert session.deadline() == 1.5
    session.open(1.5)
    assert session.wrong_broker is None


def test_what_a_worker_says_about_itself_is_announced() -> None:
    session = a_session()
    session.facts["host"] = "n3"
    announced = session.open(0.0)[1]
    assert isinstance(announced, Send)
    assert msgpack.unpackb(announced.frames[-1]) == {"regular": False, "host": "n3"}


def test_facts_are_cut_to_what_a_broker_takes() -> None:
    session = a_session()
    session.facts.update(log="/" + "\udcff" * 9000, device="x" * 5000, threads="four", colour="red")
    announced = session.open(0.0)[1]
    assert isinstance(announced, Send)
    facts = msgpack.unpackb(announced.frames[-1])
    assert facts.keys() == {"regular", "log", "device"}
    assert len(facts["log"]) == 1024
    assert len(facts["device"]) == 128


def test_a_death_is_told_only_of_a_request_that_is_held() -> None:
    session = an_open_session()
    assert session.crashed() == []
    session.receive(request(b"t", b"x"), 0.5)
    assert session.crashed() == [Send([b"MDPC02", b"\x01", b"mmi.crashed", b"t"])]


@pytest.mark.parametrize(
    ("limits", "who"),
    [
        ({"max_bytes": 5, "user": "ann", "host": "login2"}, ("ann", "login2")),
        ({"max_bytes": 5, "user": "a\nb", "host": ""}, ("a\\nb", "")),
        ({"max_bytes": 5}, ("", "")),
        ({"user": 7, "host": "login2"}, ("", "")),
        ([1], ("", "")),
    ],
)
def test_the_verdict_tells_who_runs_the_broker(limits: object, who: tuple[str, str]) -> None:
    session = a_session()
    session.open(0.0)
    verdict: Frames = [b"MDPC02", b"\x03", b"mmi.fingerprint", b"200", msgpack.packb(limits)]
    session.receive(verdict, 0.0)
    assert (session.broker_user, session.broker_host) == who
