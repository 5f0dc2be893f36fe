"""Draws the primary particles of a neutrino interaction, in a few topologies. Pure.

This is a toy: energies and angles come from simple distributions of about the right shape for the
Booster beam (mean 0.8 GeV, along z), not from a generator such as GENIE. It refuses nothing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from .argon import Floats

Kind = Literal["muon", "proton", "pion", "electron", "photon"]

PI0_MEV = 134.98


class Primary(NamedTuple):
    """A particle that leaves the vertex."""

    kind: Kind
    kinetic_mev: float
    direction: Floats  # (3,), a unit vector; z is the beam's


class Interaction(NamedTuple):
    """An interaction: its name as physicists write it, and its primary particles."""

    name: str
    primaries: tuple[Primary, ...]


def interact(rng: np.random.Generator) -> Interaction:
    """Draw one interaction: 45 % muon neutrinos, 35 % electron neutrinos, 20 % neutral currents."""
    draw = rng.uniform()
    if draw < 0.45:
        lepton = Primary("muon", float(rng.gamma(3, 170) + 60), _forward(rng, 2.5))
        return _with_hadrons("νμ CC: μ", (lepton,), rng)
    if draw < 0.80:
        lepton = Primary("electron", float(rng.gamma(2.5, 220) + 80), _forward(rng, 2.5))
        return _with_hadrons("νe CC: e", (lepton,), rng)  # noqa: RUF001
    return _with_hadrons("NC: π⁰", pi0(float(rng.gamma(3, 80)), _forward(rng, 1.0), rng), rng)


def pi0(kinetic_mev: float, direction: Floats, rng: np.random.Generator) -> tuple[Primary, Primary]:
    """Draw the two photons of a neutral pion that decays at once (isotropic at rest, boosted)."""
    gamma = 1 + kinetic_mev / PI0_MEV
    boost = np.sqrt(gamma**2 - 1)
    at_rest = _anywhere(rng) * PI0_MEV / 2
    along = float(at_rest @ direction)
    photons = []
    for sign in (1, -1):
        push = (gamma - 1) * sign * along + boost * PI0_MEV / 2
        momentum = sign * at_rest + push * direction
        energy = float(np.linalg.norm(momentum))
        photons.append(Primary("photon", energy, momentum / energy))
    return photons[0], photons[1]


def _with_hadrons(
    name: str, primaries: tuple[Primary, ...], rng: np.random.Generator
) -> Interaction:
    """Add protons (mostly one or two), sometimes a charged pion, and rarely a neutral pion."""
    protons = int(rng.choice([0, 1, 2, 3], p=[0.1, 0.5, 0.3, 0.1]))
    for _ in range(protons):
        primaries += (Primary("proton", float(rng.gamma(2, 50) + 25), _forward(rng, 1.2)),)
    if protons:
        name += " + p" if protons == 1 else f" + {protons}p"
    if rng.uniform() < 0.2:
        primaries += (Primary("pion", float(rng.gamma(2, 80) + 20), _forward(rng, 0.8)),)
        name += " + π⁺"
    if not name.startswith("NC") and rng.uniform() < 0.15:
        primaries += pi0(float(rng.gamma(2, 80)), _forward(rng, 0.8), rng)
        name += " + π⁰"
    return Interaction(name, primaries)


def _anywhere(rng: np.random.Generator) -> Floats:
    direction = rng.normal(size=3)
    return np.asarray(direction / np.linalg.norm(direction))


def _forward(rng: np.random.Generator, pull: float) -> Floats:
    """Draw a direction around the beam, with density exp(pull cos(angle)) per solid angle."""
    lowest = np.exp(-2 * pull)
    cosine = 1 + np.log(lowest + rng.uniform() * (1 - lowest)) / pull
    turn = rng.uniform(0, 2 * np.pi)
    sine = np.sqrt(max(1 - cosine**2, 0))
    return np.array([sine * np.cos(turn), sine * np.sin(turn), cosine])
