"""What a child makes of what `handle` answers: parts and a FINAL, or an error, and never more."""

from __future__ import annotations

import array
import ctypes
import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mdp.errors import Refused, ServiceError
from mdp.sockets import pipe
from mdp.worker.child import answers, facts_of
from mdp.worker.worker import Worker

Handle = Callable[[list[bytes]], Any]


def answered(handle: Handle, *frames: bytes) -> list[tuple[bool, list[bytes]]]:
    """What goes to the host: each answer is encoded before the next one is asked for."""

    class Asked(Worker):
        def handle(self, frames: list[bytes]) -> Any:
            return handle(frames)

    out = []
    for final, body in answers(Asked(), list(frames)):
        decoder = pipe.Decoder()
        stream = b"".join(pipe.encode(body))
        message = None
        while stream:
            space = decoder.space()
            count = min(len(space), len(stream))
            space[:count], stream = stream[:count], stream[count:]
            message = decoder.advance(count)
        assert message is not None
        out.append((final, message))
    assert [final for final, _ in out] == [False] * (len(out) - 1) + [True]
    return out


def error_of(handle: Handle) -> tuple[bytes, str]:
    """The code and the text of an answer that is nothing but an error."""
    ((_, body),) = answered(handle)
    mark, code, text = body
    assert mark == b"MDP-ERROR"
    reason = text.decode()
    if code == b"500":  # it ends with who it was
        name = f" at worker {socket.gethostname()}:{os.getpid()}"
        assert reason.endswith(name)
        reason = reason.removesuffix(name)
    return code, reason


# Lists, tuples, generators.


@pytest.mark.parametrize("reply", [[b"a", b"", b"b"], (b"a", b"", b"b")])
def test_a_list_or_a_tuple_is_the_final(reply: Any) -> None:
    assert answered(lambda _: reply) == [(True, [b"a", b"", b"b"])]


@pytest.mark.parametrize("reply", [[], ()])
def test_no_frames_are_an_answer(reply: Any) -> None:
    assert answered(lambda _: reply) == [(True, [])]


def test_handle_sees_the_frames_of_the_request() -> None:
    assert answered(lambda frames: frames[::-1], b"1", b"", b"3") == [(True, [b"3", b"", b"1"])]


def test_a_generators_parts_are_partials_and_its_last_the_final() -> None:
    def handle(frames: list[bytes]) -> Iterator[list[bytes]]:
        yield [b"1"]
        yield []
        yield [b"3", b"c"]

    assert answered(handle) == [(False, [b"1"]), (False, []), (True, [b"3", b"c"])]


def test_a_generator_of_one_part_has_only_a_final() -> None:
    assert answered(lambda _: iter([[b"only"]])) == [(True, [b"only"])]


def test_an_empty_generator_answers_with_no_frames() -> None:
    assert answered(lambda _: iter(())) == [(True, [])]


def test_parts_may_be_tuples() -> None:
    assert answered(lambda _: iter([(b"a",), (b"b",)])) == [(False, [b"a"]), (True, [b"b"])]


def test_a_part_goes_out_as_soon_as_the_next_one_is_there() -> None:
    result: list[int] = []

    def parts() -> Iterator[list[bytes]]:
        for number in range(3):
            result.append(number)
            yield [b"%d" % number]

    class Stream(Worker):
        def handle(self, frames: list[bytes]) -> Iterator[list[bytes]]:
            return parts()

    stream = answers(Stream(), [])
    assert next(stream) == (False, [b"0"])
    assert result == [0, 1]


def test_a_part_is_sent_as_it_was_when_it_was_yielded() -> None:
    # pycaffe hands out views of blobs that the next forward pass overwrites
    def handle(frames: list[bytes]) -> Iterator[list[bytearray]]:
        blob = bytearray(1)
        for letter in b"ABC":
            blob[0] = letter
            yield [blob]

    assert answered(handle) == [(False, [b"A"]), (False, [b"B"]), (True, [b"C"])]


