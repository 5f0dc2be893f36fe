"""Convert batches of images to message frames and back. Refuses malformed or oversized messages.

Every batch is three frames: its name, its meta text and its array (docs/messages.md). The sizes in
an incoming message are checked before memory is allocated, and nothing is unpickled or evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, get_args

import msgpack
import numpy as np
import numpy.typing as npt
import zstandard

from .errors import FrameError, ImageError, TooManyPixels
from .image import RSE, Image, ImageMeta, all_finite

Frame = bytes | bytearray | memoryview
Codec = Literal["zstd", "raw"]
CODECS: tuple[Codec, ...] = get_args(Codec)

DTYPES = ("float32", "float16", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64")
MAX_NAME_BYTES = 255
MAX_SIDE = 1 << 24
_SMALL_BYTES = 64  # the most for each of dtype, codec and shape, packed
_KEYS = {"dtype", "shape", "codec", "data"}
_BIN_HEADER_BYTES = {0xC4: 2, 0xC5: 3, 0xC6: 5}
_RSE = re.compile(r"\((\d{1,20}),(\d{1,20}),(\d{1,20})\)")


@dataclass(frozen=True)
class Limits:
    """The most that one incoming message may contain."""

    array_bytes: int = 512 << 20
    """The size of all arrays of one message, unpacked: 12 full MicroBooNE events."""
    triples: int = 256
    meta_bytes: int = 1 << 20
    """The size of one meta text, which has about 85 bytes per image."""
    info_bytes: int = 16 << 10
    """The size of one `info`, packed; it holds a few names, hashes and times."""
    image_pixels: int | None = None
    """The pixels of one image, rows times cols; None: as many as `array_bytes` allows."""
    pixels: int | None = None
    """The pixels of all images of one message, whose type may have fewer bytes than what is
    computed from them; None: as many as `array_bytes` allows."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, eq=False)
class Batch:
    """The content of three frames. `array`: (batch, images or classes, rows, cols), ADC or scores.

    `meta` has one line per image, in the array's order; a reply repeats the meta of its request.
    `info` is empty in requests; in replies it describes what computed the array.
    """

    name: str
    meta: str
    array: npt.NDArray[Any]
    info: Mapping[str, Any] = field(default_factory=dict)

    def rses(self) -> tuple[RSE, ...]:
        """Return the (run, subrun, event) of each line of `meta`. Raises `FrameError`."""
        return tuple(_rse(line) for line in self.meta.split("\n"))


def _rse(line: str) -> RSE:
    match = _RSE.fullmatch(line.rpartition(":")[2])
    if match is None:
        raise FrameError(f"want a meta text that ends in :(run,subrun,event), got {line[-80:]!r}")
    return RSE(*(int(number) for number in match.groups()))


def meta_text(meta: ImageMeta, rse: RSE) -> str:
    """Return an image's line in the meta frame: LArCV1's text, then (run, subrun, event)."""
    return f"{meta.dump().strip()}:({rse.run},{rse.subrun},{rse.event})"


def stack(name: str, events: Sequence[tuple[RSE, Sequence[Image]]]) -> Batch:
    """Make a batch of events that have the same number of images, all of one size.

    Raises `ImageError` if they differ.
    """
    images = [image for _, row in events for image in row]
    shapes = {image.pixels.shape for image in images}
    counts = {len(row) for _, row in events}
    if len(shapes) != 1 or len(counts) != 1:
        raise ImageError(
            f"want one image size and number in a batch of {name},"
            f" got sizes {sorted(shapes)} and numbers {sorted(counts)} in {[r for r, _ in events]}"
        )
    array = np.empty((len(events), *counts, *shapes.pop()), np.float32)
    for i, (_, row) in enumerate(events):
        for k, image in enumerate(row):
            array[i, k] = image.pixels  # converts images from LArCV1 files, which are column-major
    lines = [meta_text(image.meta, rse) for rse, row in events for image in row]
    return Batch(name, "\n".join(lines), array)


# Packing.


LateInfo = Callable[[], Mapping[str, Any]]


def pack(
    batches: Iterable[Batch],
    *,
    codec: Codec = "zstd",
    level: int = 1,
    dtype: str | None = None,
    late_info: LateInfo | None = None,
) -> list[bytes]:
    """Pack batches into frames, three for each; `dtype="float16"` halves the size of float32.

    `late_info` is called when a batch's array has been packed, and its result is added to the info,
    e.g. the time that packing took. Raises `FrameError` for arrays that are not 4-dimensional
    numbers or do not fit into `dtype`, and for names and metas that UTF-8 cannot encode, or names
    that are too long.
    """
    return [
        frame for batch in batches for frame in _pack_one(batch, codec, level, dtype, late_info)
    ]


