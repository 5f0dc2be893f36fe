"""Messages between a process and its writer process, over pipes: JSON, then the pixels as bytes.

JSON keeps every double, because Python writes enough digits. Nothing in a message is run. Pure.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...image import ROI, RSE, Corners, Event, Image, ImageMeta

_LENGTHS = struct.Struct("<QQ")  # of the JSON text, and of all arrays together

Floats = npt.NDArray[np.float32]


class Message(NamedTuple):
    """A message: its fields, and float32 arrays of one dimension."""

    fields: dict[str, Any]
    arrays: Sequence[Floats] = ()


def send(stream: IO[bytes], message: Message) -> None:
    """Write a message. Raises `OSError`."""
    sizes = [array.size for array in message.arrays]
    text = json.dumps({**message.fields, "sizes": sizes}, default=_plain).encode()
    stream.write(_LENGTHS.pack(len(text), sum(array.nbytes for array in message.arrays)))
    stream.write(text)
    for array in message.arrays:
        if array.size:  # a view without elements cannot be cast
            stream.write(array.data.cast("B"))
    stream.flush()


def receive(stream: IO[bytes]) -> Message:
    """Read a message. Raises `EOFError` if the other process has gone."""
    text_bytes, array_bytes = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    fields = json.loads(_exactly(stream, text_bytes))
    floats = np.frombuffer(_exactly(stream, array_bytes), np.float32)
    ends = np.cumsum(fields.pop("sizes"), dtype=np.int64)
    return Message(fields, np.split(floats, ends[:-1]) if len(ends) else ())


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    while len(data) < count:  # an unbuffered stream returns what has arrived
        part = stream.read(count - len(data))
        if not part:
            raise EOFError("the other process has gone")
        data += part
    return data


def from_event(event: Event) -> Message:
    """Return an event as a message; the pixels column by column, as LArCV stores them."""
    images = [image for several in event.images.values() for image in several]
    fields = {
        "rse": [int(number) for number in event.rse],
        "images": {name: [_numbers(i.meta) for i in its] for name, its in event.images.items()},
        "rois": {name: [_roi(roi) for roi in its] for name, its in event.rois.items()},
    }
    # no copy if the image was read from a ROOT file
    return Message(fields, [image.pixels.ravel(order="F") for image in images])


def to_event(message: Message) -> Event:
    """Return the event of a message of `from_event`."""
    arrays = iter(message.arrays)

    def image(numbers: Sequence[Any]) -> Image:
        meta = _meta(numbers)
        return _unchecked(meta, next(arrays).reshape(meta.cols, meta.rows).T)

    fields: Mapping[str, Any] = message.fields
    return Event(
        RSE(*fields["rse"]),
        {name: tuple(map(image, its)) for name, its in fields["images"].items()},
        {
            name: tuple(
                ROI(tuple(map(_meta, boxes)), index, mcst_index) for boxes, index, mcst_index in its
            )
            for name, its in fields["rois"].items()
        },
    )


def _unchecked(meta: ImageMeta, pixels: Floats) -> Image:
    """Return an image whose pixels the other process has checked: to look for NaN takes time."""
    image = object.__new__(Image)
    object.__setattr__(image, "meta", meta)
    object.__setattr__(image, "pixels", pixels)
    return image


def _roi(roi: ROI) -> list[Any]:
    return [[_numbers(box) for box in roi.boxes], int(roi.index), int(roi.mcst_index)]


def _numbers(meta: ImageMeta) -> list[Any]:
    return list(astuple(meta))


def _plain(value: Any) -> Any:
    """Return a number of NumPy as one of Python, which JSON knows."""
    if not isinstance(value, np.generic):
        raise TypeError(f"want numbers and texts, got {type(value).__name__}")
    return value.item()


def _meta(numbers: Sequence[Any]) -> ImageMeta:
    (width, height, rows, cols, x, y, plane, order, corners, unit) = numbers
    stored = Corners(*corners) if corners else None
    return ImageMeta(width, height, rows, cols, x, y, plane, order, stored, unit)
