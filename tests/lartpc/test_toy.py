"""The toy detector: the same event each time, the same charge on each plane, labels that fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lartpc.errors import ParameterError
from lartpc.simulation import toy
from lartpc.simulation.argon import ELECTRON_MEV, MIP_MEV_CM, MUON_MEV, visible
from lartpc.simulation.chamber import PLANES, Chamber
from lartpc.simulation.neutrino import PI0_MEV, interact, pi0
from lartpc.simulation.particles import SHOWER, TRACK, Deposits
from lartpc.simulation.toy import CROI, SEGMENT, WIRE, ToySettings, dead_columns, make
from lartpc.simulation.wires import Response, digitise, true_charge

SMALL = ToySettings(Chamber(256, 256))
SIZES = [(64, 64), (96, 160), (512, 512), (512, 864), (1008, 3456)]


def pixels(event: toy.ToyEvent, producer: str) -> np.ndarray:
    return np.stack([image.pixels for image in event.event.images[producer]])


def point(chamber: Chamber, place: tuple[float, float, float], label: int = TRACK) -> Deposits:
    """A deposit of 10 MeV, as of a minimum ionising particle."""
    one = np.ones(1)
    length = 10 / MIP_MEV_CM * one
    inside = np.array([place]) * (chamber.bounds_cm[1] - chamber.bounds_cm[0])
    return Deposits(
        inside + chamber.bounds_cm[0], 10 * one, length, 0 * one, np.full(1, label, np.uint8)
    )


def test_an_event_is_the_same_whatever_else_is_made() -> None:
    alone = make(7, seed=3, settings=SMALL)
    among = list(toy.events(10, seed=3, settings=SMALL))[7]
    later = next(toy.events(1, seed=3, settings=SMALL, start=7))
    for other in (among, later):
        assert other.rse == alone.event.rse == (3, 0, 7)
        assert other.rois == alone.event.rois
        for producer in (WIRE, SEGMENT):
            for mine, theirs in zip(
                alone.event.images[producer], other.images[producer], strict=True
            ):
                assert mine.meta == theirs.meta
                assert np.array_equal(mine.pixels, theirs.pixels)


def test_other_seeds_and_indices_give_other_events() -> None:
    result = [(1, 2), (2, 1), (1, 1), (12, 1)]
    images = [pixels(make(index, seed=seed, settings=SMALL), WIRE) for seed, index in result]
    for first in range(len(images)):
        for second in range(first):
            assert not np.array_equal(images[first], images[second])


@pytest.mark.parametrize(("rows", "cols"), SIZES)
def test_every_size_has_three_sparse_planes_that_share_the_time_axis(rows: int, cols: int) -> None:
    settings = ToySettings(Chamber(rows, cols))
    for index in range(3):
        result = make(index, seed=1, settings=settings)
        for producer in (WIRE, SEGMENT):
            images = result.event.images[producer]
            assert [image.meta.plane for image in images] == [0, 1, 2]
            assert {(image.meta.min_y, image.meta.max_y) for image in images} == {
                (2400.0, 2400.0 + 6 * rows)
            }
            assert all(image.meta.tick_order == "backward" for image in images)
            assert all(image.pixels.shape == (rows, cols) for image in images)
        adc = pixels(result, WIRE)
        assert adc.dtype == np.float32
        assert np.isfinite(adc).all()
        assert adc.min() == 0
        assert 0 < (adc > 0).mean() < 0.15
        assert set(np.unique(pixels(result, SEGMENT))) <= {0, 1, 2}


def test_labels_lie_on_charge_and_charge_is_labelled() -> None:
    settings = ToySettings(Chamber(512, 512))
    adc, labels = (
        np.stack([pixels(make(k, seed=5, settings=settings), name) for k in range(12)])
        for name in (WIRE, SEGMENT)
    )
    bright, labelled = adc >= 10, labels > 0
    assert not (labelled & ~bright).any()
    assert labelled.sum() >= 0.99 * bright.sum()
    assert (labels == SHOWER).sum() > 0.1 * labelled.sum()
    assert (labels == TRACK).sum() > 0.3 * labelled.sum()


def test_without_noise_a_label_stands_exactly_where_the_charge_passes_the_threshold() -> None:
    quiet = Response(noise_adc=0, noise_hits=0)
    for index in range(4):
        result = make(index, seed=1, settings=ToySettings(Chamber(256, 256), quiet))
        assert np.array_equal(pixels(result, WIRE) >= 10, pixels(result, SEGMENT) > 0)


def test_a_label_follows_what_is_read_not_what_noise_took_or_added() -> None:
    charge = np.full((200, 200), 10, np.float32)
    alive = np.zeros(200, np.bool_)
    adc, labels = digitise(
        (np.zeros_like(charge), charge), alive, Response(noise_hits=0), np.random.default_rng(1)
    )
    assert 0.4 < (adc >= 10).mean() < 0.6
    assert np.array_equal(labels == TRACK, adc >= 10)


def test_an_overlap_is_shower_only_where_showers_gave_more_than_twice_the_tracks() -> None:
    shower = np.array([[50, 30, 90, 0, 4]], np.float32)
    track = np.array([[0, 30, 30, 50, 4]], np.float32)
    alive = np.zeros(5, np.bool_)
    _, labels = digitise((shower, track), alive, Response(noise_hits=0), np.random.default_rng(1))
    assert labels.tolist() == [[SHOWER, TRACK, SHOWER, TRACK, 0]]


def test_dead_wires_read_nothing_and_stay_dead_for_a_seed() -> None:
    settings = ToySettings(Chamber(256, 512), Response(dead_fraction=0.2, noise_hits=500))
    dead = dead_columns(4, settings)
    for mask in dead:
        assert mask.mean() == pytest.approx(0.2, abs=0.01)
    for index in range(3):
        result = make(index, seed=4, settings=settings)
        for plane in PLANES:
            assert not pixels(result, WIRE)[plane][:, dead[plane]].any()
            assert not pixels(result, SEGMENT)[plane][:, dead[plane]].any()
    assert not np.array_equal(dead[0], dead_columns(5, settings)[0])


@pytest.mark.slow
@pytest.mark.parametrize("settings", [SMALL, ToySettings(Chamber(1008, 3456))])
def test_the_croi_contains_the_vertex_on_every_plane(settings: ToySettings) -> None:
    for index in range(10):
        result = make(index, seed=1, settings=settings)
        (roi,) = result.event.rois[CROI]
        assert roi.mcst_index == 65535
        assert [box.plane for box in roi.boxes] == [0, 1, 2]
        assert len({(box.min_y, box.max_y) for box in roi.boxes}) == 1
        place = result.vertex_cm[None]
        tick = settings.chamber.tick(place, 0.0)[0]
        for plane, box in enumerate(roi.boxes):
            image = settings.chamber.meta(plane)
            assert box.min_x <= settings.chamber.wire(plane, place)[0] <= box.max_x
            assert box.min_y <= tick <= box.max_y
            assert image.min_x <= box.min_x < box.max_x <= image.max_x
            assert image.min_y <= box.min_y < box.max_y <= image.max_y
            assert (box.pixel_width, box.pixel_height) == (1, 6)


def test_the_full_size_chamber_is_microboone() -> None:
    chamber = Chamber(1008, 3456)
    assert chamber.size_cm == pytest.approx((256, 233, 1037), rel=0.01)
    low, high = chamber.bounds_cm
    corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1])
                        for z in (low[2], high[2])])  # fmt: skip
    wires = [chamber.wire(plane, corners) for plane in PLANES]
    assert [(wire.min(), wire.max()) for wire in wires] == [
        pytest.approx((0, 2400), abs=5),  # MicroBooNE has 2400 wires on U and V
        pytest.approx((0, 2400), abs=5),
        pytest.approx((0, 3456), abs=1),
    ]


@pytest.mark.parametrize("place", [(0.5, 0.5, 0.5), (0.05, 0.3, 0.7), (0.9, 0.8, 0.3)])
def test_a_point_leaves_the_same_charge_at_the_same_time_on_every_plane(
    place: tuple[float, float, float],
) -> None:
    chamber, response = Chamber(256, 256), Response()
    for label in (SHOWER, TRACK):
        deposit = point(chamber, place, label)
        maps = [true_charge(deposit, chamber, response, plane)[label - 1] for plane in PLANES]
        others = [true_charge(deposit, chamber, response, plane)[2 - label] for plane in PLANES]
        want = visible(deposit.energy_mev, deposit.step_cm)[0] * response.adc_per_mev
        assert [image.sum() for image in maps] == pytest.approx([want] * 3, rel=0.01)
        assert not np.any(others)
        times = [image.sum(axis=1).argmax() for image in maps]
        assert len(set(times)) == 1
        tick = chamber.tick(deposit.position_cm, 0.0)[0]
        assert times[0] == int((chamber.last_tick - tick) / 6)
        for plane, image in enumerate(maps):
            wire = chamber.wire(plane, deposit.position_cm)[0]
            assert image.sum(axis=0).argmax() == pytest.approx(wire - 0.5, abs=0.6)


def test_charge_that_drifts_farther_is_wider_and_no_less() -> None:
    chamber, response = Chamber(1008, 512), Response()
    near, far = (
        true_charge(point(chamber, (x, 0.5, 0.5)), chamber, response, 2)[1] for x in (0.02, 0.98)
    )
    assert far.sum() == pytest.approx(near.sum(), rel=0.01)
    assert far.max() < 0.8 * near.max()


def test_a_whole_events_charge_agrees_between_planes() -> None:
    settings = ToySettings(
        Chamber(512, 512), Response(dead_fraction=0, noise_adc=0, noise_hits=0), cosmics=0
    )
    for index in range(6):
        sums = pixels(make(index, seed=8, settings=settings), WIRE).sum(axis=(1, 2))
        assert sums == pytest.approx([sums.mean()] * 3, rel=0.05)


def test_a_minimum_ionising_track_has_20_to_60_adc_in_its_brightest_pixels() -> None:
    chamber, response = Chamber(256, 256), Response()
    low, high = chamber.bounds_cm
    z = np.arange(low[2] + 10, high[2] - 10, 0.1)
    for tilt in (0.0, 0.3, 1.0):
        place = np.stack([high[0] / 2 + tilt * (z - z.mean()) / 2, 0 * z, z], axis=1)
        step = np.full(len(z), 0.1 * np.hypot(1, tilt / 2))
        track = Deposits(place, MIP_MEV_CM * step, step, 0 * z, np.full(len(z), TRACK, np.uint8))
        image = true_charge(chamber.keep(track), chamber, response, 2)[1]
        ridge = image.max(axis=0)[60:-60]
        assert 20 < ridge.min() <= ridge.max() < 60
        assert image[:, 60:-60].sum(axis=0).mean() == pytest.approx(
            response.mip_adc * np.hypot(1, tilt / 2), rel=0.05
        )


def test_other_pixel_sizes_show_the_same_volume() -> None:
    fine, coarse = Chamber(512, 512, 1.0, 6.0), Chamber(256, 128, 4.0, 12.0)
    assert fine.bounds_cm == pytest.approx(coarse.bounds_cm)
    sums = [
        true_charge(point(c, (0.4, 0.5, 0.6)), c, Response(), 0)[1].sum() for c in (fine, coarse)
    ]
    assert sums[0] == pytest.approx(sums[1], rel=0.01)
    assert coarse.meta(1).pixel_width == 4
    assert coarse.meta(1).pixel_height == 12


def test_a_neutral_pion_decays_into_two_photons_of_its_mass() -> None:
    rng = np.random.default_rng(1)
    for kinetic_mev in (1.0, 100.0, 900.0):
        one, two = pi0(kinetic_mev, np.array([0.6, 0.0, 0.8]), rng)
        momentum = one.kinetic_mev * one.direction + two.kinetic_mev * two.direction
        energy = one.kinetic_mev + two.kinetic_mev
        assert energy == pytest.approx(kinetic_mev + PI0_MEV, rel=1e-6)
        assert energy**2 - momentum @ momentum == pytest.approx(PI0_MEV**2, rel=1e-6)


def test_interactions_go_forward_and_all_kinds_occur() -> None:
    rng = np.random.default_rng(1)
    result = [interact(rng) for _ in range(400)]
    kinds = [primary.kind for one in result for primary in one.primaries]
    assert {"muon", "electron", "photon", "proton", "pion"} == set(kinds)
    assert {one.name.split(":")[0] for one in result} == {"νμ CC", "νe CC", "NC"}  # noqa: RUF001
    forward = [p.direction[2] for one in result for p in one.primaries if p.kind == "muon"]
    assert np.mean(forward) > 0.4
    for one in result:
        for primary in one.primaries:
            assert np.linalg.norm(primary.direction) == pytest.approx(1)
            assert primary.kinetic_mev > ELECTRON_MEV


def test_cosmics_come_from_above_and_cross_the_readout() -> None:
    chamber = Chamber(512, 512)
    muons = toy._cosmics(300, chamber, np.random.default_rng(1))
    assert set(muons.mass_mev) == {MUON_MEV}
    assert (muons.direction[:, 1] < 0).all()
    assert np.mean(-muons.direction[:, 1]) == pytest.approx(0.75, abs=0.03)  # cos^2: 3/4
    assert chamber.contains(muons.start_cm + 1e-6 * muons.direction).all()
    settings = ToySettings(chamber, cosmics=9)
    counts = [make(k, seed=1, settings=settings).cosmics for k in range(20)]
    assert np.mean(counts) == pytest.approx(9, abs=2.5)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Chamber(8, 512),
        lambda: Chamber(512, 100_000_000),
        lambda: Chamber((1 << 14) + 1, 512),
        lambda: Chamber(512, 512, wires_per_pixel=0),
        lambda: Response(dead_fraction=0.9),
        lambda: Response(noise_adc=-1),
        lambda: Response(mip_adc=0),
        lambda: Response(threshold_adc=float("nan")),
        lambda: ToySettings(cosmics=-1),
        lambda: ToySettings(roi_pixels=0),
        lambda: make(-1, seed=1),
        lambda: make(1, seed=-1),
    ],
)
def test_settings_out_of_range_are_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ParameterError, match="want"):
        wrong()
