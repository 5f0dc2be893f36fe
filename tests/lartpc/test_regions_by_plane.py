"""Regions whose boxes state their planes, and may lack some (LArCV2): merged and cut by plane."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lartpc import ROI, ImageError, ImageMeta
from lartpc.crops.rois import cut_rois, merge_rois
from lartpc.image import Corners

Span = tuple[float, float]


def box(plane: int, left: float, right: float, low: float = 0, high: float = 10) -> ImageMeta:
    """A box as LArCV2 has it: corners, and no rows and columns."""
    size = (right - left, high - low, 0, 0)
    return ImageMeta(*size, left, high, plane, corners=Corners(left, low, right, high))


def region(index: int = 0, **spans: Span) -> ROI:
    """A region with boxes 10 ticks high: `region(p0=(0, 10), p5=(3, 4))`."""
    boxes = tuple(box(int(name[1:]), *span) for name, span in spans.items())
    return ROI(boxes, index, by_plane=True)


def spans(roi: ROI) -> dict[int, Span]:
    return {box.plane: (box.min_x, box.max_x) for box in roi.boxes}


def test_only_planes_that_both_have_are_compared() -> None:
    # on plane 1 they are the same; plane 0 and plane 5 have one of them each
    one, other = region(0, p0=(0, 10), p1=(0, 30)), region(1, p5=(90, 99), p1=(0, 30))
    (both,) = merge_rois([one, other])
    assert spans(both) == {0: (0, 10), 1: (0, 30), 5: (90, 99)}
    assert both.index == 0  # the larger one
    # half of the shared planes' mean: plane 0 all, plane 1 nothing
    far = region(2, p0=(0, 10), p1=(60, 70))
    assert len(merge_rois([region(0, p0=(0, 10), p1=(0, 10)), far])) == 1
    assert len(merge_rois([region(0, p0=(0, 10), p1=(0, 10)), far], min_overlap=0.6)) == 2


@pytest.mark.parametrize("min_overlap", [0.0, 0.5])
def test_regions_without_a_common_plane_or_without_boxes_do_not_overlap(
    min_overlap: float,
) -> None:
    regions = [region(0, p0=(0, 10)), region(1, p1=(0, 10)), region(2)]
    assert sorted(merge_rois(regions, min_overlap=min_overlap), key=lambda r: r.index) == regions


def test_a_box_without_area_joins_nothing() -> None:
    regions = [region(0, p0=(0, 10)), region(1, p0=(5, 5))]
    assert len(merge_rois(regions)) == 2


def test_boxes_of_one_projection_in_one_region_become_one() -> None:
    twice = ROI((box(3, 0, 4), box(3, 8, 9)), by_plane=True)
    (merged,) = merge_rois([twice])
    assert spans(merged) == {3: (0, 9)}
    assert merged.boxes[0].corners == Corners(0, 0, 9, 10)


edges = st.tuples(st.integers(0, 40), st.integers(1, 20)).map(lambda e: (e[0], e[0] + e[1]))


@given(st.lists(st.tuples(edges, edges, edges), max_size=6))
def test_regions_with_all_planes_are_merged_as_those_of_larcv1(
    several: list[tuple[Span, Span, Span]],
) -> None:
    regions = [region(n, p0=a, p1=b, p2=c) for n, (a, b, c) in enumerate(several)]
    plain = [replace(roi, by_plane=False) for roi in regions]
    got, want = merge_rois(regions, min_overlap=0.45), merge_rois(plain, min_overlap=0.45)
    assert [(roi.index, spans(roi)) for roi in got] == [(roi.index, spans(roi)) for roi in want]


def test_a_plane_without_a_box_gets_no_crop_and_the_others_get_theirs() -> None:
    meta = ImageMeta(100, 60, 60, 100, 0, 60, plane=5)
    regions = [region(0, p0=(0, 10)), region(1), region(2, p5=(40, 50))]
    (rows, cols), *more = cut_rois(regions, meta, index=3, size=20)
    assert not more
    assert (cols.start, cols.size, rows.size) == (40, 20, 20)
    assert cut_rois(regions[:2], meta, index=0, size=20) == []
    with pytest.raises(ImageError, match="want ROI 0 on the image"):
        cut_rois([region(p5=(400, 500))], meta, index=0, size=20)
    with pytest.raises(ImageError, match="want a box for plane 5"):
        cut_rois([replace(regions[0], by_plane=False)], meta, index=1, size=20)


def test_a_display_shows_the_box_of_the_plane_and_not_that_of_the_same_number() -> None:
    roi = region(p5=(0, 10), p0=(20, 30))
    assert [box and box.min_x for box in map(roi.shown_on, (0, 1, 5))] == [20, None, 0]
    assert replace(roi, by_plane=False).shown_on(1) == roi.boxes[1]


def test_no_warning_comes_from_planes_that_are_missing() -> None:
    with np.errstate(all="raise"):
        merge_rois([region(0, p0=(0, 10)), region(1, p7=(0, 10)), region(2, p0=(0, 0))])