def _pack_one(
    batch: Batch, codec: Codec, level: int, dtype: str | None, late_info: LateInfo | None
) -> list[bytes]:
    array = _plain(batch, dtype)
    if array.nbytes == 0:
        codec = "raw"  # zstd states no size for an empty array
    packed: dict[str, Any] = {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "codec": codec,
        "data": _encode(array, codec, level),
    }
    info = {**batch.info, **(late_info() if late_info else {})}
    if info:
        packed["info"] = info
    try:
        frame: bytes = msgpack.packb(packed)
    except (TypeError, ValueError, OverflowError) as error:
        raise FrameError(f"want plain values in the info of {batch.name}: {error}") from None
    name = _utf8(batch.name, "a name")
    if not 0 < len(name) <= MAX_NAME_BYTES:
        raise FrameError(f"want a name of 1 to {MAX_NAME_BYTES} bytes, got {len(name)}")
    return [name, _utf8(batch.meta, f"the meta of {batch.name}"), frame]


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise FrameError(f"want {what} that UTF-8 can encode: {error}") from None


def _plain(batch: Batch, dtype: str | None) -> npt.NDArray[Any]:
    array = batch.array
    target = dtype or array.dtype.name
    if target not in DTYPES or array.dtype.name not in DTYPES:
        raise FrameError(f"want one of {DTYPES} in {batch.name}, got {target}")
    if array.ndim != 4:
        raise FrameError(f"want (batch, images, rows, cols) in {batch.name}, got {array.shape}")
    with np.errstate(over="ignore"):  # checked below
        out = np.ascontiguousarray(array, np.dtype(target).newbyteorder("<"))
    if target == "float16" and array.dtype != out.dtype and not all_finite(out):
        raise FrameError(f"want values within float16's 65504 in {batch.name}")
    return out


def _encode(array: npt.NDArray[Any], codec: Codec, level: int) -> bytes | memoryview:
    flat = array.reshape(-1).view(np.uint8).data
    if codec == "raw":
        return flat
    if codec == "zstd":
        # the checksum turns a flipped bit into an error, not into a wrong pixel
        return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(flat)
    raise FrameError(f"want a codec of {CODECS}, got {codec!r}")


# Unpacking.


