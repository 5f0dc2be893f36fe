"""Messages: what goes out comes back, and what is wrong is refused within the memory allowed."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from typing import Any

import msgpack
import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lartpc import (
    RSE,
    Batch,
    FrameError,
    ImageError,
    ImageMeta,
    Limits,
    meta_text,
    open_reader,
    pack,
    stack,
    unpack,
)
from lartpc.errors import TooManyPixels
from lartpc.frames import DTYPES
from tests.support.images import event, image
from tests.support.shared import data

PIXELS = Limits(image_pixels=4, pixels=9)
SMALL = Limits(array_bytes=1 << 20, triples=4, meta_bytes=4096, info_bytes=1024)
META = "Plane 0 (rows,cols) = (2,2) ... Left Top (0,2) ... Right Bottom (2,0):(1,2,3)"


def array_frame(**changes: Any) -> bytes:
    """A valid frame of (1, 1, 2, 2) float32, with some of its values replaced."""
    whole = {"dtype": "float32", "shape": [1, 1, 2, 2], "codec": "raw", "data": bytes(16)}
    packed: bytes = msgpack.packb({**whole, **changes})
    return packed


def triple(**changes: Any) -> list[bytes]:
    return [b"wire", META.encode(), array_frame(**changes)]


arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=4, max_dims=4, min_side=0))
)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8)
batches = st.builds(
    Batch,
    name=st.text(min_size=1, max_size=40),
    meta=st.text(min_size=1, max_size=80),
    array=arrays,
    info=st.dictionaries(st.text(max_size=8), plain | st.lists(plain, max_size=3), max_size=4),
)


@given(st.lists(batches, min_size=1, max_size=3), st.sampled_from(["zstd", "raw"]))
def test_batches_come_back_as_they_were(sent: list[Batch], codec: Any) -> None:
    for one, got in zip(sent, unpack(pack(sent, codec=codec), SMALL), strict=True):
        assert (got.name, got.meta, got.info) == (one.name, one.meta, one.info)
        assert got.array.dtype == one.array.dtype
        assert got.array.shape == one.array.shape
        assert got.array.tobytes() == one.array.tobytes()
        assert not got.array.flags.writeable


def test_one_image_makes_the_meta_text_of_the_protocol() -> None:
    full = ImageMeta(3456, 6048, 1008, 3456, 0, 8448, 2)
    assert meta_text(full, RSE(6324, 94, 4707)) == (
        "Plane 2 (rows,cols) = (1008,3456) ... Left Top (0,8448)"
        " ... Right Bottom (3456,2400):(6324,94,4707)"
    )


def test_a_batch_of_events_keeps_a_line_for_each_image() -> None:
    events = [event(number) for number in range(4)]
    batch = stack("wire", [(one.rse, one.images["wire"]) for one in events])
    assert batch.array.shape == (4, 3, 12, 7)
    assert np.array_equal(batch.array[2, 1], events[2].images["wire"][1].pixels)
    assert batch.rses() == tuple(one.rse for one in events for _ in range(3))
    (got,) = unpack(pack([batch]))
    assert got.rses() == batch.rses()


def test_images_of_two_sizes_do_not_make_a_batch() -> None:
    odd = [image(), image(rows=13)]
    with pytest.raises(ImageError, match=r"want one image size .* of wire.*\(12, 7\), \(13, 7\)"):
        stack("wire", [(RSE(1, 2, 3), odd)])
    with pytest.raises(ImageError, match="numbers"):
        stack("wire", [(RSE(1, 2, 3), [image()]), (RSE(1, 2, 4), [image(), image()])])


def test_float16_halves_the_bytes_and_refuses_what_it_cannot_hold() -> None:
    scores = np.linspace(0, 1, 24, dtype=np.float32).reshape(1, 2, 3, 4)
    (got,) = unpack(pack([Batch("s", META, scores)], dtype="float16"))
    assert got.array.dtype == np.float16
    assert np.array_equal(got.array, scores.astype(np.float16))
    with pytest.raises(FrameError, match="65504 in s"):
        pack([Batch("s", META, scores + 70000)], dtype="float16")


def test_a_column_major_array_is_sent_as_its_pixels() -> None:
    array = np.asfortranarray(np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4))
    (got,) = unpack(pack([Batch("s", META, array)]))
    assert np.array_equal(got.array, array)


@pytest.mark.parametrize(
    "batch",
    [
        Batch("s", META, np.zeros((2, 2), np.float32)),
        Batch("s", META, np.zeros((1, 1, 2, 2), np.complex64)),
        Batch("s", META, np.zeros((1, 1, 2, 2), object)),
        Batch("s", META, np.zeros((1, 1, 2, 2), np.float32), {"engine": object()}),
        Batch("a\ud800", META, np.zeros((1, 1, 2, 2), np.float32)),
        Batch("s", "a\ud800", np.zeros((1, 1, 2, 2), np.float32)),
        Batch("", META, np.zeros((1, 1, 2, 2), np.float32)),
        Batch("ü" * 128, META, np.zeros((1, 1, 2, 2), np.float32)),
    ],
)
def test_what_cannot_be_sent_is_refused(batch: Batch) -> None:
    with pytest.raises(FrameError):
        pack([batch])


BAD: dict[str, list[bytes]] = {
    "no frames": [],
    "too few frames": triple()[:2],
    "a frame too many": [*triple(), b"x"],
    "too many triples": triple() * 5,
    "an empty name": [b"", *triple()[1:]],
    "a long name": [b"w" * 256, *triple()[1:]],
    "a name that is not UTF-8": [b"\xff", *triple()[1:]],
    "a long meta": [b"wire", b"m" * 5000, array_frame()],
    "an unknown dtype": triple(dtype="object"),
    "a structured dtype": triple(dtype="f4,f4"),
    "a dtype that is no text": triple(dtype=["float32"]),
    "too few bytes": triple(data=bytes(15)),
    "too many bytes": triple(data=bytes(17)),
    "text for data": triple(data="x" * 16),
    "a list for data": triple(data=[0] * 16),
    "a shape of two": triple(shape=[2, 2]),
    "a shape of text": triple(shape="1122"),
    "a negative shape": triple(shape=[1, 1, -2, -2]),
    "a fractional shape": triple(shape=[1, 1, 2.0, 2]),
    "a shape of truths": triple(shape=[True, True, 2, 2]),
    "a huge shape": triple(shape=[1, 1 << 20, 1 << 24, 1 << 24]),
    "a huge shape of nothing": triple(shape=[1 << 24, 1 << 24, 1 << 24, 0], data=b""),
    "a vast side": triple(shape=[0, 1, 1, 1 << 60], data=b""),
    "an unknown codec": triple(codec="pickle"),
    "zstd that is none": triple(codec="zstd"),
    "zstd of other bytes": triple(codec="zstd", data=zstandard.compress(bytes(17))),
    "zstd with bytes after it": triple(codec="zstd", data=zstandard.compress(bytes(16)) + b"x"),
    "zstd of nothing": triple(codec="zstd", shape=[0, 0, 0, 0], data=zstandard.compress(b"")),
    "zstd that hides its size": triple(
        codec="zstd", data=zstandard.ZstdCompressor(write_content_size=False).compress(bytes(16))
    ),
    "an info that is no map": triple(info=[1]),
    "an info with numbers for keys": triple(info={1: 2}),
    "a long info": triple(info={"log": "x" * 2000}),
    "a timestamp": triple(info={"at": msgpack.Timestamp(1)}),
    "an extension": triple(info={"x": msgpack.ExtType(4, b"code")}),
    "an unknown key": triple(program="x"),
    "a missing key": [b"wire", META.encode(), msgpack.packb({"dtype": "float32"})],
    "no map": [b"wire", META.encode(), msgpack.packb([1, 2])],
    "nothing": [b"wire", META.encode(), b""],
    "bytes after the map": [*triple()[:2], array_frame() + b"\xc0"],
    "a key twice": [b"wire", META.encode(), b"\x82" + 2 * (b"\xa5codec" + b"\xa3raw")],
    "a map that claims more": [b"wire", META.encode(), b"\xdf\xff\xff\xff\xff"],
    "deep nesting": [b"wire", META.encode(), b"\x81\xa4info" + b"\x91" * 100_000 + b"\xc0"],
    "a cut frame": [*triple()[:2], array_frame()[:-3]],
    "zlib of the seed": [*triple()[:2], zlib.compress(array_frame())],
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_message_is_refused(name: str) -> None:
    with pytest.raises(FrameError, match=r"want .*"):
        unpack(BAD[name], SMALL)


def peak_bytes(frames: list[bytes]) -> int:
    """The most memory that unpacking these frames took, in the Python heap and numpy's."""
    tracemalloc.start()
    try:
        unpack(frames, SMALL)
    except FrameError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


