"""Merging and cutting ROIs: by hand, and against the facts written out a second time."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lartpc import ROI, ImageError, ImageMeta
from lartpc.crops.rois import cut_rois, merge_rois
from lartpc.crops.tiles import all_of


def box(x: float, y: float, width: float, height: float, *, plane: int = 0) -> ImageMeta:
    """A box from (x, y) to the right and upwards, one pixel a wire and tick."""
    return ImageMeta(width, height, int(height), int(width), x, y + height, plane)


def row_of(*spans: tuple[float, float]) -> list[ROI]:
    """ROIs 10 ticks high, from and to these wires, the same on three planes."""
    return [
        ROI(tuple(box(left, 0, right - left, 10, plane=plane) for plane in range(3)), number)
        for number, (left, right) in enumerate(spans)
    ]


def wires(rois: Sequence[ROI]) -> list[tuple[float, float]]:
    return [(roi.boxes[0].min_x, roi.boxes[0].max_x) for roi in rois]


@pytest.mark.parametrize(
    ("given_spans", "merged"),
    [
        ([], []),
        ([(0, 10)], [(0, 10)]),
        ([(0, 10), (20, 40)], [(20, 40), (0, 10)]),  # the largest first
        ([(0, 10), (20, 30)], [(0, 10), (20, 30)]),  # equals in their order
        ([(0, 10), (5, 15)], [(0, 15)]),  # half is enough
        ([(0, 10), (6, 16)], [(0, 10), (6, 16)]),
        ([(0, 100), (40, 44)], [(0, 100)]),  # the smaller area counts
        # the last overlaps only what the first took: it stays, and takes the middle one too
        ([(0, 20), (10, 26), (18, 32)], [(0, 26), (10, 32)]),
    ],
)
def test_rois_that_overlap_are_merged(
    given_spans: list[tuple[float, float]], merged: list[tuple[float, float]]
) -> None:
    assert wires(merge_rois(row_of(*given_spans))) == merged


def test_the_mean_over_the_planes_decides_and_each_plane_grows_by_itself() -> None:
    one = ROI((box(0, 0, 10, 10), box(0, 0, 10, 10), box(0, 0, 10, 10)))
    two = ROI((box(0, 0, 8, 8), box(2, 0, 10, 12), box(90, 0, 9, 9)))
    (both,) = merge_rois([one, two])
    assert [(b.min_x, b.max_x, b.max_y) for b in both.boxes] == [
        (0, 10, 10),
        (0, 12, 12),
        (0, 99, 10),
    ]
    assert merge_rois([one, two], min_overlap=0.61) == (one, two)


def test_a_box_without_area_joins_whatever_there_is_as_in_larcv1() -> None:
    flat = ROI((box(900, 0, 0, 0),) * 3)
    (merged,) = merge_rois([*row_of((0, 10)), flat])
    assert wires([merged]) == [(0, 900)]


def test_the_largest_gives_its_numbers_and_decides_whether_to_skip() -> None:
    boxes = row_of((0, 100), (0, 90))
    small, large = boxes[1].boxes, boxes[0].boxes
    (merged,) = merge_rois([ROI(small, 7), ROI(large, 8, mcst_index=3)])
    assert (merged.index, merged.mcst_index) == (8, 3)
    assert cut_rois([merged], box(0, 0, 200, 200), index=0, size=64) == []


def test_rois_of_different_numbers_of_planes_are_refused() -> None:
    with pytest.raises(ImageError, match=r"the same number of boxes .*, got \[3, 1\]"):
        merge_rois([*row_of((0, 10)), ROI((box(0, 0, 1, 1),))])


Sides = tuple[float, float, float, float]


def facts(rois: Sequence[ROI]) -> list[tuple[Sides, ...]]:
    """LARTPC.md's step 2, written for reading; float32, as LArCV1's numbers are."""

    def area(sides: Sides) -> np.float32:
        left, right, low, high = sides
        return np.float32(max(right - left, 0) * max(high - low, 0))

    def shared(a: Sides, b: Sides) -> np.float32:
        return area((max(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), min(a[3], b[3])))

    def grown(a: Sides, b: Sides) -> Sides:
        return (min(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), max(a[3], b[3]))

    sides = [tuple((b.min_x, b.max_x, b.min_y, b.max_y) for b in roi.boxes) for roi in rois]
    total = [sum(area(item) for item in one) for one in sides]
    taken: set[int] = set()
    out = []
    for i in sorted(range(len(rois)), key=lambda number: -total[number]):
        if i in taken:
            continue
        boxes = sides[i]
        for j in range(len(rois)):
            pairs = list(zip(sides[i], sides[j], strict=True))
            scores = [shared(a, b) / min(area(a), area(b)) for a, b in pairs]
            if i != j and (scores[0] + scores[1] + scores[2]) / np.float32(3) >= 0.5:
                taken.add(j)
                boxes = tuple(grown(a, b) for a, b in zip(boxes, sides[j], strict=True))
        out.append(boxes)
    return out


sides = st.tuples(*[st.integers(-8, 8)] * 2, *[st.integers(1, 12)] * 2)
some_rois = st.lists(
    st.tuples(sides, sides, sides).map(
        lambda planes: ROI(tuple(box(*item, plane=p) for p, item in enumerate(planes)))
    ),
    max_size=7,
)


@given(some_rois)
def test_merging_is_what_the_facts_say(rois: list[ROI]) -> None:
    got = [
        tuple((b.min_x, b.max_x, b.min_y, b.max_y) for b in roi.boxes) for roi in merge_rois(rois)
    ]
    assert got == facts(rois)


def contains(whole: ImageMeta, part: ImageMeta) -> bool:
    return whole.inclusive(part) == whole


@given(some_rois)
def test_each_roi_lies_in_a_merged_one(rois: list[ROI]) -> None:
    merged = merge_rois(rois)
    assert len(merged) <= len(rois)
    for roi in rois:
        assert any(all(map(contains, m.boxes, roi.boxes)) for m in merged)


eighths = st.integers(-200, 1200).map(lambda number: number / 8)
lengths = st.integers(1, 1200).map(lambda number: number / 8)


@given(eighths, eighths, lengths, lengths, st.integers(1, 30))
def test_crops_cover_what_of_a_box_is_on_the_image(
    x: float, y: float, width: float, height: float, size: int
) -> None:
    image = ImageMeta(100, 180, 30, 50, 0, 180, 0)  # 2 wires, 6 ticks a pixel
    roi = ROI((ImageMeta(width, height, 1, 1, x, y + height, 0),))
    if min(x + width, 100) <= max(x, 0) or min(y + height, 180) <= max(y, 0):
        with pytest.raises(ImageError, match="want ROI 0 on the image, got 'Plane 0"):
            cut_rois([roi], image, index=0, size=size)
        return
    covered = np.zeros((30, 50), bool)
    for rows, cols in cut_rois([roi], image, index=0, size=size):
        assert 0 <= rows.start <= 30 - size
        assert 0 <= cols.start <= 50 - size
        covered[rows.whole(), cols.whole()] = True
    wire, tick = np.arange(50) * 2 + 1, 180 - (np.arange(30) * 6 + 3)
    inside = ((tick > y) & (tick < y + height))[:, None] & ((wire > x) & (wire < x + width))
    assert covered[inside].all()


def test_crops_go_down_the_columns_from_the_left_and_are_moved_inward() -> None:
    image = box(0, 0, 100, 100)
    regions = cut_rois([ROI((box(30, 0, 70, 80),))], image, index=0, size=40)
    assert [(rows.start, cols.start) for rows, cols in regions] == [
        (20, 30),
        (60, 30),
        (20, 60),
        (60, 60),
    ]


@pytest.mark.parametrize(("edge", "pixel"), [(6.9, 3), (7, 4), (8, 4), (8.9, 4), (9, 5)])
def test_a_crop_begins_with_the_pixel_whose_edge_is_nearest(edge: float, pixel: int) -> None:
    image = ImageMeta(80, 80, 40, 40, 0, 80, 0)  # 2 wires, 2 ticks a pixel
    roi = ROI((ImageMeta(9, 9, 1, 1, edge, 80 - edge, 0),))
    assert cut_rois([roi], image, index=0, size=8) == [(all_of(pixel, 8), all_of(pixel, 8))]


def test_what_cannot_be_cut_is_refused() -> None:
    rois = row_of((0, 10))
    want = re.escape("at least 512 x 512 pixels to crop from (--size), got 300 x 600")
    with pytest.raises(ImageError, match=want):
        cut_rois(rois, box(0, 0, 600, 300), index=0, size=512)
    with pytest.raises(ImageError, match=r"want a box for plane 3 in ROI 0, got \[0, 1, 2\]"):
        cut_rois(rois, box(0, 0, 600, 600, plane=3), index=3, size=512)
    alike = [ROI((box(0, 0, 9, 9), box(9, 0, 9, 9)))]
    with pytest.raises(ImageError, match=r"want a box for plane 0 in ROI 0, got \[0, 0\]"):
        cut_rois(alike, box(0, 0, 600, 600), index=2, size=512)


def test_a_box_is_its_planes_whatever_the_order_of_the_images() -> None:
    roi = ROI(tuple(box(20 * plane, 0, 8, 8, plane=plane) for plane in (2, 0, 1)))
    for index, plane in enumerate((0, 1, 2)):
        [(_, cols)] = cut_rois([roi], box(0, 0, 80, 80, plane=plane), index=index, size=8)
        assert cols.start == 20 * plane
    alike = ROI(tuple(box(20 * number, 0, 8, 8) for number in range(3)))
    [(_, cols)] = cut_rois([alike], box(0, 0, 80, 80), index=2, size=8)
    assert cols.start == 40
