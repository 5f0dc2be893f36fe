"""Turns deposits into pixels: recombination, diffusion, shaping, dead wires, noise. Pure.

The same points are projected onto every plane, so a particle has the same charge on all planes,
except for charge outside the image. Refuses settings out of range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError
from . import argon
from .argon import Floats
from .chamber import DRIFT_CM_US, PITCH_CM, TICK_US, Chamber
from .particles import SHOWER, TRACK, Deposits, Ints

Pixels = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_LONGITUDINAL_CM2_US = 3.74e-6  # diffusion at 273 V/cm (MicroBooNE, JINST 16 (2021) P09025)
_TRANSVERSE_CM2_US = 5.9e-6  # the same reference, calculated
_FAINT_ADC = 0.5  # hit finding would drop a pixel below this
_EDGES = np.linspace(-6, 6, 2401)
_NORMAL = np.array([0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in _EDGES])


@dataclass(frozen=True)
class Response:
    """The response of wires and electronics to charge."""

    mip_adc: float = 80.0
    """The ADC, summed over ticks, that a minimum-ionising particle leaves on a wire that it crosses
    at right angles. The brightest pixel then holds about half of it, as in MicroBooNE's images."""
    threshold_adc: float = 10.0
    """A pixel below this is labelled background, because SSNet's chain drops it."""
    noise_adc: float = 1.5
    """The rms noise of a pixel that passes hit finding."""
    noise_hits: float = 8.0
    """The mean number of isolated noise hits per million pixels."""
    dead_fraction: float = 0.06
    """The share of wires that are dead; dead wires come in bands."""
    shaping_ticks: float = 3.0
    """The rms width that electronics and deconvolution add along time."""
    crosstalk_wires: float = 0.25
    """The rms width that field and deconvolution add across wires."""

    def __post_init__(self) -> None:
        for name in ("mip_adc", "threshold_adc", "shaping_ticks", "crosstalk_wires"):
            if not getattr(self, name) > 0:
                raise ParameterError(f"want {name} above 0, got {getattr(self, name)}")
        for name in ("noise_adc", "noise_hits"):
            if not getattr(self, name) >= 0:
                raise ParameterError(f"want {name} of at least 0, got {getattr(self, name)}")
        if not 0 <= self.dead_fraction <= 0.5:
            raise ParameterError(f"want dead_fraction from 0 to 0.5, got {self.dead_fraction}")

    @property
    def adc_per_mev(self) -> float:
        """The ADC per MeV of visible energy, the energy whose charge escapes recombination."""
        loss_mev = np.array([argon.MIP_MEV_CM * PITCH_CM])
        return self.mip_adc / float(argon.visible(loss_mev, np.array([PITCH_CM]))[0])


def dead_wires(chamber: Chamber, response: Response, rng: np.random.Generator) -> Mask:
    """Draw which columns are dead, in bands of up to 16: (cols,)."""
    dead = np.zeros(chamber.cols, np.bool_)
    missing = round(response.dead_fraction * chamber.cols)
    while missing > 0:
        width = min(int(rng.geometric(0.2)), 16, missing)
        start = int(rng.integers(0, chamber.cols - width + 1))
        dead[start : start + width] = True
        missing = round(response.dead_fraction * chamber.cols) - int(dead.sum())
    return dead


def true_charge(
    deposits: Deposits, chamber: Chamber, response: Response, plane: int
) -> tuple[Pixels, Pixels]:
    """Return a plane's charge of showers and of tracks, without noise: ADC, both (rows, cols)."""
    clouds = _clouds(deposits, chamber, response, plane)
    is_shower = deposits.label == SHOWER
    shower, track = (
        _paint(_Clouds(*(column[which] for column in clouds)), chamber)
        for which in (is_shower, ~is_shower)
    )
    return shower, track


class _Clouds(NamedTuple):
    """Clouds of charge that arrive at a plane, in pixels: pixel c reaches from c to c + 1."""

    adc: Floats
    column: Floats
    row: Floats
    column_rms: Floats
    row_rms: Floats


