"""Arrays in frames: what goes out comes back, and what is wrong is refused without memory."""

from __future__ import annotations

import ast
import io
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mdp import WireError
from mdp.arrays.array_frames import MAX_HEADER_BYTES, pack_array, unpack_array

# a warning for names of fields that are not Latin: NumPy before 1.17 cannot read them
pytestmark = pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")

SIMPLE = st.one_of(
    hnp.scalar_dtypes(),
    hnp.byte_string_dtypes(min_len=1),
    hnp.unicode_string_dtypes(min_len=1),
)
DTYPES = SIMPLE | hnp.array_dtypes(SIMPLE, max_size=3)
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
)


def saved(array: NDArray[Any]) -> bytes:
    """What `numpy.save` writes."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def forged(
    *, descr: Any = "<f4", shape: Any = (2, 2), fortran: Any = False, data: bytes = bytes(16)
) -> bytes:
    text = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


@given(
    ARRAYS, st.sampled_from([lambda a: a, lambda a: a.T, lambda a: a[..., ::2] if a.ndim else a])
)
def test_an_array_comes_back_as_it_was_and_numpy_reads_the_frame(
    array: NDArray[Any], view: Any
) -> None:
    sent = view(array)
    frame = pack_array(sent)
    assert same(np.load(io.BytesIO(frame), allow_pickle=False), sent)
    got = unpack_array([frame])
    assert same(got, sent.astype(sent.dtype.newbyteorder("=")))
    assert got.flags.writeable
    assert got.flags.c_contiguous
    assert got.flags.aligned


@given(ARRAYS)
def test_what_numpy_saves_is_read(array: NDArray[Any]) -> None:
    native = array.astype(array.dtype.newbyteorder("="))
    assert same(unpack_array([saved(array)]), native)


def test_numpys_versions_two_and_three_are_read() -> None:
    array = np.ones((2, 3), [("a", "f4"), ("b", "i2")])
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(2, 0))
    assert same(unpack_array([file.getvalue()]), array)
    named = array.astype([("\u03b8", "f4"), ("\u03c6", "i2")])
    file = io.BytesIO()
    np.lib.format.write_array(file, named, version=(3, 0))
    assert same(unpack_array([file.getvalue()]), named)


def test_a_scalar_of_numpy_is_an_array_without_axes() -> None:
    got = unpack_array([pack_array(np.float32(2.5))])  # type: ignore[arg-type]
    assert (got.dtype, got.shape, float(got)) == (np.dtype(np.float32), (), 2.5)


@pytest.mark.parametrize(
    "wrong",
    [
        [1.0, 2.0],
        None,
        b"bytes",
        np.array([object()]),
        np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")]),
        np.zeros(3, "V0"),
        np.zeros(3, [("x" * 5000, "f4")]),
    ],
)
def test_what_is_no_array_of_plain_values_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError, match="want"):
        pack_array(wrong)


FORGED = {
    "no frame": [],
    "two frames": [saved(np.zeros(2))] * 2,
    "an empty frame": [b""],
    "text": [b"hello, this is not an array"],
    "a cut header": [saved(np.zeros(2))[:40]],
    "missing data": [saved(np.zeros(2))[:-1]],
    "bytes after the data": [saved(np.zeros(2)) + b"x"],
    "version 4.0": [saved(np.zeros(2)).replace(b"NUMPY\x01", b"NUMPY\x04", 1)],
    "objects": [forged(descr="|O", data=bytes(32))],
    "objects in a field": [forged(descr=[("a", "<f4"), ("b", "|O")], data=bytes(48))],
    "a pickle in place of the elements": [
        forged(descr="|O", shape=(1,), data=b"cos\nsystem\n(S'false'\ntR.")
    ],
    "a size in terabytes": [forged(shape=(1 << 20, 1 << 20))],
    "a size that overflows": [forged(shape=(1 << 62, 4))],
    "an empty array whose other sides overflow": [forged(shape=(0, 1 << 62, 1 << 62), data=b"")],
    "elements without bytes": [forged(descr="|V0", shape=(1 << 40,), data=b"")],
    "strings without bytes": [forged(descr="<U0", shape=(1 << 40,), data=b"")],
    "a huge element": [forged(descr=f"|V{1 << 30}", shape=(1,))],
    "a huge field": [forged(descr=[("a", "<f4", (1 << 20, 1 << 10))], shape=(1,))],
    "a negative side": [forged(shape=(-2, -2))],
    "a side that is true": [forged(shape=(True, 4))],
    "a side that is a float": [forged(shape=(2.0, 2))],
    "a list as shape": [forged(shape=[2, 2])],
    "too many axes": [forged(shape=(1,) * 40, data=bytes(4))],
    "no order": [forged(fortran="no")],
    "an unknown dtype": [forged(descr="<q9")],
    "code as dtype": [forged(descr="__import__('os')")],
    "a header of code": [
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 22) + b"__import__('os').abort".ljust(22)
    ],
    "brackets in brackets": [
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 4000) + b"[" * 4000 + bytes(16)
    ],
    "minus signs": [b"\x93NUMPY\x01\x00" + struct.pack("<H", 4001) + b"-" * 4000 + b"1"],
    "a long header": [b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 30) + b" " * 100],
    "keys too many": [
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", 66)
        + b"{'descr':'<f4','fortran_order':False,'shape':(4,),'more':1}".ljust(66)
        + bytes(16)
    ],
}


@pytest.mark.parametrize("frames", FORGED.values(), ids=FORGED)
def test_a_forged_frame_is_refused_without_memory(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        unpack_array(frames)  # what NumPy imports and caches at first use is not counted
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="want"):
            unpack_array(frames)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_the_forgery_of_nothing_is_read() -> None:
    assert same(unpack_array([forged()]), np.zeros((2, 2), np.float32))


LITERALS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(["<f4", "|O", "|V0", ">i8", "<M8[ns]", "<U3", "|S0", "<f16"]),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=6,
)
SIDES = st.lists(st.integers(-1, 5) | st.sampled_from([1 << 31, 1 << 63]), max_size=5).map(tuple)


@given(descr=LITERALS, shape=LITERALS | SIDES, fortran=LITERALS, data=st.binary(max_size=64))
@example(descr="|O", shape=(), fortran=False, data=b"cos\nabort\n(tR.")
def test_any_header_is_an_array_of_its_size_or_refused(
    descr: Any, shape: Any, fortran: Any, data: bytes
) -> None:
    check(forged(descr=descr, shape=shape, fortran=fortran, data=data), data)


@given(ARRAYS, st.data())
def test_any_flipped_byte_is_an_array_of_the_same_size_or_refused(
    array: NDArray[Any], data: st.DataObject
) -> None:
    frame = bytearray(pack_array(array))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    check(bytes(frame), b"")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(noise: bytes) -> None:
    check(noise, b"")
    check(b"\x93NUMPY\x01\x00" + noise, b"")


def check(frame: bytes, data: bytes) -> None:
    """The frame is refused, or read as an array that has no more bytes than the frame."""
    refusal = ""
    try:
        array = unpack_array([frame])
    except WireError as error:
        refusal = str(error)
    assert len(refusal) < 1000
    if refusal:
        return
    assert not array.dtype.hasobject
    assert array.nbytes <= len(frame)
    assert not data or array.nbytes == len(data)


def test_the_limit_of_a_header_is_one_that_packing_keeps() -> None:
    fields = [(f"field{number:03}", "<f4") for number in range(150)]
    array = np.zeros(2, fields)
    frame = pack_array(array)
    assert len(frame) - array.nbytes <= MAX_HEADER_BYTES
    assert same(unpack_array([frame]), array)
    text = frame[10 : len(frame) - array.nbytes].decode()
    assert len(ast.literal_eval(text)["descr"]) == 150
