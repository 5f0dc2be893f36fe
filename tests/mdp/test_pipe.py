"""The stream between a host and its child, in chunks of any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from mdp.sockets import pipe

frames_of_a_message = st.lists(st.binary(max_size=40), max_size=6)


def encoded(frames: Sequence[pipe.Buffer]) -> bytes:
    return b"".join(pipe.encode(frames))


def feed(decoder: pipe.Decoder, stream: bytes, chunks: Iterator[int]) -> list[list[bytes]]:
    """Give the decoder the stream as a socket would: never more than it has space for."""
    messages = []
    while stream:
        space = decoder.space()
        count = min(len(space), len(stream), next(chunks))
        assert count > 0
        space[:count] = stream[:count]
        stream = stream[count:]
        message = decoder.advance(count)
        if message is not None:
            messages.append(message)
    return messages


def forever(count: int) -> Iterator[int]:
    while True:
        yield count


def test_a_message_is_a_count_the_lengths_and_the_frames() -> None:
    assert encoded([b"ab", b"", b"c"]) == (
        b"\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x00\0\0\0\0\0\0\0\x01abc"
    )
    assert encoded([]) == b"\0\0\0\0\0\0\0\0"


def test_no_piece_to_write_is_empty() -> None:
    assert all(len(piece) for piece in pipe.encode([b"", b"a", bytearray(), memoryview(b"")]))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(frames_of_a_message, max_size=5),
    st.lists(st.integers(1, 70), min_size=1, max_size=20),
)
def test_any_messages_come_through_in_any_chunks(
    messages: list[list[bytes]], chunks: list[int]
) -> None:
    stream = b"".join(encoded(message) for message in messages)

    def repeated() -> Iterator[int]:
        while True:
            yield from chunks

    assert feed(pipe.Decoder(), stream, repeated()) == messages


def test_byte_by_byte_a_message_is_complete_with_its_last_byte() -> None:
    decoder = pipe.Decoder()
    stream = encoded([b"a", b"", b"bc"])
    assert feed(decoder, stream[:-1], forever(1)) == []
    assert feed(decoder, stream[-1:], forever(1)) == [[b"a", b"", b"bc"]]


def test_messages_without_frames_and_with_only_empty_ones_come_through() -> None:
    messages: list[list[bytes]] = [[], [b""], [], [b"", b"", b""], [b"x"]]
    stream = b"".join(encoded(message) for message in messages)
    assert feed(pipe.Decoder(), stream, forever(1 << 20)) == messages


def test_large_frames_come_through_and_are_not_copied_to_be_written() -> None:
    large = bytearray(range(256)) * (1 << 14)
    pieces = pipe.encode([large, b"small", memoryview(large)])
    assert pieces[1].obj is large
    assert pieces[3].obj is large
    large[0] = 7  # what is written is the frame itself
    assert pieces[1][0] == 7
    stream = b"".join(pieces)
    (message,) = feed(pipe.Decoder(), stream, forever(65_521))
    assert message == [bytes(large), b"small", bytes(large)]


def test_a_thousand_frames_come_through() -> None:
    frames = [b"%d" % number for number in range(1000)]
    assert feed(pipe.Decoder(), encoded(frames), forever(4096)) == [frames]


def test_a_message_stays_as_it_was_when_the_next_one_comes() -> None:
    decoder = pipe.Decoder()
    (first,) = feed(decoder, encoded([b"first"]), forever(9))
    feed(decoder, encoded([b"other"]), forever(9))
    assert first == [b"first"]


def test_what_comes_out_is_bytes_whatever_went_in() -> None:
    (message,) = feed(
        pipe.Decoder(), encoded([b"a", bytearray(b"b"), memoryview(b"c")]), forever(64)
    )
    assert message == [b"a", b"b", b"c"]
    assert {type(frame) for frame in message} == {bytes}


def test_there_is_always_space_for_more() -> None:
    decoder = pipe.Decoder()
    for _ in range(3):
        assert len(decoder.space()) > 0
        feed(decoder, encoded([b""]), forever(3))
        assert len(decoder.space()) > 0
