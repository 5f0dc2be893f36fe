"""NumPy arrays to frames and back. Refuses frames that hold no plain array. Pure.

A frame is one file of NumPy's format .npy, as `numpy.save` writes it: a short text states the
dtype, the shape and the order, and the bytes of the elements follow. The sizes that the text states
are compared with the frame before memory is allocated. Arrays of Python objects are refused, and
nothing is unpickled.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import WireError

MAX_HEADER_BYTES = 4096
_MAX_AXES = 32  # of NumPy 1


def pack_array(array: NDArray[Any]) -> bytes:
    """Return the frame of an array. Raises `TypeError` for what is no array of plain values."""
    if not isinstance(array, (np.ndarray, np.generic)):
        raise TypeError(f"want a NumPy array, got {type(array).__name__}")
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError("want an array without a mask, which would be lost: array.filled(0)")
    array = np.asarray(array)
    if array.dtype.hasobject or array.dtype.itemsize == 0:
        raise TypeError(f"want an array of plain values, got dtype {array.dtype}")
    if not array.flags.f_contiguous:
        array = np.asarray(array, order="C")
    head = _head(repr(npy.header_data_from_array_1_0(array)))
    if len(head) > MAX_HEADER_BYTES:
        raise TypeError(f"want a dtype whose text has less than 4 kB, got {array.dtype!s:.200}...")
    in_order = array if array.flags.c_contiguous else array.T
    return b"".join((head, _bytes(in_order)))


def _head(text: str) -> bytes:
    """Return all bytes before the elements; their number is a multiple of `npy.ARRAY_ALIGN`."""
    is_latin = all(ord(character) < 256 for character in text)
    encoded = text.encode("latin-1" if is_latin else "utf-8")
    width = 2 if is_latin else 4
    spaces = -(npy.MAGIC_LEN + width + len(encoded) + 1) % npy.ARRAY_ALIGN
    size = (len(encoded) + spaces + 1).to_bytes(width, "little")
    return b"".join((npy.magic(1 if is_latin else 3, 0), size, encoded, b" " * spaces, b"\n"))


def _bytes(array: NDArray[Any]) -> memoryview | bytes:
    return array.reshape(-1).view(np.uint8).data if array.size else b""


def unpack_array(frames: Sequence[bytes]) -> NDArray[Any]:
    """Return a new array that is writable, C-contiguous and in native byte order.

    Raises `WireError` for anything but one frame with one array.
    """
    if len(frames) != 1:
        raise WireError(f"want one frame with an array (.npy), got {len(frames)} frames")
    frame = memoryview(frames[0])
    shape, is_fortran, dtype, start = _header(frame)
    data = frame[start:]
    if dtype.hasobject or dtype.itemsize == 0:
        raise WireError(f"want an array of plain values, got dtype {dtype}")
    if len(shape) > _MAX_AXES or not all(type(side) is int and side >= 0 for side in shape):
        raise WireError(f"want a shape of up to {_MAX_AXES} sides, got {shape!r:.100}")
    nbytes = prod(shape) * dtype.itemsize
    if nbytes != data.nbytes:
        raise WireError(f"want {nbytes} bytes for {dtype} {shape}, got {data.nbytes}")
    try:
        array = np.frombuffer(data, dtype) if nbytes else np.empty(0, dtype)
        array = array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)
    except ValueError as error:  # NumPy multiplies the other sides of an array without elements
        raise WireError(f"want a shape that fits in memory, got {shape}: {error}") from None
    return np.array(array, dtype.newbyteorder("="), order="C")


def _header(frame: memoryview) -> tuple[Any, bool, np.dtype[Any], int]:
    """Return the shape, whether it is in Fortran's order, the dtype, and where the data begin."""
    try:
        width, encoding = _VERSIONS[bytes(frame[: npy.MAGIC_LEN])]
        start = npy.MAGIC_LEN + width
        end = start + int.from_bytes(frame[npy.MAGIC_LEN : start], "little")
        if end > min(MAX_HEADER_BYTES, frame.nbytes):
            raise ValueError(f"the header ends at byte {end}")
        fields = ast.literal_eval(str(frame[start:end], encoding).strip())
        if not isinstance(fields, dict) or fields.keys() != _KEYS:
            raise ValueError(f"want the keys {sorted(_KEYS)}")
        shape, is_fortran = fields["shape"], fields["fortran_order"]
        if not isinstance(shape, tuple) or not isinstance(is_fortran, bool):
            raise ValueError("want a tuple as shape, and True or False as fortran_order")
        dtype: np.dtype[Any] = npy.descr_to_dtype(fields["descr"])
    except Exception as error:  # literals and dtypes may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        want = "want an array (a .npy file of version 1.0, 2.0 or 3.0)"
        raise WireError(f"{want}, got {frame.nbytes} other bytes: {reason:.200}") from None
    return shape, is_fortran, dtype, end


_KEYS = {"descr", "fortran_order", "shape"}
_VERSIONS = {
    npy.magic(1, 0): (2, "latin-1"),
    npy.magic(2, 0): (4, "latin-1"),
    npy.magic(3, 0): (4, "utf-8"),
}
"""By the first bytes: the width of the header's length in bytes, and the header's encoding."""