def bombs() -> dict[str, list[bytes]]:
    zeros = zstandard.ZstdCompressor(level=3).compress(bytes(256 << 20))
    lying = bytearray(zeros)
    size_at = 5 if lying[4] & 0x20 else 6  # RFC 8878: the window's byte is absent in one segment
    lying[size_at : size_at + 4] = struct.pack("<I", 300)
    maps = b"\xdd" + struct.pack(">I", 500_000) + b"\x80" * 500_000
    return {
        "that says its size": triple(codec="zstd", shape=[1, 1, 8192, 8192], data=zeros),
        "with a small shape": triple(codec="zstd", data=zeros),
        "that lies about its size": triple(codec="zstd", data=bytes(lying), shape=[1, 1, 5, 15]),
        "of empty maps": [*triple()[:2], array_frame()[:1] + b"\xa4info" + maps],
        "of empty maps as data": [*triple()[:2], b"\x81\xa4data" + maps],
        "of empty maps as key": [*triple()[:2], b"\x81" + maps + b"\xc0"],
        "of many triples": triple(
            codec="zstd", shape=[1, 1, 256, 512], data=zstandard.compress(bytes(1 << 19))
        )
        * 4,
    }


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_before_it_is_unpacked(name: str) -> None:
    frames = bombs()[name]
    with pytest.raises(FrameError):
        unpack(frames, SMALL)
    # a copy of the frame is msgpack's; nothing near the bound is taken besides
    assert peak_bytes(frames) < 2 * max(map(len, frames)) + (64 << 10)