@dataclass(frozen=True)
class _Packed:
    """An array frame whose sizes are checked, not yet decoded; `data` is a view of the frame."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    codec: Codec
    data: memoryview
    info: Mapping[str, Any]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def unpack(frames: Sequence[Frame], limits: Limits = DEFAULT_LIMITS) -> list[Batch]:
    """Return the batches in these frames, with read-only arrays. Raises `FrameError`."""
    views = [memoryview(frame) for frame in frames]
    if not views or len(views) % 3 or len(views) > 3 * limits.triples:
        raise FrameError(f"want 1 to {limits.triples} triples of frames, got {len(views)} frames")
    heads = []
    for i in range(0, len(views), 3):
        name = _text(views[i], "a name", MAX_NAME_BYTES)
        heads.append((name, _text(views[i + 1], f"the meta of {name}", limits.meta_bytes)))
    packed = [_measure(views[i], limits) for i in range(2, len(views), 3)]
    total = sum(array.nbytes for array in packed)
    if total > limits.array_bytes:
        raise FrameError(f"want at most {limits.array_bytes} bytes of arrays, got {total}")
    pixels = sum(prod(array.shape) for array in packed)
    if limits.pixels is not None and pixels > limits.pixels:
        raise FrameError(f"want at most {limits.pixels} pixels in a message, got {pixels}")
    return [
        Batch(name, meta, _decode(array), array.info)
        for (name, meta), array in zip(heads, packed, strict=True)
    ]


def _text(frame: memoryview, what: str, limit: int) -> str:
    if not 0 < frame.nbytes <= limit:
        raise FrameError(f"want {what} of 1 to {limit} bytes, got {frame.nbytes}")
    try:
        return str(frame, "utf-8")
    except UnicodeDecodeError as error:
        raise FrameError(f"want {what} in UTF-8: {error}") from None


def _measure(frame: memoryview, limits: Limits) -> _Packed:
    values = _split(frame, limits)
    missing = _KEYS - values.keys()
    if missing:
        raise FrameError(f"want {sorted(_KEYS)} in an array frame, {sorted(missing)} are missing")
    dtype = _small(values["dtype"], _SMALL_BYTES)
    codec = _small(values["codec"], _SMALL_BYTES)
    shape = _small(values["shape"], _SMALL_BYTES)
    info = _small(values["info"], limits.info_bytes) if "info" in values else {}
    if dtype not in DTYPES:
        raise FrameError(f"want a dtype of {DTYPES}, got {dtype!r}")
    if codec not in CODECS:
        raise FrameError(f"want a codec of {CODECS}, got {codec!r}")
    if not isinstance(shape, list) or len(shape) != 4:
        raise FrameError(f"want a shape (batch, images, rows, cols), got {shape!r}")
    if not all(type(side) is int and 0 <= side <= MAX_SIDE for side in shape):
        raise FrameError(f"want sides from 0 to {MAX_SIDE}, got {shape!r}")
    # numpy also multiplies the other sides of an array without elements
    if prod(side or 1 for side in shape) * np.dtype(dtype).itemsize > limits.array_bytes:
        raise FrameError(f"want at most {limits.array_bytes} bytes of arrays, got {shape!r}")
    rows, cols = shape[2:]
    if limits.image_pixels is not None and rows * cols > limits.image_pixels:
        raise TooManyPixels(
            f"want images of at most {limits.image_pixels} pixels, got {rows} x {cols}"
        )
    if not isinstance(info, dict) or not all(isinstance(key, str) for key in info):
        raise FrameError(f"want a map with text keys as info, got {type(info).__name__}")
    data = _binary(values["data"])
    return _Packed(np.dtype(dtype).newbyteorder("<"), tuple(shape), codec, data, info)


def _split(frame: memoryview, limits: Limits) -> dict[str, memoryview]:
    """Return the values of a msgpack map, still packed: unpacked they could be far larger."""
    if frame.nbytes > limits.array_bytes + limits.info_bytes + 1024:
        raise FrameError(f"want a frame of at most {limits.array_bytes} bytes, got {frame.nbytes}")
    frame = frame.cast("B")
    unpacker = msgpack.Unpacker(max_buffer_size=max(frame.nbytes, 1))
    values: dict[str, memoryview] = {}
    try:
        unpacker.feed(frame)
        for _ in range(min(unpacker.read_map_header(), len(_KEYS) + 2)):
            start = unpacker.tell()
            unpacker.skip()
            key = _small(frame[start : unpacker.tell()], _SMALL_BYTES)
            start = unpacker.tell()
            unpacker.skip()
            if not isinstance(key, str) or key not in (*_KEYS, "info") or key in values:
                raise FrameError(f"want each of {sorted(_KEYS)} and info once, got {key!r}")
            values[key] = frame[start : unpacker.tell()]
    except (msgpack.UnpackException, ValueError) as error:
        if isinstance(error, FrameError):
            raise
        raise FrameError(f"want a msgpack map in an array frame: {error!r}") from None
    if unpacker.tell() != frame.nbytes:
        raise FrameError(f"want one map, got {frame.nbytes - unpacker.tell()} bytes after it")
    return values


def _small(packed: memoryview, limit: int) -> Any:
    if packed.nbytes > limit:
        raise FrameError(f"want a value of at most {limit} bytes, got {packed.nbytes}")
    try:
        return msgpack.unpackb(packed, max_ext_len=0)
    except (msgpack.UnpackException, ValueError, TypeError) as error:
        raise FrameError(f"want plain values in an array frame: {error!r}") from None


def _binary(packed: memoryview) -> memoryview:
    header_bytes = _BIN_HEADER_BYTES.get(packed[0])
    if header_bytes is None:
        raise FrameError(f"want binary data, got msgpack type {packed[0]:#04x}")
    return packed[header_bytes:]


def _decode(packed: _Packed) -> npt.NDArray[Any]:
    data: Any
    match packed.codec:
        case "zstd":
            data = _unzstd(packed.data, packed.nbytes)
        case "raw":
            data = packed.data
    if len(data) != packed.nbytes:
        raise FrameError(f"want {packed.nbytes} bytes for {packed.shape}, got {len(data)}")
    array = np.frombuffer(data, packed.dtype).reshape(packed.shape)
    array.flags.writeable = False
    return array


def _unzstd(data: memoryview, nbytes: int) -> bytes:
    """Check the size that the data state before memory is allocated for it; then decompress."""
    try:
        stated = zstandard.get_frame_parameters(data).content_size
        if stated != nbytes or nbytes == 0:
            raise FrameError(f"want zstd data that state {nbytes} bytes, above 0, got {stated}")
        return zstandard.ZstdDecompressor().decompress(
            data, max_output_size=nbytes, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise FrameError(f"want zstd data of {nbytes} bytes: {error}") from None
