"""The dummy service, without a broker."""

from __future__ import annotations

import logging

import msgpack
import numpy as np
import pytest

from lartpc import Batch, pack, unpack
from mdp import Refused
from services.dummy import Dummy

META = "Plane 2 (rows,cols) = (4,5) ... Left Top (0,24) ... Right Bottom (5,0):(1,2,3)"


def request(*names: str, meta: str = META) -> list[bytes]:
    return pack([Batch(name, meta, np.ones((1, 1, 4, 5), np.float32)) for name in names])


def test_it_answers_zeros_of_the_first_batch_under_its_meta() -> None:
    [batch] = unpack(Dummy().handle(request("wire", "label")))
    assert batch.name == "dummy"
    assert batch.meta == META
    np.testing.assert_array_equal(batch.array, np.zeros((1, 1, 4, 5), np.float32))
    assert batch.array.dtype == np.float32


def test_a_small_request_cannot_make_it_answer_with_more_pixels_than_a_message_may_hold() -> None:
    array = {"dtype": "uint8", "shape": [129, 1, 1024, 1024], "codec": "zstd", "data": b"x"}
    with pytest.raises(Refused, match=f"{1 << 27} pixels"):
        Dummy().handle([b"wire", META.encode(), msgpack.packb(array)])


def test_it_logs_one_line_a_batch_with_name_shape_and_meta(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    Dummy().handle(request("wire", "label", meta=META + "\n" + META))
    assert len(caplog.messages) == 2
    for name, line in zip(("wire", "label"), caplog.messages, strict=True):
        assert line.startswith(f"{name} float32 (1, 1, 4, 5) Plane 2")
        assert "(1,2,3)" in line
        assert "\n" not in line


def test_a_log_line_stays_one_whatever_the_sender_wrote(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Dummy().handle(request("wire\r\x1b[2J", meta="x" * 100_000 + "\n\0"))
    [line] = caplog.messages
    assert line.isprintable()
    assert len(line) < 2000


@pytest.mark.parametrize(
    "frames",
    [
        [],
        request("wire")[:2],
        [b"wire", META.encode(), b"no msgpack"],
        [b"wire", META.encode(), msgpack.packb({"dtype": "object", "shape": [1, 1, 1, 1]})],
        [b"\xff", META.encode(), request("wire")[2]],
    ],
    ids=["no frames", "two frames", "no msgpack", "no data", "a name that is no UTF-8"],
)
def test_malformed_frames_are_refused_with_a_reason(frames: list[bytes]) -> None:
    with pytest.raises(Refused, match="want "):
        Dummy().handle(frames)
