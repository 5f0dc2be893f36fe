"""The three dialects, frame by frame, against the tables of RFC 7, RFC 18 and majortomo."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdp import wire
from mdp.errors import (
    Draining,
    MDPError,
    NotServed,
    QueueFull,
    Refused,
    ServiceError,
    TooSlow,
    WireError,
    WorkersDied,
)
from mdp.wire import Dialect, Frames
from tests.support.frames import MAJORTOMO, RFC7, RFC18, SPELLINGS, Spelling

BOTH = pytest.mark.parametrize(
    ("dialect", "spelled"),
    [(wire.DIALECTS[name], spelled) for name, spelled in SPELLINGS.items()],
    ids=list(SPELLINGS),
)
STREAMING = pytest.mark.parametrize(
    ("dialect", "spelled"),
    [(wire.MDP02, RFC18), (wire.MAJORTOMO, MAJORTOMO)],
    ids=["MDP/0.2", "majortomo"],
)


class Reference:
    """A long frame that is passed on unread, as `zmq.Frame` is: it equals no bytes."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length


# What a broker reads.


@BOTH
def test_a_request_is_read(dialect: Dialect, spelled: Spelling) -> None:
    want = wire.Request(dialect, b"plane2", [b"a", b"", b"c"])
    assert wire.parse(spelled.ask(b"c1", b"plane2", b"a", b"", b"c")) == want


@BOTH
def test_a_request_may_have_no_body(dialect: Dialect, spelled: Spelling) -> None:
    assert wire.parse(spelled.ask(b"c1", b"plane2")) == wire.Request(dialect, b"plane2", [])


@BOTH
def test_ready_is_read(dialect: Dialect, spelled: Spelling) -> None:
    assert wire.parse(spelled.ready(b"w1", b"plane2")) == wire.Ready(dialect, b"plane2")


@BOTH
def test_a_final_reply_is_read(dialect: Dialect, spelled: Spelling) -> None:
    want = wire.Reply(dialect, b"token", [b"a", b"b"], final=True)
    assert wire.parse(spelled.reply(b"w1", b"token", b"a", b"b")) == want


@STREAMING
def test_a_partial_reply_is_read(dialect: Dialect, spelled: Spelling) -> None:
    want = wire.Reply(dialect, b"token", [b"a"], final=False)
    assert wire.parse(spelled.part(b"w1", b"token", b"a")) == want


@BOTH
def test_heartbeat_is_read(dialect: Dialect, spelled: Spelling) -> None:
    assert wire.parse(spelled.heartbeat(b"w1")) == wire.Heartbeat(dialect)


@BOTH
def test_disconnect_is_read(dialect: Dialect, spelled: Spelling) -> None:
    assert wire.parse(spelled.disconnect(b"w1")) == wire.Disconnect(dialect)


def test_a_reference_in_a_body_is_passed_on_as_it_is() -> None:
    image = Reference(10_000)
    asked = wire.parse(RFC18.ask(b"c1", b"plane2", image))
    replied = wire.parse(RFC7.reply(b"w1", b"token", image))
    assert isinstance(asked, wire.Request)
    assert isinstance(replied, wire.Reply)
    assert asked.body[0] is image
    assert replied.body[0] is image


@pytest.mark.parametrize("length", [1, 255])
def test_a_service_name_has_1_to_255_bytes(length: int) -> None:
    name = b"\xff" * length
    assert wire.parse(RFC18.ask(b"c1", name)) == wire.Request(wire.MDP02, name, [])


def test_a_message_of_1024_frames_is_read() -> None:
    message = RFC18.ask(b"c1", b"plane2", *[b"x"] * (1024 - 4))
    parsed = wire.parse(message)
    assert isinstance(parsed, wire.Request)
    assert len(parsed.body) == 1020


