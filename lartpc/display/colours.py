"""Turns pixels into colours: cuts a window out, pools it so that no hit is lost, colours it. Pure.

It refuses nothing: a part of the window that the image does not cover has no colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb

from ..image import Image, ImageMeta

Values = npt.NDArray[np.float32]
Colours = npt.NDArray[np.float64]

NOTHING = "#0a1128"  # no charge
DEAD = "#3b4260"  # a dead wire
SHOWER, TRACK = "#f5a623", "#4fb3f6"  # orange, sky blue (Okabe, Ito): safe for the colour-blind

_FAINT_SHARE = 0.08  # the part of the range with the steep rise: about 10 ADC
_FAINTEST = 0.25  # the part of viridis where the colour map starts


class PixelWindow(NamedTuple):
    """A part of a plane: x in wires, y in ticks."""

    min_x: float
    max_x: float
    min_y: float
    max_y: float


class Cut(NamedTuple):
    """A part of an image, with the largest tick in row 0, and the place it covers."""

    values: Values  # (rows, cols)
    window: PixelWindow


def whole(meta: ImageMeta) -> PixelWindow:
    """Return the window that shows a whole image."""
    return PixelWindow(meta.min_x, meta.max_x, meta.min_y, meta.max_y)


def has_area(image: Image) -> bool:
    """Return whether an image has pixels, with a size above 0."""
    return bool(image.pixels.size and image.meta.width and image.meta.height)


def upright(image: Image) -> Values:
    """Return the pixels with the largest tick in row 0, for either tick order of the image."""
    return image.pixels if image.meta.tick_order == "backward" else image.pixels[::-1]


def cut(image: Image, window: PixelWindow, *, most: int) -> Cut:
    """Return the pixels that touch a window, max-pooled to at most `most` along each axis."""
    meta = image.meta
    if not has_area(image):
        return Cut(np.empty((0, 0), np.float32), whole(meta))
    left, right = _pixels(window.min_x - meta.min_x, window.max_x - meta.min_x, meta.pixel_width)
    top, bottom = _pixels(meta.max_y - window.max_y, meta.max_y - window.min_y, meta.pixel_height)
    left, right = min(left, meta.cols), min(right, meta.cols)
    top, bottom = min(top, meta.rows), min(bottom, meta.rows)
    values = upright(image)[top:bottom, left:right]
    pool_rows, pool_cols = (max(1, math.ceil(size / most)) for size in values.shape)
    return Cut(
        _pooled(values, pool_rows, pool_cols),
        PixelWindow(
            meta.min_x + left * meta.pixel_width,
            meta.min_x + _rounded_up(left, right, pool_cols) * meta.pixel_width,
            meta.max_y - _rounded_up(top, bottom, pool_rows) * meta.pixel_height,
            meta.max_y - top * meta.pixel_height,
        ),
    )


def _pixels(low: float, high: float, size: float) -> tuple[int, int]:
    """Return the first pixel that an interval touches, and the one after the last."""
    return max(0, math.floor(low / size + 1e-9)), max(0, math.ceil(high / size - 1e-9))


def _rounded_up(first: int, end: int, pool: int) -> int:
    return first + math.ceil((end - first) / pool) * pool


def _pooled(values: Values, pool_rows: int, pool_cols: int) -> Values:
    rows, cols = (
        math.ceil(n / p) for n, p in zip(values.shape, (pool_rows, pool_cols), strict=True)
    )
    padded = np.zeros((rows * pool_rows, cols * pool_cols), np.float32)
    padded[: values.shape[0], : values.shape[1]] = values
    return np.asarray(padded.reshape(rows, pool_rows, cols, pool_cols).max(axis=(1, 3)))


def adc_map() -> LinearSegmentedColormap:
    """Return viridis on a dark background: equal steps of charge are equal steps of lightness.

    Only the faintest charge rises more steeply, from the background to a part of viridis that is
    easy to see, because a thin track is a line of one pixel.
    """
    charge = np.linspace(_FAINT_SHARE, 1, 16)
    viridis = matplotlib.colormaps["viridis"](np.linspace(_FAINTEST, 1, charge.size))
    stops = [(0.0, to_rgb(NOTHING)), *zip(charge.tolist(), viridis.tolist(), strict=True)]
    return LinearSegmentedColormap.from_list("adc", stops)


def adc_norm(images: Sequence[Image]) -> Normalize:
    """Return the range from 0 to the 98 % quantile of charged pixels, rounded up to 20 ADC."""
    charged = [image.pixels[image.pixels > 1] for image in images]
    values = np.concatenate([*charged, np.zeros(1, np.float32)])
    return Normalize(0, max(60, 20 * math.ceil(float(np.quantile(values, 0.98)) / 20)))


def adc_colours(values: Values, norm: Normalize) -> Colours:
    """Return the colours of ADC values: (rows, cols, 3), from 0 to 1."""
    return np.asarray(adc_map()(norm(values))[..., :3])


def class_colours(shower: Values, track: Values) -> Colours:
    """Mix the colours of two scores over the background: (rows, cols, 3), from 0 to 1.

    A score of 0.5 is half as strong as a score of 1.
    """
    scores = np.stack([shower, track], axis=-1).astype(np.float64)
    scores = np.clip(scores, 0, 1)
    scores /= np.maximum(scores.sum(axis=-1, keepdims=True), 1)
    ground = 1 - scores.sum(axis=-1, keepdims=True)
    return np.asarray(ground * to_rgb(NOTHING) + scores @ np.array([to_rgb(SHOWER), to_rgb(TRACK)]))