def test_a_list_that_is_yielded_again_and_again_is_read_each_time() -> None:
    def handle(frames: list[bytes]) -> Iterator[list[bytes]]:
        part = [b""]
        for letter in (b"A", b"B", b"C"):
            part[0] = letter
            yield part

    assert answered(handle) == [(False, [b"A"]), (False, [b"B"]), (True, [b"C"])]


# Frames.


def test_a_frame_may_be_anything_that_holds_bytes() -> None:
    reply = [b"a", bytearray(b"b"), memoryview(b"c"), memoryview(b"xdx")[1:2]]
    assert answered(lambda _: reply) == [(True, [b"a", b"b", b"c", b"d"])]


@pytest.mark.parametrize("kind", ["B", "b", "h", "i", "q", "f", "d"])
def test_a_memoryview_counts_in_bytes_whatever_its_items(kind: str) -> None:
    values = array.array(kind, [1, 2, 3])
    ((_, body),) = answered(lambda _: [memoryview(values), b"next"])
    assert body == [values.tobytes(), b"next"]


def test_a_memoryview_of_an_image_is_its_bytes_row_by_row() -> None:
    row = ctypes.c_float * 3
    image = (row * 2)(row(1.0, 2.0, 3.0), row(4.0, 5.0, 6.0))
    assert memoryview(image).shape == (2, 3)
    assert answered(lambda _: [memoryview(image)]) == [(True, [bytes(image)])]


def test_a_memoryview_of_an_image_without_pixels_is_an_empty_frame() -> None:
    image = ((ctypes.c_float * 3) * 0)()
    assert memoryview(image).shape == (0, 3)
    assert answered(lambda _: [memoryview(image), b"next"]) == [(True, [b"", b"next"])]


def test_memoryviews_in_parts_count_in_bytes_too() -> None:
    values = array.array("f", [1.0, 2.0])
    parts = [[memoryview(values)], [memoryview(values)]]
    expected = [values.tobytes()]
    assert answered(lambda _: iter(parts)) == [(False, expected), (True, expected)]


def test_more_frames_than_a_message_may_have_are_an_error_and_not_silence() -> None:
    # a broker drops messages of more than 1024 frames: the worker would be busy for ever
    code, text = error_of(lambda _: [b"x"] * 1024)
    assert code == b"500"
    assert "1024" in text


# Errors.


def _raising(error: Exception) -> Handle:
    def handle(frames: list[bytes]) -> Any:
        raise error

    return handle


RAISED = f" (test_child.py:{_raising.__code__.co_firstlineno + 2})"


def test_refused_is_error_400_with_its_text() -> None:
    assert error_of(_raising(Refused("want 3 planes, got 2"))) == (b"400", "want 3 planes, got 2")


def test_any_other_exception_is_error_500_with_its_kind_and_message() -> None:
    code, text = error_of(_raising(ZeroDivisionError("no pixels")))
    assert code == b"500"
    assert text.startswith("ZeroDivisionError: no pixels ")


def test_an_exception_names_the_line_of_the_handlers_file_where_it_was_raised() -> None:
    def handle(frames: list[bytes]) -> Any:
        return json.loads("{")  # the library's lines are not the handler's

    def generate(frames: list[bytes]) -> Iterator[list[bytes]]:
        yield [b"1"]
        yield handle(frames)

    line = handle.__code__.co_firstlineno + 1
    assert error_of(handle)[1].endswith(f" (test_child.py:{line})")
    last = bytes(answered(generate)[-1][1][2]).decode()
    assert f" (test_child.py:{line}) at worker " in last


def test_an_error_of_what_is_no_answer_names_no_line() -> None:
    assert ".py:" not in error_of(lambda _: 7)[1]
    assert ".py:" not in error_of(_raising(Refused("want 3 planes, got 2")))[1]


def test_an_exception_without_a_message_is_named() -> None:
    assert error_of(_raising(RuntimeError())) == (b"500", f"RuntimeError{RAISED}")


def test_an_error_of_this_project_says_its_text() -> None:
    assert error_of(_raising(ServiceError("the net is gone"))) == (
        b"500",
        f"the net is gone{RAISED}",
    )