MALFORMED: dict[str, Frames] = {
    "no frame": [],
    "only an address": [b"p"],
    "an empty frame and no more": [b"p", b""],
    "two empty frames": [b"p", b"", b"", b"MDPC01", b"plane2"],
    "no header": [b"p", b"hello"],
    "an unknown version": [b"p", b"", b"MDPC03", b"plane2"],
    "a header and more": [b"p", b"", b"MDPC01x", b"plane2"],
    "0.1 without its empty frame": [b"p", b"MDPC01", b"plane2"],
    "a 0.1 worker without its empty frame": [b"p", b"MDPW01", b"\x04"],
    "a 0.1 client without a service": [b"p", b"", b"MDPC01"],
    "an empty service": [b"p", b"", b"MDPC01", b""],
    "a long service": [b"p", b"", b"MDPC01", b"s" * 256],
    "a service of 10 kB by reference": [b"p", b"", b"MDPC01", Reference(10_000)],
    "a 0.2 client without a command": [b"p", b"MDPC02"],
    "a 0.2 client without a service": [b"p", b"MDPC02", b"\x01"],
    "a 0.2 client with majortomo's command": [b"p", b"MDPC02", b"\x02", b"plane2"],
    "a 0.2 client that answers": [b"p", b"MDPC02", b"\x03", b"plane2"],
    "a majortomo client with 0.2's command": [b"p", b"", b"MDPC02", b"\x01", b"plane2"],
    "a command of two bytes": [b"p", b"MDPC02", b"\x01\x01", b"plane2"],
    "an empty command": [b"p", b"MDPW02", b""],
    "a worker without a command": [b"p", b"MDPW02"],
    "a worker that asks": [b"p", b"MDPW02", b"\x02", b"token", b"", b"x"],
    "a worker's unknown command": [b"p", b"MDPW02", b"\x07"],
    "a 0.1 worker's unknown command": [b"p", b"", b"MDPW01", b"\x06"],
    "READY without a service": [b"p", b"MDPW02", b"\x01"],
    "READY with an empty service": [b"p", b"MDPW02", b"\x01", b""],
    "READY with a long service": [b"p", b"MDPW02", b"\x01", b"s" * 256],
    "READY for two services": [b"p", b"MDPW02", b"\x01", b"a", b"b"],
    "a reply without an address": [b"p", b"MDPW02", b"\x04"],
    "a reply without an empty frame": [b"p", b"MDPW02", b"\x04", b"token"],
    "a reply with a body for its empty frame": [b"p", b"MDPW02", b"\x04", b"token", b"x"],
    "a reply with a reference for its address": [b"p", b"MDPW02", b"\x04", Reference(5000), b""],
    "HEARTBEAT and more": [b"p", b"MDPW02", b"\x05", b"x"],
    "DISCONNECT and more": [b"p", b"MDPW02", b"\x06", b"x"],
    "a reference for the header": [b"p", Reference(5000)],
    "a reference for the header after empty": [b"p", b"", Reference(5000)],
    "a reference for a client's command": [b"p", b"MDPC02", Reference(5000), b"plane2"],
    "a reference for a worker's command": [b"p", b"MDPW02", Reference(5000)],
    "1025 frames": [b"p", b"", b"MDPC01", b"plane2", *[b"x"] * 1021],
}


@pytest.mark.parametrize("frames", list(MALFORMED.values()), ids=list(MALFORMED))
def test_what_no_dialect_allows_is_refused(frames: Frames) -> None:
    with pytest.raises(WireError):
        wire.parse(frames)


_WORDS = [
    *[b"", b"MDPC01", b"MDPC02", b"MDPW01", b"MDPW02", b"plane2", b"mmi.service"],
    *[bytes([command]) for command in range(8)],
]
_FRAME = st.one_of(st.sampled_from(_WORDS), st.binary(max_size=8))


@settings(max_examples=600, deadline=None)
@given(st.lists(_FRAME, max_size=8))
def test_whatever_the_frames_reading_them_raises_nothing_but_a_wire_error(
    frames: Frames,
) -> None:
    for reader in (wire.parse, wire.parse_answer, wire.parse_order):
        try:
            reader(frames)
        except WireError:
            continue


# What a broker writes.


@BOTH
def test_a_worker_is_asked(dialect: Dialect, spelled: Spelling) -> None:
    assert dialect.to_worker(b"w1", b"token", [b"a", b"b"]) == spelled.asked(
        b"w1", b"token", b"a", b"b"
    )


@BOTH
def test_a_client_is_answered(dialect: Dialect, spelled: Spelling) -> None:
    answer = dialect.to_client(b"c1", b"plane2", [b"a", b"b"], final=True)
    assert answer == spelled.final(b"c1", b"plane2", b"a", b"b")


@STREAMING
def test_a_client_gets_a_part(dialect: Dialect, spelled: Spelling) -> None:
    part = dialect.to_client(b"c1", b"plane2", [b"a"], final=False)
    assert part == spelled.partial(b"c1", b"plane2", b"a")


@BOTH
def test_heartbeat_and_disconnect_are_written(dialect: Dialect, spelled: Spelling) -> None:
    assert dialect.heartbeat_to(b"w1") == spelled.heartbeat(b"w1")
    assert dialect.disconnect_to(b"w1") == spelled.disconnect(b"w1")


# What a client and a worker write: a DEALER socket has one peer, so no address stands first.


@BOTH
def test_a_client_asks(dialect: Dialect, spelled: Spelling) -> None:
    assert dialect.request(b"plane2", [b"a", b"b"]) == spelled.ask(b"c1", b"plane2", b"a", b"b")[1:]


