"""Tracks charged particles through argon, with scattering, energy loss and delta rays.

All arrays are flat: the steps of all particles are concatenated in one array, so a hundred
particles need as few numpy calls as one. Pure; refuses nothing.
Coordinates in cm: x along the drift (0 at the wires), y up, z along the beam.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import argon
from .argon import Floats

Labels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

BACKGROUND, SHOWER, TRACK = 0, 1, 2  # SSNet's classes

STEP_CM = 0.1  # a third of the wire pitch
DELTA_CUT_MEV = 1.0
"""Delta rays above this energy are tracked; the others are part of Landau's tail."""


class Deposits(NamedTuple):
    """Energy deposited in argon, one entry per step."""

    position_cm: Floats  # (n, 3)
    energy_mev: Floats  # (n,)
    step_cm: Floats
    time_us: Floats
    label: Labels


class Rays(NamedTuple):
    """Electrons or photons at the start of their paths."""

    start_cm: Floats  # (n, 3)
    direction: Floats  # (n, 3), unit vectors
    energy_mev: Floats  # (n,), kinetic
    time_us: Floats
    label: Labels


class Tracks(NamedTuple):
    """Heavy particles at the start of their paths."""

    start_cm: Floats  # (n, 3)
    direction: Floats  # (n, 3), unit vectors
    kinetic_mev: Floats  # (n,)
    mass_mev: Floats
    length_cm: Floats  # the longest path; `numpy.inf`: until the particle stops
    time_us: Floats


class Steps(NamedTuple):
    """The steps of several particles, in flat arrays."""

    owner: Ints  # (steps,), index of the particle
    number: Ints  # 0, 1, 2 … within the particle
    length_cm: Floats


def cut_into_steps(length_cm: Floats) -> Steps:
    """Cut paths into equal steps of about `STEP_CM`, at least one per particle."""
    counts = np.maximum(np.ceil(length_cm / STEP_CM).astype(np.int64), 1)
    owner = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Steps(owner, number, (length_cm / counts)[owner])


def running_sum(values: Floats, steps: Steps) -> Floats:
    """Return, at each step, the sum over the earlier steps of its particle; values: (steps, …)."""
    total = np.cumsum(values, axis=0) - values
    starts = np.flatnonzero(steps.number == 0)
    return np.asarray(total - total[starts][steps.owner])


