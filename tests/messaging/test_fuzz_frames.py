"""Mutated frames of images: each message is refused or read, in bounded memory and time."""

from __future__ import annotations

import os
import random
import resource
import time

import msgpack
import numpy as np
import zstandard

from lartpc import Batch, FrameError, pack, unpack

SECONDS = 8.0
MIB = 1 << 20
META = "Plane 0 (rows,cols) = (8,8) ... Left Top (0,8) ... Right Bottom (8,0):(1,2,3)"
BYTES = [0, 0x7F, 0x80, 0xC6, 0xC9, 0xCF, 0xDB, 0xDD, 0xDF, 0xFF]  # headers of msgpack


def valid_messages() -> list[list[bytes]]:
    batches = [
        Batch("wire", META, np.full((1, 1, 8, 8), 50, dtype), {"engine": "onnx"})
        for dtype in (np.float32, np.float16, np.uint8)
    ]
    messages = [pack([batch], codec="zstd") for batch in batches]
    return [*messages, *(pack([batch], codec="raw") for batch in batches), pack(batches)]


def mutated(frames: list[bytes], dice: random.Random) -> list[bytes]:
    for _ in range(dice.randrange(1, 4)):
        if not frames:
            return frames
        at = dice.randrange(len(frames))
        frame = frames[at]
        byte = dice.randrange(len(frame) + 1)
        flipped = bytes([frame[byte] ^ (1 << dice.randrange(8))]) if byte < len(frame) else b""
        changes: list[list[bytes]] = [
            [frame[:byte] + flipped + frame[byte + 1 :]],
            [frame[:byte]],
            [frame[:byte] + dice.randbytes(dice.randrange(1, 9)) + frame[byte:]],
            [frame[:byte] + bytes([dice.choice(BYTES)]) + frame[byte + 1 :]],
            [dice.randbytes(5), frame],
            [],
        ]
        frames = [*frames[:at], *dice.choice(changes), *frames[at + 1 :]]
    return frames


def is_read(frames: list[bytes]) -> bool:
    """False if they are refused; any other exception fails the test."""
    try:
        unpack(frames)
    except FrameError:
        return False
    return True


def test_mutated_frames_are_refused_or_read_in_bounded_memory_and_time() -> None:
    seed = int.from_bytes(os.urandom(3), "big")
    print(f"the seed is {seed}")
    dice, messages = random.Random(seed), valid_messages()
    assert all(map(is_read, messages))
    earlier = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    end_at = time.monotonic() + SECONDS
    refused = read = 0
    slowest_s = 0.0
    while time.monotonic() < end_at:
        frames = mutated(dice.choice(messages), dice)
        began_at = time.process_time()
        if is_read(frames):
            read += 1
        else:
            refused += 1
        slowest_s = max(slowest_s, time.process_time() - began_at)
    assert refused > 100
    assert read > 100
    assert slowest_s < 2.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < earlier + 200 * 1024  # kB


def test_sizes_that_are_a_lie_cost_no_memory() -> None:
    zeros = zstandard.ZstdCompressor(level=3, write_content_size=True).compress(bytes(64 * MIB))
    array = {"dtype": "float32", "shape": [1, 1, 8, 8], "codec": "raw", "data": bytes(256)}
    lies: list[dict[str, object]] = [
        {"codec": "zstd", "data": zeros},  # it states 64 MB, and the shape 256 bytes
        {"shape": [1, 1, 1 << 16, 1 << 16], "codec": "zstd", "data": zeros},
        {"shape": [1 << 62, 4, 1, 1]},
        {"shape": [-1, -1, 8, 8]},
        {"shape": [True, 1, 8, 8]},
        {"dtype": "O"},
        {"dtype": "float128"},
        {"info": {"a": [0] * 100_000}},
    ]
    lists = b"\x84\xa4info" + b"\x91" * 200_000 + b"\xc0"
    heads = [b"\xdf\xff\xff\xff\xff\xa4data", b"\x84\xa4data\xc6\xff\xff\xff\xff"]
    heads += [b"\x84\xa4data\xc9\xff\xff\xff\xff\x01", b"\x84\xa4info\xdd\xff\xff\xff\xff", lists]
    earlier = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for frame in [*(msgpack.packb({**array, **lie}) for lie in lies), *heads]:
        assert not is_read([b"wire", META.encode(), frame])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < earlier + 40 * 1024  # kB