@BOTH
def test_a_worker_offers_and_replies(dialect: Dialect, spelled: Spelling) -> None:
    assert dialect.ready(b"plane2") == spelled.ready(b"w1", b"plane2")[1:]
    reply = dialect.reply(b"token", [b"a"], final=True)
    assert reply == spelled.reply(b"w1", b"token", b"a")[1:]


@STREAMING
def test_a_worker_replies_in_parts(dialect: Dialect, spelled: Spelling) -> None:
    part = dialect.reply(b"token", [b"a"], final=False)
    assert part == spelled.part(b"w1", b"token", b"a")[1:]


# What our client and our worker read.


def test_a_client_reads_parts_and_the_final_answer() -> None:
    part, final = RFC18.partial(b"c1", b"plane2", b"a"), RFC18.final(b"c1", b"plane2", b"b", b"c")
    assert wire.parse_answer(part[1:]) == wire.Answer(b"plane2", [b"a"], final=False)
    assert wire.parse_answer(final[1:]) == wire.Answer(b"plane2", [b"b", b"c"], final=True)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"MDPC02"],
        [b"MDPC02", b"\x03"],
        [b"MDPC02", b"\x03", b""],
        [b"MDPC02", b"\x01", b"plane2"],
        [b"MDPC02", b"\x04", b"plane2"],
        [b"MDPC01", b"\x03", b"plane2"],
        [b"MDPW02", b"\x03", b"plane2"],
        [b"", b"MDPC02", b"\x03", b"plane2"],
    ],
)
def test_a_client_refuses_what_is_no_answer(frames: Frames) -> None:
    with pytest.raises(WireError):
        wire.parse_answer(frames)


def test_a_worker_reads_its_orders() -> None:
    asked = wire.parse_order(RFC18.asked(b"w1", b"token", b"a", b"", b"c")[1:])
    assert asked == wire.Order(b"token", [b"a", b"", b"c"])
    assert wire.parse_order(RFC18.heartbeat(b"w1")[1:]) == wire.Heartbeat(wire.MDP02)
    assert wire.parse_order(RFC18.disconnect(b"w1")[1:]) == wire.Disconnect(wire.MDP02)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"MDPW02"],
        [b"MDPW01", b"\x05"],
        [b"MDPC02", b"\x05"],
        [b"MDPW02", b"\x01", b"plane2"],
        [b"MDPW02", b"\x02"],
        [b"MDPW02", b"\x02", b"token"],
        [b"MDPW02", b"\x02", b"token", b"x"],
        [b"MDPW02", b"\x02", Reference(5000), b""],
        [b"MDPW02", b"\x07"],
    ],
)
def test_a_worker_refuses_what_is_no_order(frames: Frames) -> None:
    with pytest.raises(WireError):
        wire.parse_order(frames)


# Errors and names.


def test_an_errors_body_is_a_mark_a_code_and_a_text() -> None:
    assert wire.error_body(404, "no worker, größer") == [
        b"MDP-ERROR",
        b"404",
        b"no worker, gr\xc3\xb6\xc3\x9fer",
    ]
    assert wire.error_body(500, "\udcff") == [b"MDP-ERROR", b"500", b"\\udcff"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (b"400", Refused),
        (b"404", NotServed),
        (b"429", QueueFull),
        (b"500", ServiceError),
        (b"502", WorkersDied),
        (b"503", Draining),
        (b"504", TooSlow),
        (b"418", ServiceError),
    ],
)
def test_an_error_code_becomes_its_exception(code: bytes, error: type[MDPError]) -> None:
    got = wire.as_error([b"MDP-ERROR", code, b"it broke"])
    assert type(got) is error
    assert str(got) == "it broke"


@pytest.mark.parametrize(
    "body",
    [
        [],
        [b"MDP-ERROR"],
        [b"MDP-ERROR", b"404"],
        [b"MDP-ERROR", b"404", b"text", b"more"],
        [b"mdp-error", b"404", b"text"],
        [b"MDP-ERROR", b"x", b"text"],
        [b"MDP-ERROR", b"-04", b"text"],
        [b"MDP-ERROR", b"", b"text"],
        [b"MDP-ERROR", b"9" * 5000, b"text"],
        [b"MDP-ERROR", Reference(5000), b"text"],
        [Reference(5000), b"404", b"text"],
    ],
)
def test_an_ordinary_body_is_no_error(body: Frames) -> None:
    assert wire.as_error(body) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"plane2", "plane2"),
        ("größe".encode(), "größe"),
        (b"\xff\x00", "\\xff\\x00"),
        (b"\\xff", "\\\\xff"),
        (b"\xff", "\\xff"),
        (b"a\nb", "a\\nb"),
        ("a\u2028b".encode(), "a\\u2028b"),
    ],
)
def test_any_name_becomes_one_printable_line(name: bytes, text: str) -> None:
    assert wire.printable(name) == text
    assert wire.printable(name).isprintable()