def walk(
    start_cm: Floats, direction: Floats, steps: Steps, *, angle: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Scatter particles; returns the middle and the direction of each step, both (steps, 3).

    angle: (steps,), radians: the rms projected deflection in one step (`scattering_angle`).
    """
    first, second = normals(direction)
    kicks = rng.normal(size=(len(angle), 2)) * np.minimum(angle, 1.0)[:, None]
    tilt = running_sum(kicks, steps)
    size = np.hypot(tilt[:, 0], tilt[:, 1])
    sideways = np.sinc(size / np.pi)[:, None] * tilt
    heading = np.cos(size)[:, None] * direction[steps.owner]
    heading += sideways[:, :1] * first[steps.owner] + sideways[:, 1:] * second[steps.owner]
    moves = heading * steps.length_cm[:, None]
    return start_cm[steps.owner] + running_sum(moves, steps) + moves / 2, heading


def normals(direction: Floats) -> tuple[Floats, Floats]:
    """Return two unit vectors perpendicular to each direction and to each other; both (n, 3)."""
    other = np.zeros_like(direction)
    along_z = np.abs(direction[:, 2]) > 0.9
    other[along_z, 0] = 1
    other[~along_z, 2] = 1
    first = np.cross(direction, other)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return first, np.cross(direction, first)


def tilted(direction: Floats, cosine: Floats, rng: np.random.Generator) -> Floats:
    """Return directions with a given cosine to `direction`, at random azimuths around it."""
    first, second = normals(direction)
    turn = rng.uniform(0, 2 * np.pi, len(direction))
    sine = np.sqrt(np.clip(1 - cosine**2, 0, None))
    across = np.cos(turn)[:, None] * first + np.sin(turn)[:, None] * second
    return np.asarray(cosine[:, None] * direction + sine[:, None] * across)


def leave_tracks(tracks: Tracks, rng: np.random.Generator) -> tuple[Deposits, Rays, Floats]:
    """Track heavy particles through argon until they stop or reach their length.

    Returns their deposits (labelled track), the delta rays that they knock out, and their end
    points, (n, 3).
    """
    reach = argon.range_cm(tracks.kinetic_mev, tracks.mass_mev)
    steps = cut_into_steps(np.minimum(reach, tracks.length_cm))
    mass = tracks.mass_mev[steps.owner]
    behind = steps.number * steps.length_cm
    entering = argon.kinetic_mev(reach[steps.owner] - behind, mass)
    leaving = argon.kinetic_mev(reach[steps.owner] - behind - steps.length_cm, mass)
    middle = np.maximum((entering + leaving) / 2, 1e-3)
    angle = argon.scattering_angle(middle, mass, steps.length_cm)
    place, heading = walk(tracks.start_cm, tracks.direction, steps, angle=angle, rng=rng)
    deposits = Deposits(
        position_cm=place,
        energy_mev=_ionisation(entering - leaving, middle, mass, steps, rng),
        step_cm=steps.length_cm,
        time_us=tracks.time_us[steps.owner],
        label=np.full(len(mass), TRACK, np.uint8),
    )
    last = np.flatnonzero(np.diff(steps.owner, append=-1))
    ends = place[last] + heading[last] * steps.length_cm[last, None] / 2
    return deposits, _knock_out(deposits, heading, middle, mass, rng), ends


def _ionisation(
    loss_mev: Floats, kinetic: Floats, mass: Floats, steps: Steps, rng: np.random.Generator
) -> Floats:
    """Return the loss without the energy of the delta rays, with Landau's fluctuations."""
    width = argon.landau_width(steps.length_cm, argon.beta_squared(kinetic, mass))
    most = argon.largest_delta(kinetic, mass)
    carried = width * np.log(np.maximum(most / DELTA_CUT_MEV, 1))
    # A slow particle cannot give much energy to one electron: it fluctuates nearly like a Gaussian.
    narrow = np.minimum(width, most / 20)
    return argon.fluctuate(np.maximum(loss_mev - carried, 0), narrow, DELTA_CUT_MEV, rng)


def _knock_out(
    deposits: Deposits, heading: Floats, kinetic: Floats, mass: Floats, rng: np.random.Generator
) -> Rays:
    """Draw delta rays from Rutherford's 1/T^2 spectrum, from the cut to the kinematic maximum.

    They have the label of their track; electrons that their photons free are shower (`showers`).
    """
    most = argon.largest_delta(kinetic, mass)
    width = argon.landau_width(deposits.step_cm, argon.beta_squared(kinetic, mass))
    spread = np.maximum(1 / DELTA_CUT_MEV - 1 / most, 0)
    at = np.repeat(np.arange(len(most)), rng.poisson(width * spread))
    energy = 1 / (1 / DELTA_CUT_MEV - rng.uniform(size=len(at)) * spread[at])
    cosine = np.sqrt(
        energy * (most[at] + 2 * argon.ELECTRON_MEV) / (energy + 2 * argon.ELECTRON_MEV) / most[at]
    )
    return Rays(
        start_cm=deposits.position_cm[at],
        direction=tilted(heading[at], cosine, rng),
        energy_mev=energy,
        time_us=deposits.time_us[at],
        label=deposits.label[at],
    )


def concatenate(parts: list[Deposits]) -> Deposits:
    """Concatenate deposits."""
    columns: Iterable[tuple[Any, ...]] = zip(*parts, strict=True)
    return Deposits._make(np.concatenate(column) for column in columns)


def join(first: Rays, second: Rays) -> Rays:
    """Concatenate two sets of rays."""
    columns: Iterable[tuple[Any, ...]] = zip(first, second, strict=True)
    return Rays._make(np.concatenate(column) for column in columns)


def chosen(rays: Rays, which: npt.NDArray[np.bool_]) -> Rays:
    """Return the rays that the mask `which`, (n,), selects."""
    return Rays._make(column[which] for column in rays)
