"""Training crops against the images that they were cut from, and weights against LArCV1's loops."""

from __future__ import annotations

import numpy as np
import pytest

from lartpc import Image, ImageError
from lartpc.crops import chain
from lartpc.training.batches import Dice, Recipe
from lartpc.training.sparse import SparseImage, sparse
from lartpc.training.training_crops import WEIGHT_MAX, Arrays, class_weights, draw, empty
from tests.support import feed_files
from tests.support.images import meta

PLAIN = Recipe(rows=64, cols=48, flips=False, gain=0.0)


def planes_of(number: int) -> tuple[list[SparseImage], tuple[Image, ...], tuple[Image, ...]]:
    event = feed_files.events(number + 1)[number]
    wire, segment = event.images["wire"], event.images["segment"]
    return [sparse(*pair) for pair in zip(wire, segment, strict=True)], wire, segment


def drawn(planes: list[SparseImage], recipe: Recipe, seed: int) -> tuple[Arrays, list[object]]:
    arrays = empty(recipe, 1).of(0)
    return arrays, list(draw(planes, recipe, Dice(seed, 0, 0), arrays))


@pytest.mark.parametrize("number", range(4))
def test_a_crop_is_what_the_image_holds_at_the_place_that_its_meta_says(number: int) -> None:
    planes, wire, segment = planes_of(number)
    arrays = empty(PLAIN, 1).of(0)
    metas = draw(planes, PLAIN, Dice(number, 0, 0), arrays)
    tops = set()
    for plane, where in enumerate(metas):
        whole = wire[plane].meta
        top = round((whole.max_y - where.max_y) / whole.pixel_height)
        left = round((where.min_x - whole.min_x) / whole.pixel_width)
        part = np.s_[top : top + 64, left : left + 48]
        want = chain.threshold(wire[plane].pixels[part])
        np.testing.assert_array_equal(arrays.images[plane], want)
        np.testing.assert_array_equal(
            arrays.labels[plane], np.where(want > 0, segment[plane].pixels[part], 0)
        )
        tops.add(top)
    assert len(tops) == 1  # the planes share their ticks


@pytest.mark.slow
def test_flips_mirror_images_labels_and_weights_alike() -> None:
    planes, _, _ = planes_of(1)
    flipped = Recipe(rows=64, cols=48, flips=True, gain=0.0)
    seen = set()
    for seed in range(30):
        arrays, _ = drawn(planes, flipped, seed)
        # the same dice, but mirrored back: as if they had not been mirrored
        for rows, cols in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
            if all(
                any(
                    np.array_equal(arrays.images[p][::rows, ::cols], whole)
                    for whole in _windows(planes[p])
                )
                for p in range(3)
            ):
                seen.add((rows, cols))
        for plane in range(3):
            np.testing.assert_array_equal(
                arrays.weights[plane], class_weights(arrays.labels[plane])
            )
            assert not arrays.labels[plane][arrays.images[plane] == 0].any()
    assert seen == {(1, 1), (-1, 1), (1, -1), (-1, -1)}


def _windows(image: SparseImage) -> list[np.ndarray]:
    """Every crop of 64 x 48 that there is."""
    whole = np.zeros((image.meta.rows, image.meta.cols), np.float32)
    whole[image.row, image.col] = image.adc
    whole = chain.threshold(whole)
    return list(np.lib.stride_tricks.sliding_window_view(whole, (64, 48)).reshape(-1, 64, 48))


def test_a_gain_makes_pixels_brighter_before_the_threshold() -> None:
    planes, _, _ = planes_of(1)
    ratios = set()
    for seed in range(8):
        loud, _ = drawn(planes, Recipe(rows=96, cols=128, flips=False, gain=0.2), seed)
        plain, _ = drawn(planes, Recipe(rows=96, cols=128, flips=False, gain=0.0), seed)
        both = (loud.images > 0) & (plain.images > 0) & (loud.images < 500) & (plain.images < 500)
        ratio = loud.images[both] / plain.images[both]
        assert np.ptp(ratio) < 1e-5
        ratios.add(round(float(ratio[0]), 3))
    assert len(ratios) > 4
    assert min(ratios) >= 0.8
    assert max(ratios) <= 1.2


def test_crops_hold_charge_and_more_showers_if_asked() -> None:
    planes, _, _ = planes_of(1)
    shares = []
    for share in (0.0, 1.0):
        recipe = Recipe(rows=16, cols=16, shower_share=share)
        labels = [drawn(planes, recipe, seed)[0].labels for seed in range(40)]
        assert sum(one.any() for one in labels) == len(labels)
        shares.append(np.mean([(one == 1).any() for one in labels]))
    assert shares[1] > shares[0]
    assert shares[1] == 1


def test_an_image_without_charge_gives_empty_crops() -> None:
    nothing = Image(meta(0, 96, 128), np.zeros((96, 128), np.float32))
    arrays, _ = drawn([sparse(nothing, nothing)], Recipe(planes=(0,), rows=96, cols=100), 1)
    assert not arrays.images.any()
    assert (arrays.weights == 1).all()


def weights_by_loops(labels: np.ndarray, most: int) -> np.ndarray:
    """As SegWeightTrackShower.cxx of LArCV1 does it, pixel by pixel."""
    rows, cols = labels.shape
    weights = np.zeros(labels.shape)
    near = np.zeros(labels.shape, bool)
    for row in range(rows):
        for col in range(cols):
            around = labels[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2]
            near[row, col] = labels[row, col] == 0 and bool((around > 0).any())
    for where in (labels == 1, labels == 2, near):
        if where.sum():
            weights[where] += int(labels.size / where.sum())
    return np.minimum(1 + weights, most)


@pytest.mark.parametrize("density", [0.0, 0.001, 0.02, 0.5, 1.0])
def test_weights_are_larcv1s(density: float) -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(1, 3, (40, 30)).astype(np.uint8) * (rng.random((40, 30)) < density)
    labels = labels.astype(np.uint8)
    np.testing.assert_array_equal(class_weights(labels), weights_by_loops(labels, WEIGHT_MAX))


def test_weights_balance_the_classes() -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[5:8, 5:30], labels[40, 10:60] = 1, 2
    weights = class_weights(labels)
    of_class = [weights[labels == label].sum() for label in (1, 2)]
    assert of_class[0] == pytest.approx(of_class[1], rel=0.05)


def test_labels_that_are_no_classes_are_refused() -> None:
    where = meta(0, 4, 4)
    adc, labels = (Image(where, np.full((4, 4), value, np.float32)) for value in (1, 3))
    with pytest.raises(ImageError, match="want labels 0, 1 and 2, got"):
        sparse(adc, labels)


def test_labels_of_another_size_are_refused() -> None:
    adc, labels = (Image(meta(0, 4, n), np.zeros((4, n), np.float32)) for n in (4, 5))
    with pytest.raises(ImageError, match=r"want labels of \(4, 4\) pixels"):
        sparse(adc, labels)
