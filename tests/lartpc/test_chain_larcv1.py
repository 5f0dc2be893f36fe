"""The chain against the real LArCV1's: crop by crop, meta by meta, text by text, pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from lartpc import Event, TickOrder, open_reader
from lartpc.crops.chain import Croi, CropPlan, Scores, plan, stitch
from tests.support.images import cut_all, numbers, same_image
from tests.support.shared import data

PLANES = (0, 1, 2)


@pytest.fixture(scope="module")
def golden() -> Iterator[np.lib.npyio.NpzFile]:
    with np.load(data("larcv1_pipeline_golden.npz")) as file:
        yield file


@pytest.fixture(scope="module")
def events() -> list[Event]:
    path = data("larcv1_pipeline_in.root")
    with open_reader(path, tick_order="backward", rois=["croi"]) as reader:
        return list(reader)


def planned(event: Event) -> CropPlan:
    return plan(event, Croi(), images="modimg")


def fake_scores(event: Event, asked: CropPlan) -> list[list[Scores]]:
    """What the fake networks of the golden file answer: [shower, track]."""
    factors = np.array([500, 1000], np.float32).reshape(2, 1, 1)
    crops = cut_all(event.images["modimg"], asked)
    return [[crop.pixels / factors for crop in of_plane] for of_plane in crops]


def painted_by_hand(crops: np.ndarray, metas: np.ndarray) -> tuple[np.ndarray, tuple[float, ...]]:
    """LArCV1's own crops on one canvas, placed by LArCV1's own metas, and the canvas's meta."""
    width, height, rows, cols, left, top, plane = metas.T
    right, bottom = (left + width).max(), (top - height).min()
    per_row, per_col = height[0] / rows[0], width[0] / cols[0]
    shape = round((top.max() - bottom) / per_row), round((right - left.min()) / per_col)
    canvas = np.zeros(shape, np.float32)
    for crop, x, y in zip(crops, left, top, strict=True):
        row, col = int((top.max() - y) / per_row), int((x - left.min()) / per_col)
        canvas[row : row + 512, col : col + 512] = crop
    size = (right - left.min(), top.max() - bottom)
    return canvas, (*size, *shape, left.min(), top.max(), plane[0])


def test_every_crop_meta_and_text_is_larcv1s(
    events: list[Event], golden: np.lib.npyio.NpzFile
) -> None:
    compared = 0
    for entry, event in enumerate(events):
        for index, images in enumerate(cut_all(event.images["modimg"], planned(event))):
            key = f"_e{entry}_p{index}"
            assert len(images) == len(golden["crops" + key])
            assert [numbers(image.meta) for image in images] == [
                tuple(meta) for meta in golden["cropmeta" + key].tolist()
            ]
            assert [image.meta.dump() for image in images] == golden["cropdump" + key].tolist()
            for image, crop in zip(images, golden["crops" + key], strict=True):
                assert np.array_equal(image.pixels, crop)
                compared += 1
    assert compared == 13


def test_stitched_answers_are_larcv1s_crops_painted_in_order(
    events: list[Event], golden: np.lib.npyio.NpzFile
) -> None:
    for entry, event in enumerate(events[:2]):
        asked = planned(event)
        for index, pair in enumerate(stitch(asked, fake_scores(event, asked))):
            key = f"_e{entry}_p{index}"
            crops, metas = golden["crops" + key], golden["cropmeta" + key]
            for image, factor in zip(pair, (500, 1000), strict=True):
                canvas, meta = painted_by_hand(crops / np.float32(factor), metas)
                assert np.array_equal(image.pixels, canvas)
                assert numbers(image.meta) == meta


def test_an_event_without_rois_has_no_crops_and_no_scores(events: list[Event]) -> None:
    # LArCV1's cropper hands out the crops of the event before: a trap
    assert not events[2].rois["croi"]
    asked = planned(events[2])
    assert [plane.crops for plane in asked.planes] == [(), (), ()]
    assert stitch(asked, [[], [], []]) == ((), (), ())


@pytest.mark.parametrize("order", ["backward", "forward"])
def test_a_tick_forward_file_gives_the_same_questions_and_flipped_answers(
    events: list[Event], order: TickOrder
) -> None:
    event = events[1]
    turned = Event(
        event.rse,
        {"modimg": tuple(image.in_order(order) for image in event.images["modimg"])},
        event.rois,
    )
    ours, theirs = planned(turned), planned(event)
    cut_from = (turned.images["modimg"], ours), (event.images["modimg"], theirs)
    for one, other in zip(*(cut_all(*item) for item in cut_from), strict=True):
        assert all(map(same_image, one, other))
    got, want = stitch(ours, fake_scores(turned, ours)), stitch(theirs, fake_scores(event, theirs))
    for pair, known_pair in zip(got, want, strict=True):
        for image, known in zip(pair, known_pair, strict=True):
            assert image.meta.tick_order == order
            assert same_image(image, known.in_order(order))
