"""Small files of images for the tests of the simple client, made from one random seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lartpc import RSE, Event, Image, ImageMeta, open_reader, open_writer

PLANES = 3


def image(rng: np.random.Generator, plane: int, *, rows: int = 8, cols: int = 12) -> Image:
    """Sparse pixels at a place that `dump()` does not tell to the last digit."""
    pixels = rng.integers(0, 100, (rows, cols)) * (rng.random((rows, cols)) < 0.2)
    meta = ImageMeta(
        width=float(cols),
        height=rows * 6.0,
        rows=rows,
        cols=cols,
        origin_x=rng.uniform(0, 1000),
        origin_y=rng.uniform(3000, 8448),
        plane=plane,
    )
    return Image(meta, pixels.astype(np.float32))


def events(
    count: int, producers: Sequence[str], *, first: int = 0, counts: Mapping[int, int] | None = None
) -> list[Event]:
    """Events `first`, `first + 1`, ... of run 7; `counts`: images of an event, if not three."""
    result = []
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        images = (counts or {}).get(number, PLANES)
        result.append(
            Event(
                RSE(7, number // 10, number),
                {name: tuple(image(rng, plane) for plane in range(images)) for name in producers},
            )
        )
    return result


def write(path: Path, result: Sequence[Event]) -> Path:
    with open_writer(path) as writer:
        for event in result:
            writer.write(event)
    return path


def read(path: Path) -> list[Event]:
    with open_reader(path, tick_order="backward") as reader:
        return list(reader)