def mutated(frame: bytes, draw: Any) -> bytes:
    out = bytearray(frame)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(out) - 1, 0)))
        kind = draw(st.sampled_from(["flip", "cut", "put", "drop"]))
        if kind == "flip" and out:
            out[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del out[at:]
        elif kind == "put":
            out[at:at] = draw(st.binary(max_size=9))
        elif out:
            del out[at]
    return bytes(out)


def refused_or_equal(frames: list[bytes], sent: np.ndarray | None) -> None:
    """The one thing `unpack` may do with any bytes; `sent`: these pixels, or an error."""
    tracemalloc.start()
    try:
        got = unpack(frames, SMALL)
    except FrameError:
        got = []
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < SMALL.array_bytes + 4 * sum(map(len, frames)) + (256 << 10)
    for batch in got:
        assert batch.array.ndim == 4
        assert batch.array.dtype.name in DTYPES
        if sent is not None and batch.array.dtype == sent.dtype:
            assert batch.array.tobytes() == sent.tobytes()


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=200), max_size=6))
@example([b"wire", META.encode(), b"\x81\xa4info\x81\x80\xc0"])
def test_any_frames_are_refused_or_understood(frames: list[bytes]) -> None:
    refused_or_equal(frames, None)


sides = st.sampled_from([0, 1, 2, 1 << 12, 1 << 20, 1 << 24, 1 << 31]) | st.integers(-1, 1 << 25)


@settings(max_examples=300)
@given(
    shape=st.lists(sides, min_size=3, max_size=5),
    dtype=st.sampled_from(DTYPES),
    data=st.binary(max_size=16),
    codec=st.sampled_from(["raw", "zstd"]),
)
def test_any_shape_is_refused_or_understood(
    shape: list[int], dtype: str, data: bytes, codec: str
) -> None:
    packed = zstandard.compress(data) if codec == "zstd" else data
    refused_or_equal(triple(shape=shape, dtype=dtype, data=packed, codec=codec), None)
    refused_or_equal(triple(shape=shape, dtype=dtype, data=b"", codec="raw"), None)


@settings(max_examples=600)
@given(st.data())
def test_a_mutated_message_is_refused_or_is_what_was_sent(draws: st.DataObject) -> None:
    pixels = np.arange(48, dtype=np.float32).reshape(1, 2, 4, 6)
    frames = pack([Batch("wire", META, pixels, {"engine": "onnx", "seconds": 0.25})])
    which = draws.draw(st.integers(0, 2))
    frames[which] = mutated(frames[which], draws.draw)
    refused_or_equal(frames, pixels)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_mutated_real_message_is_refused_or_is_what_was_sent(draws: st.DataObject) -> None:
    frames, pixels = real_message()
    frames = [*frames[:2], mutated(frames[2], draws.draw)]
    refused_or_equal(frames, pixels)


_REAL: list[Any] = []


def real_message() -> tuple[list[bytes], np.ndarray]:
    """256 x 512 pixels of the real event's collection plane, as a message."""
    if not _REAL:
        path = data("microboone_run6324_larcv.root")
        with open_reader(path, tick_order="forward", images=["wire"]) as reader:
            plane = reader[0].images["wire"][2].pixels
        crop = np.ascontiguousarray(plane[400:656, 800:1312]).reshape(1, 1, 256, 512)
        _REAL.extend([pack([Batch("wire", META, crop)]), crop])
    return _REAL[0], _REAL[1]


@pytest.mark.parametrize(
    "meta", ["", "Plane 0", "x:(1,2)", "x:(1,2,-3)", "x:(1,2,3)\n", "(1,2,3x)"]
)
def test_a_meta_text_without_an_event_is_refused(meta: str) -> None:
    with pytest.raises(FrameError, match=r"want a meta text that ends in :\(run,subrun,event\)"):
        Batch("wire", meta, np.zeros((1, 1, 1, 1))).rses()


def test_images_and_messages_of_as_many_pixels_as_allowed_pass() -> None:
    one = triple()
    two = triple(shape=[2, 1, 2, 1], data=bytes(16))
    assert len(unpack([*one, *two], PIXELS)) == 2


@pytest.mark.parametrize("shape", [[1, 1, 1, 5], [1, 1, 5, 1], [0, 1, 3, 2]])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(shape: list[int]) -> None:
    with pytest.raises(TooManyPixels, match=f"4 pixels, got {shape[2]} x {shape[3]}"):
        unpack(triple(shape=shape, data=b"not as many bytes"), PIXELS)


def test_a_message_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    bad = triple(shape=[2, 1, 3, 1], data=b"not as many bytes")
    with pytest.raises(FrameError, match="9 pixels in a message, got 10"):
        unpack([*triple(), *bad], PIXELS)