def _clouds(deposits: Deposits, chamber: Chamber, response: Response, plane: int) -> _Clouds:
    drift_us = deposits.position_cm[:, 0] / DRIFT_CM_US
    along_ticks = np.sqrt(2 * _LONGITUDINAL_CM2_US * drift_us) / DRIFT_CM_US / TICK_US
    across_wires = np.sqrt(2 * _TRANSVERSE_CM2_US * drift_us) / PITCH_CM
    tick = chamber.tick(deposits.position_cm, deposits.time_us)
    return _Clouds(
        adc=argon.visible(deposits.energy_mev, deposits.step_cm) * response.adc_per_mev,
        column=chamber.wire(plane, deposits.position_cm) / chamber.wires_per_pixel,
        row=(chamber.last_tick - tick) / chamber.ticks_per_pixel,
        column_rms=np.hypot(across_wires, response.crosstalk_wires) / chamber.wires_per_pixel,
        row_rms=np.hypot(along_ticks, response.shaping_ticks) / chamber.ticks_per_pixel,
    )


def _paint(clouds: _Clouds, chamber: Chamber) -> Pixels:
    """Spread each cloud as a Gaussian over the pixels around it, and add up all clouds."""
    if not len(clouds.adc):
        return np.zeros((chamber.rows, chamber.cols), np.float32)
    left, across = _shares(clouds.column, clouds.column_rms, chamber.cols)
    top, along = _shares(clouds.row, clouds.row_rms, chamber.rows)
    margin_cols, margin_rows = across.shape[1], along.shape[1]
    width = chamber.cols + 2 * margin_cols
    height = chamber.rows + 2 * margin_rows
    first = (top + margin_rows) * width + left + margin_cols
    window = np.arange(margin_rows)[:, None] * width + np.arange(margin_cols)
    index = first[:, None, None] + window
    spread = (clouds.adc[:, None] * along)[:, :, None] * across[:, None, :]
    total = np.bincount(index.ravel(), spread.ravel(), minlength=height * width)
    inner = total.reshape(height, width)[margin_rows:-margin_rows, margin_cols:-margin_cols]
    return inner.astype(np.float32)


def _shares(place: Floats, rms: Floats, size: int) -> tuple[Ints, Floats]:
    """Return the first pixel, (n,), and the share of each pixel, (n, window), of Gaussians.

    A window lies at most its width outside of an axis of `size` pixels; a window that is entirely
    outside has shares of 0.
    """
    reach = math.ceil(3 * float(rms.max()))
    first = np.floor(place).astype(np.int64) - reach
    edges = first[:, None] + np.arange(2 * reach + 2)
    at = (edges - place[:, None]) / rms[:, None]
    shares = np.diff(np.interp(at, _EDGES, _NORMAL), axis=1)
    seen = (first > -shares.shape[1]) & (first < size)
    return np.where(seen, first, 0), shares * seen[:, None]


def digitise(
    charge: tuple[Pixels, Pixels], dead: Mask, response: Response, rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """Return ADC and labels (0 background, 1 shower, 2 track), both (rows, cols).

    A pixel is labelled if its ADC passes the threshold and a particle left charge in it. It is
    shower if the charge of showers is more than twice that of tracks. (If the larger charge
    decided, the labels along every delta ray close to its muon would be random.)
    Dead wires read nothing and are labelled background.
    """
    shower, track = charge
    total = shower + track
    total[:, dead] = 0
    hit = total > _FAINT_ADC
    adc = np.zeros_like(total)
    adc[hit] = np.maximum(total[hit] + rng.normal(0, response.noise_adc, np.count_nonzero(hit)), 0)
    labels = np.where(shower > 2 * track, np.float32(SHOWER), np.float32(TRACK))
    labels[~hit | (adc < response.threshold_adc)] = 0
    _add_noise_hits(adc, response, rng)
    adc[:, dead] = 0
    return adc, labels


def _add_noise_hits(adc: Pixels, response: Response, rng: np.random.Generator) -> None:
    """Add noise that hit finding mistakes for charge: two pixels each, consecutive in time."""
    rows, cols = adc.shape
    count = rng.poisson(response.noise_hits * adc.size / 1e6)
    row, col = rng.integers(0, rows - 1, count), rng.integers(0, cols, count)
    height = 6 + rng.exponential(5, count)
    np.add.at(adc, (row, col), height.astype(np.float32))
    np.add.at(adc, (row + 1, col), (height * rng.uniform(0.2, 1, count)).astype(np.float32))
