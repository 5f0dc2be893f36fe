"""Electromagnetic showers: electrons radiate, photons scatter and convert, until none is left.

All showers of an event are followed together, one generation at a time. Electrons lose 2.1 MeV/cm
and radiate Tsai's spectrum in its simple form (PDG, "Passage of particles through matter"). Photons
fly until they scatter (Klein and Nishina's 1/e tail) or convert. Not simulated: positron
annihilation, Moeller scattering, and the angle of radiation (m/E, far smaller than the scattering).
Pure; refuses nothing.
"""

from __future__ import annotations

import numpy as np

from . import argon
from .argon import ELECTRON_MEV, Floats
from .particles import (
    SHOWER,
    Deposits,
    Rays,
    Steps,
    chosen,
    concatenate,
    cut_into_steps,
    join,
    running_sum,
    tilted,
    walk,
)

SOFTEST_MEV = 0.5
"""Electrons radiate photons above this energy; softer radiation counts as ionisation."""
ABSORBED_MEV = 0.15
"""A photon below this energy gives all of it to one electron."""
REST_MEV = 0.02
"""An electron below this energy has stopped."""


def leave_showers(
    electrons: Rays, photons: Rays, *, bounds_cm: Floats, rng: np.random.Generator
) -> Deposits:
    """Let electrons and photons shower, and return their deposits with the labels of the rays.

    Electrons that a radiated photon frees are labelled shower, whatever the radiating electron was.

    bounds_cm: (2, 3), the corners of the box; nothing is followed outside of it.
    """
    parts = []
    while len(electrons.energy_mev) + len(photons.energy_mev):
        freed, photons = _interact(_fly(photons, bounds_cm, rng), rng)
        deposits, radiated = _slow_down(_inside(join(electrons, freed), bounds_cm), rng)
        parts.append(deposits)
        electrons = chosen(freed, np.zeros(len(freed.energy_mev), np.bool_))
        photons = join(photons, radiated)
    return concatenate(parts) if parts else _no_deposits()


def _no_deposits() -> Deposits:
    none = np.empty(0)
    return Deposits(np.empty((0, 3)), none, none, none, np.empty(0, np.uint8))


def _inside(rays: Rays, bounds_cm: Floats) -> Rays:
    low, high = bounds_cm
    return chosen(rays, np.all((rays.start_cm >= low) & (rays.start_cm <= high), axis=1))


def _fly(photons: Rays, bounds_cm: Floats, rng: np.random.Generator) -> Rays:
    """Move photons to their next interaction, and drop those that leave the box."""
    path_cm = rng.exponential(size=len(photons.energy_mev))
    path_cm /= np.add(*argon.photon_rates(photons.energy_mev))
    return _inside(
        photons._replace(start_cm=photons.start_cm + path_cm[:, None] * photons.direction),
        bounds_cm,
    )


def _interact(photons: Rays, rng: np.random.Generator) -> tuple[Rays, Rays]:
    """Let photons interact where they are; returns freed electrons and scattered photons."""
    compton, pair = argon.photon_rates(photons.energy_mev)
    converts = rng.uniform(size=len(pair)) * (compton + pair) < pair
    absorbed = ~converts & (photons.energy_mev < ABSORBED_MEV)
    scatters = ~converts & ~absorbed
    pairs = _make_pairs(chosen(photons, converts), rng)
    freed, scattered = _scatter(chosen(photons, scatters), rng)
    return join(join(pairs, freed), chosen(photons, absorbed)), scattered


def _make_pairs(photons: Rays, rng: np.random.Generator) -> Rays:
    """Make two electrons per photon: they share its energy uniformly, at a small opening angle."""
    available = np.maximum(photons.energy_mev - 2 * ELECTRON_MEV, 0)
    share = rng.uniform(size=len(available))
    both = join(
        photons._replace(energy_mev=share * available),
        photons._replace(energy_mev=(1 - share) * available),
    )
    opening = rng.normal(size=len(both.energy_mev)) * ELECTRON_MEV
    opening /= both.energy_mev + ELECTRON_MEV
    return both._replace(direction=tilted(both.direction, np.cos(opening), rng))


