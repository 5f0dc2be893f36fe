"""Files with random bytes changed: they load, or `NetworkError` says why not."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.caffe import caffe_net
from services.errors import NetworkError
from tests.support.tiny_networks import UNET, write

pytestmark = pytest.mark.slow

CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6), st.integers(0, 6)),
    min_size=1,
    max_size=4,
)
WORDS = st.sampled_from(UNET.replace("\n", " ").split(" "))


def changed(data: bytes, changes: list[tuple[float, bytes, int]]) -> bytes:
    for where, put, taken in changes:
        at = int(where * len(data))
        data = data[:at] + put + data[at + taken :]
    return data


def read(prototxt: bytes | None = None, caffemodel: bytes | None = None) -> None:
    with tempfile.TemporaryDirectory() as name:
        files = write(Path(name))
        for file, data in zip(files, (prototxt, caffemodel), strict=True):
            if data is not None:
                file.write_bytes(data)
        with contextlib.suppress(NetworkError):
            caffe_net.read(*files)


def originals() -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as name:
        prototxt, caffemodel = write(Path(name))
        return prototxt.read_bytes(), caffemodel.read_bytes()


PROTOTXT, CAFFEMODEL = originals()


@given(CHANGES)
@settings(deadline=None, max_examples=300)
def test_a_prototxt_with_changed_bytes_loads_or_is_refused(
    changes: list[tuple[float, bytes, int]],
) -> None:
    read(prototxt=changed(PROTOTXT, changes))


@given(st.lists(st.tuples(st.integers(0, 200), WORDS | st.integers().map(str)), max_size=4))
@settings(deadline=None, max_examples=300)
def test_a_prototxt_with_changed_words_loads_or_is_refused(changes: list[tuple[int, str]]) -> None:
    words = PROTOTXT.decode().split()
    for at, word in changes:
        words[at % len(words)] = word
    read(prototxt=" ".join(words).encode())


@given(CHANGES)
@settings(deadline=None, max_examples=300)
def test_a_caffemodel_with_changed_bytes_loads_or_is_refused(
    changes: list[tuple[float, bytes, int]],
) -> None:
    read(caffemodel=changed(CAFFEMODEL, changes))


def test_braces_without_end_are_refused() -> None:
    read(prototxt=b"layer { " * 100_000)
    read(prototxt=b"unknown { " * 100_000)
    read(prototxt=b"layer { name: 'a' unknown_param { a { " + b"b { " * 100_000)
