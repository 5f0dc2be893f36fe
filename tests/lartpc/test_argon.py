"""Particles in argon against published numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lartpc.simulation import argon
from lartpc.simulation.particles import (
    SHOWER,
    TRACK,
    Rays,
    Tracks,
    cut_into_steps,
    leave_tracks,
    running_sum,
)
from lartpc.simulation.showers import leave_showers

# Muons in liquid argon, PDG 2012, muonloss_289.pdf: kinetic energy in MeV, CSDA range in g/cm2.
MUON_RANGES = {
    10: 0.9833,
    20: 3.321,
    40: 10.58,
    100: 42.50,
    200: 106.3,
    400: 238.5,
    1000: 616.3,
}
EVERYWHERE = np.array([[-1e5] * 3, [1e5] * 3])


def rays(count: int, energy_mev: float) -> Rays:
    along_z = np.tile([0.0, 0.0, 1.0], (count, 1))
    energy = np.full(count, energy_mev)
    return Rays(np.zeros((count, 3)), along_z, energy, np.zeros(count), np.full(count, 1, np.uint8))


def tracks(count: int, kinetic_mev: float, mass_mev: float) -> Tracks:
    along_z = np.tile([0.0, 0.0, 1.0], (count, 1))
    kinetic, mass = np.full(count, kinetic_mev), np.full(count, mass_mev)
    return Tracks(
        np.zeros((count, 3)), along_z, kinetic, mass, np.full(count, np.inf), np.zeros(count)
    )


@pytest.mark.parametrize(("kinetic_mev", "range_g_cm2"), MUON_RANGES.items())
def test_muon_ranges_are_those_of_the_particle_data_group(
    kinetic_mev: float, range_g_cm2: float
) -> None:
    length = argon.range_cm(np.array([float(kinetic_mev)]), argon.MUON_MEV)
    assert length[0] * argon.DENSITY_G_CM3 == pytest.approx(range_g_cm2, rel=0.012)


def test_the_least_energy_loss_is_that_of_the_particle_data_group() -> None:
    loss = argon.stopping_power(np.geomspace(50, 5000, 400), argon.MUON_MEV)
    assert loss.min() / argon.DENSITY_G_CM3 == pytest.approx(1.508, rel=0.005)


def test_photon_attenuation_is_near_that_of_xcom() -> None:
    compton, pairs = argon.photon_rates(np.array([0.5, 1.0, 10.0]))
    # NIST XCOM, argon: cm2/g
    assert (compton + pairs) / argon.DENSITY_G_CM3 == pytest.approx([0.078, 0.0576, 0.026], rel=0.1)


@given(st.floats(0.5, 5000), st.sampled_from([argon.MUON_MEV, argon.PION_MEV, argon.PROTON_MEV]))
def test_a_range_gives_its_energy_back(kinetic_mev: float, mass_mev: float) -> None:
    length = argon.range_cm(np.array([kinetic_mev]), mass_mev)
    assert argon.kinetic_mev(length, mass_mev)[0] == pytest.approx(kinetic_mev, rel=1e-6)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=20))
def test_steps_add_up_to_each_particles_length(lengths: list[float]) -> None:
    steps = cut_into_steps(np.array(lengths))
    earlier = running_sum(steps.length_cm, steps)
    assert np.bincount(steps.owner, steps.length_cm) == pytest.approx(np.array(lengths), abs=1e-12)
    assert earlier == pytest.approx(steps.number * steps.length_cm, abs=1e-9)


def test_fluctuations_keep_the_mean_and_have_landaus_peak_and_tail() -> None:
    mean = np.full(400_000, argon.MIP_MEV_CM * 0.3)
    width = argon.landau_width(np.full(400_000, 0.3), 1.0)
    drawn = argon.fluctuate(mean, width, 1.0, np.random.default_rng(1))
    counts, edges = np.histogram(drawn, np.arange(0.3, 1.5, 0.01))
    assert drawn.mean() == pytest.approx(mean[0], rel=0.02)
    # PDG: 1.7 MeV/cm is the most probable
    assert edges[counts.argmax()] == pytest.approx(0.51, abs=0.03)


def landau_above(value: float) -> float:
    """Landau's own integral for the chance to exceed a value."""
    t = np.linspace(1e-9, 30, 300_001)
    integrand = np.exp(-t * np.log(t) - value * t) * np.sin(np.pi * t) / t
    return float(integrand.sum() * (t[1] - t[0]) / np.pi)


def test_fluctuations_follow_landaus_integral() -> None:
    count, cut_mev = 400_000, 1e4
    drawn = argon.fluctuate(np.full(count, 1e3), np.ones(count), cut_mev, np.random.default_rng(1))
    landau = drawn - 1e3 + np.log(cut_mev) + 0.577
    for value in (-1.0, 0.0, 3.0, 15.0, 100.0):
        assert (landau > value).mean() == pytest.approx(landau_above(value), rel=0.05)