def _scatter(photons: Rays, rng: np.random.Generator) -> tuple[Rays, Rays]:
    """Return the electrons and the photons of Compton scattering, from its kinematics."""
    energy = photons.energy_mev
    least = 1 / (1 + 2 * energy / ELECTRON_MEV)
    ratio = least ** rng.uniform(size=len(energy))  # the photon's energy after / before
    cosine = np.clip(1 - ELECTRON_MEV / energy * (1 / ratio - 1), -1, 1)
    turned = tilted(photons.direction, cosine, rng)
    left = energy[:, None] * (photons.direction - ratio[:, None] * turned)
    left /= np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-12)
    freed = photons._replace(direction=left, energy_mev=(1 - ratio) * energy)
    return freed, photons._replace(direction=turned, energy_mev=ratio * energy)


def _slow_down(electrons: Rays, rng: np.random.Generator) -> tuple[Deposits, Rays]:
    """Track electrons until they stop; returns their deposits and the photons they radiate."""
    steps = cut_into_steps(_longest_path(electrons.energy_mev))
    share = _radiated_share(electrons.energy_mev[steps.owner], steps, rng)
    energy = _energy_along(electrons.energy_mev, share, steps)
    mean = np.clip(argon.MIP_MEV_CM * steps.length_cm, 0, np.maximum(energy, 0))
    angle = argon.scattering_angle(np.maximum(energy, 0.05), ELECTRON_MEV, steps.length_cm)
    place, heading = walk(electrons.start_cm, electrons.direction, steps, angle=angle, rng=rng)
    width = np.minimum(argon.landau_width(steps.length_cm, 1.0), mean / 20 + 1e-9)
    moves = energy > REST_MEV
    deposits = Deposits(
        position_cm=place[moves],
        energy_mev=argon.fluctuate(mean, width, 1.0, rng)[moves],
        step_cm=steps.length_cm[moves],
        time_us=electrons.time_us[steps.owner][moves],
        label=electrons.label[steps.owner][moves],
    )
    photon_mev = share * (energy - mean)
    emits = moves & (photon_mev > REST_MEV)
    return deposits, Rays(
        start_cm=place[emits],
        direction=heading[emits],
        energy_mev=photon_mev[emits],
        time_us=electrons.time_us[steps.owner][emits],
        label=np.full(np.count_nonzero(emits), SHOWER, np.uint8),
    )


def _longest_path(energy_mev: Floats) -> Floats:
    """Return a safe upper limit of the path.

    It is the path with ionisation alone or, if shorter, the mean path with radiation plus three
    radiation lengths.
    """
    with_radiation = np.log1p(energy_mev / argon.CRITICAL_ENERGY_MEV) + 3
    return np.minimum(energy_mev / argon.MIP_MEV_CM, with_radiation * argon.RADIATION_LENGTH_CM)


def _radiated_share(energy_mev: Floats, steps: Steps, rng: np.random.Generator) -> Floats:
    """Draw the share of its energy that an electron radiates at the end of each step, mostly 0.

    dN/dy = (4/3 - 4y/3 + y^2) / y per radiation length; at most one photon per step.
    """
    octaves = np.log(np.maximum(energy_mev / SOFTEST_MEV, 1))
    share = np.exp(-octaves * rng.uniform(size=len(octaves)))
    chance = 4 / 3 * steps.length_cm / argon.RADIATION_LENGTH_CM * octaves
    chance *= 1 - share + 0.75 * share**2
    return np.where(rng.uniform(size=len(octaves)) < chance, np.minimum(share, 0.999), 0.0)


def _energy_along(energy_mev: Floats, share: Floats, steps: Steps) -> Floats:
    """Return the energy at the start of each step of length h.

    It solves E' = (E - 2.1 MeV/cm h) (1 - share) for all steps at once.
    """
    log_kept = np.maximum(running_sum(np.log1p(-share), steps), -12)  # at e^-12 it has stopped
    lost = running_sum(np.exp(-log_kept), steps) * steps.length_cm * argon.MIP_MEV_CM
    return np.asarray(np.exp(log_kept) * (energy_mev[steps.owner] - lost))