def test_a_message_of_any_characters_can_be_sent() -> None:
    code, text = error_of(_raising(OSError("no file \udce9 \N{SNOWMAN}")))
    assert code == b"500"
    assert "\N{SNOWMAN}" in text


def test_stop_iteration_is_an_error_like_any_other() -> None:
    assert error_of(_raising(StopIteration("done"))) == (b"500", f"StopIteration: done{RAISED}")


@pytest.mark.parametrize(
    ("error", "code"), [(Refused("bad crop"), b"400"), (ValueError("bad crop"), b"500")]
)
def test_a_generator_that_raises_midway_ends_with_an_error(error: Exception, code: bytes) -> None:
    def handle(frames: list[bytes]) -> Iterator[list[bytes]]:
        yield [b"1"]
        yield [b"2"]
        yield [b"3"]
        raise error

    out = answered(handle)
    assert out[:2] == [(False, [b"1"]), (False, [b"2"])]
    final, body = out[-1]
    assert final
    assert body[:2] == [b"MDP-ERROR", code]
    assert b"bad crop" in body[2]


def test_a_generator_that_raises_at_once_is_an_error() -> None:
    def handle(frames: list[bytes]) -> Iterator[list[bytes]]:
        if not frames:
            raise Refused("nothing in it")
        yield frames

    assert error_of(handle) == (b"400", "nothing in it")


@pytest.mark.parametrize("reply", [None, b"bytes", "text", 7, {"a": 1}, {b"a"}, object()])
def test_a_reply_of_another_kind_is_error_500_that_says_what_was_wanted(reply: Any) -> None:
    code, text = error_of(lambda _: reply)
    assert code == b"500"
    assert "want a list of frames" in text
    assert repr(reply)[:20] in text


@pytest.mark.parametrize("frame", ["text", 7, None, [b"nested"], 1.5])
def test_a_frame_of_another_kind_is_error_500_that_says_what_was_wanted(frame: Any) -> None:
    code, text = error_of(lambda _: [b"good", frame])
    assert code == b"500"
    assert "want frames of bytes" in text
    assert repr(frame) in text


def test_a_generator_of_frames_instead_of_lists_is_error_500() -> None:
    code, text = error_of(lambda _: iter([b"a", b"b"]))
    assert code == b"500"
    assert "want a part to be a list of frames" in text


def test_a_wrong_part_comes_after_the_right_ones() -> None:
    out = answered(lambda _: iter([[b"1"], [b"2"], ["3"]]))
    assert out[0] == (False, [b"1"])
    assert out[-1][1][:2] == [b"MDP-ERROR", b"500"]


def test_the_text_of_an_error_stays_short_whatever_was_returned() -> None:
    _, text = error_of(lambda _: "x" * 10_000_000)
    assert len(text) < 300
    _, text = error_of(_raising(ValueError("x" * 10_000_000)))
    assert len(text) < 3000
    assert text.endswith(RAISED)


class Device:
    """A device object of a library."""

    def __str__(self) -> str:
        return "cuda:1"


@pytest.mark.parametrize(
    ("threads", "device", "facts"),
    [
        (4, "cpu", {"threads": 4, "device": "cpu"}),
        (0, "", {}),
        (2, Device(), {"threads": 2, "device": "cuda:1"}),
        ([1, 2], None, {}),
        (-1, "x" * 500, {"device": "x" * 128}),
    ],
)
def test_facts_of_a_worker_are_of_the_right_kind(
    threads: Any, device: Any, facts: dict[str, Any]
) -> None:
    class Named(Worker):
        def handle(self, frames: list[bytes]) -> list[bytes]:
            return frames

    worker = Named()
    worker.threads, worker.device = threads, device
    assert facts_of(worker) == facts


def test_a_worker_lives_on_after_an_error() -> None:
    class Moody(Worker):
        def handle(self, frames: list[bytes]) -> list[bytes]:
            if frames == [b"bad"]:
                raise ValueError("bad")
            return frames

    worker = Moody()
    ((_, body),) = answers(worker, [b"bad"])
    assert body[1] == b"500"
    assert list(answers(worker, [b"good"])) == [(True, [b"good"])]