def test_a_proton_is_brightest_at_its_end() -> None:
    deposits, deltas, ends = leave_tracks(
        tracks(20, 150.0, argon.PROTON_MEV), np.random.default_rng(1)
    )
    loss = deposits.energy_mev / deposits.step_cm
    depth = deposits.position_cm[:, 2]
    assert not len(deltas.energy_mev)
    assert set(deposits.label) == {TRACK}
    assert deposits.energy_mev.sum() == pytest.approx(20 * 150, rel=0.01)
    # PDG: a muon of the same speed, 16.9 MeV, goes 2.48 g/cm2; masses are as 8.88 to 1
    assert ends[:, 2].mean() == pytest.approx(2.48 * 8.88 / argon.DENSITY_G_CM3, abs=0.3)
    assert loss[depth > 15].mean() > 2.5 * loss[depth < 5].mean()


def test_muons_and_their_delta_rays_keep_the_energy_and_scatter_as_highland_says() -> None:
    deposits, deltas, ends = leave_tracks(
        tracks(300, 1000.0, argon.MUON_MEV)._replace(length_cm=np.full(300, 100.0)),
        np.random.default_rng(1),
    )
    loss = (deposits.energy_mev.sum() + deltas.energy_mev.sum()) / 300
    # PDG, the same table: from 616.3 g/cm2 down by 139.6 g/cm2 leaves 773 MeV
    assert loss == pytest.approx(227, rel=0.03)
    # PDG: 13.6 MeV / (beta p) sqrt(x / X0) x / sqrt(3), with p of 1.0 GeV/c on the way
    assert ends[:, :2].std() == pytest.approx(
        13.6 / 990 * np.sqrt(100 / 14) * 100 / 3**0.5, rel=0.2
    )
    assert {TRACK} == set(deltas.label)


def test_what_a_delta_rays_photons_free_is_shower_the_ray_itself_its_tracks() -> None:
    bounds_cm = np.array([[-500.0] * 3, [500.0] * 3])
    deltas = rays(40, 200.0)._replace(label=np.full(40, TRACK, np.uint8))
    deposits = leave_showers(
        deltas, rays(0, 1.0), bounds_cm=bounds_cm, rng=np.random.default_rng(1)
    )
    ionisation = deposits.energy_mev[deposits.label == TRACK].sum()
    # far above the critical energy of 32.8 MeV an electron radiates most of what it has
    assert 0.2 < ionisation / deposits.energy_mev.sum() < 0.5
    assert {SHOWER, TRACK} == set(deposits.label)


@pytest.mark.parametrize("energy_mev", [5.0, 50.0, 500.0])
@pytest.mark.parametrize("electrons", [True, False])
def test_showers_keep_their_energy(electrons: bool, energy_mev: float) -> None:
    none, some = rays(0, 1.0), rays(60, energy_mev)
    pair = (some, none) if electrons else (none, some)
    deposits = leave_showers(*pair, bounds_cm=EVERYWHERE, rng=np.random.default_rng(1))
    assert deposits.energy_mev.sum() == pytest.approx(
        60 * energy_mev, rel=0.07 if electrons else 0.2
    )


def test_a_shower_is_as_deep_and_as_wide_as_argon_makes_it() -> None:
    deposits = leave_showers(
        rays(40, 1000.0), rays(0, 1.0), bounds_cm=EVERYWHERE, rng=np.random.default_rng(1)
    )
    x, y, z = deposits.position_cm.T
    depth = np.average(z, weights=deposits.energy_mev)
    # PDG: the maximum at ln(E/Ec) - 0.5 = 2.9 lengths, the mean 1/b = 2 lengths behind it
    assert depth / argon.RADIATION_LENGTH_CM == pytest.approx(4.9, abs=0.6)
    inside = np.hypot(x, y) < 2 * 9.04  # two Moliere radii hold about 95 %
    assert np.average(inside, weights=deposits.energy_mev) == pytest.approx(0.94, abs=0.03)


@pytest.mark.slow
def test_a_photon_travels_before_it_converts_and_then_loses_twice_as_much() -> None:
    starts, losses = [], []
    rng = np.random.default_rng(1)
    for _ in range(150):
        deposits = leave_showers(rays(0, 1.0), rays(1, 400.0), bounds_cm=EVERYWHERE, rng=rng)
        first = deposits.position_cm[0]  # scattered photons also go back, and leave blips there
        near = np.linalg.norm(deposits.position_cm - first, axis=1) < 2.0
        starts.append(first[2])
        losses.append(deposits.energy_mev[near].sum() / 2.0)
    assert np.mean(starts) == pytest.approx(9 / 7 * argon.RADIATION_LENGTH_CM, rel=0.25)
    assert np.median(losses) == pytest.approx(2 * argon.MIP_MEV_CM, rel=0.2)
