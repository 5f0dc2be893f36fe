"""The tick order of a file is told from its geometry, and a wrong one is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lartpc import (
    ROI,
    RSE,
    AskedOrder,
    Event,
    Image,
    ImageMeta,
    ReadError,
    TickOrder,
    TickOrderError,
    open_reader,
    open_writer,
)
from lartpc.files import provenance
from lartpc.files.ticks import Survey, TickSpan, choose, order_shown_by, regions_of, spans_of
from tests.support.shared import data

NAMES: tuple[TickOrder, TickOrder] = ("backward", "forward")
FILE = Path("run7.root")


def other(order: TickOrder) -> TickOrder:
    return "forward" if order == "backward" else "backward"


def survey(
    *images: TickSpan,
    regions: frozenset[tuple[TickSpan, TickSpan, float]] = frozenset(),
    path: Path = FILE,
) -> Survey:
    return Survey(path, stored=False, images=frozenset(images), regions=regions)


# An image of 6048 ticks from 2400 on, as LArCV1 stores it in either order.
BACKWARD = TickSpan(corner=8448.0, height=6048.0)
FORWARD = TickSpan(corner=2400.0, height=6048.0)


def test_a_span_lies_below_its_corner_if_row_0_is_the_largest_tick_and_above_it_otherwise() -> None:
    assert FORWARD.at("backward") == (-3648, 2400)
    assert FORWARD.at("forward") == (2400, 8448)


def test_ticks_below_zero_in_one_reading_only_tell_the_other() -> None:
    choice = choose("auto", [survey(FORWARD)])
    assert (choice.order, choice.basis) == ("forward", "ticks")
    assert "-3648 to 2400 if backward" in choice.reason
    assert "2400 to 8448 if forward" in choice.reason


def test_ticks_of_at_least_zero_in_both_readings_tell_nothing_and_backward_is_assumed() -> None:
    choice = choose("auto", [survey(BACKWARD)])
    assert (choice.order, choice.basis) == ("backward", "assumed")
    assert choose("forward", [survey(BACKWARD)]).order == "forward"


def test_ticks_below_zero_in_both_readings_tell_nothing() -> None:
    assert order_shown_by(survey(TickSpan(-100.0, 6048.0))) is None


@given(
    order=st.sampled_from(NAMES),
    low=st.integers(0, 9000),
    rows=st.integers(2, 2000),
    first=st.integers(0, 1999),
    tall=st.integers(1, 1999),
    negative=st.booleans(),
)
def test_a_region_that_is_not_as_tall_as_its_image_tells_the_order(
    order: TickOrder, low: int, rows: int, first: int, tall: int, negative: bool
) -> None:
    low = -low if negative else low  # ticks below zero cannot overrule regions
    first = first % rows
    tall = 1 + tall % (rows - first)
    height, pixel = rows * 6.0, 6.0
    image = ImageMeta(10, height, rows, 10, 0, low, plane=0, tick_order="forward")
    box = ImageMeta(10, tall * pixel, tall, 10, 0, low + first * pixel, 0, "forward")
    image, box = image.in_order(order), box.in_order(order)
    regions = regions_of([ROI((box,))], [image])
    choice = order_shown_by(survey(*spans_of([image]), regions=regions))
    # in the wrong order the box begins where the image does: it fits if it lies at that edge
    fits = all(
        first_ <= low_ + pixel and high_ <= last_ + pixel
        for (low_, high_), (first_, last_) in [
            (TickSpan(box.origin_y, box.height).at(other(order)), _span(image).at(other(order)))
        ]
    )
    if not fits:
        assert choice is not None
        assert (choice.order, choice.basis) == (order, "regions")
    elif choice is not None and choice.basis == "regions":
        assert choice.order == order


def _span(meta: ImageMeta) -> TickSpan:
    return TickSpan(meta.origin_y, meta.height)


def test_provenance_is_believed_before_geometry_and_must_state_one_order() -> None:
    stated = survey(FORWARD)._replace(recorded=("backward",))
    choice = order_shown_by(stated)
    assert choice is not None
    assert (choice.order, choice.basis) == ("backward", "provenance")
    with pytest.raises(TickOrderError, match="states both"):
        order_shown_by(stated._replace(recorded=NAMES))


@pytest.mark.parametrize("asked", NAMES)
def test_an_order_that_the_files_contradict_is_refused_unless_it_is_trusted(
    asked: TickOrder,
) -> None:
    shown = survey()._replace(recorded=(other(asked),))
    with pytest.raises(TickOrderError, match=f"want --tick-order {other(asked)}, got {asked}"):
        choose(asked, [shown])
    choice = choose(asked, [shown], trust=True)
    assert (choice.order, choice.basis) == (asked, "trusted")


@pytest.mark.parametrize("asked", [*NAMES, "auto"])
def test_files_of_two_orders_are_refused_whichever_is_asked_for(asked: AskedOrder) -> None:
    surveys = [
        survey(path=Path("a.root"))._replace(recorded=("backward",)),
        survey(FORWARD, path=Path("b.root")),
    ]
    with pytest.raises(TickOrderError, match=r"one tick order.*a\.root.*b\.root"):
        choose(asked, surveys)


def test_a_file_that_shows_nothing_goes_with_one_that_does_and_that_is_said() -> None:
    choice = choose("auto", [survey(BACKWARD), survey(FORWARD), Survey(FILE, stored=True)])
    assert choice.order == "forward"
    assert "1 of the other files do not show it" in choice.reason


def test_files_that_store_their_order_need_no_telling() -> None:
    choice = choose("auto", [Survey(FILE, stored=True)])
    assert (choice.order, choice.basis) == ("backward", "format")
    assert choose("forward", [Survey(FILE, stored=True)]).order == "forward"


# Files.


def write(path: Path, order: TickOrder, *, low: float, box: bool, empty: int = 0) -> Path:
    """Two events of one plane, 20 rows of 6 ticks from `low` on, after `empty` ones."""
    meta = ImageMeta(7.0, 120.0, 20, 7, 0.0, low, plane=0, tick_order="forward").in_order(order)
    roi = ROI((replace(meta, height=36.0, rows=6, origin_y=meta.origin_y + _down(order, 24.0)),))
    with open_writer(path) as writer:
        for event in range(empty + 2):
            images = (Image(meta, np.full((20, 7), 30.0, np.float32)),) * (event >= empty)
            rois = {"croi": (roi,) * (event >= empty)} if box else {}
            writer.write(Event(RSE(1, 1, event), {"wire": images}, rois))
    return path


def _down(order: TickOrder, ticks: float) -> float:
    """From the corner at row 0 into the image."""
    return -ticks if order == "backward" else ticks


@pytest.mark.parametrize("order", NAMES)
def test_regions_of_interest_in_a_file_tell_its_order(
    tmp_path: Path, root: object, order: TickOrder
) -> None:
    path = write(tmp_path / "in.root", order, low=2400, box=True, empty=20)
    with open_reader(path, tick_order="auto", images=["wire"]) as reader:  # regions not asked for
        assert (reader.tick_order, reader.tick_choice.basis) == (order, "regions")
        (image,) = reader[20].images["wire"]
        assert (image.meta.min_y, image.meta.max_y) == (2400, 2520)
    with pytest.raises(TickOrderError):
        open_reader(path, tick_order=other(order))
    with open_reader(path, tick_order=other(order), trust=True) as reader:
        assert reader[20].images["wire"][0].meta.tick_order == other(order)


def test_a_file_that_does_not_show_its_order_is_assumed_backward_and_a_warning_says_so(
    tmp_path: Path, root: object, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "in.root", "backward", low=2400, box=False)
    with open_reader(path, tick_order="auto") as reader:
        assert (reader.tick_order, reader.tick_choice.basis) == ("backward", "assumed")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "2400 to 2520 if backward, 2520 to 2640 if forward" in record.getMessage()
    with open_reader(path, tick_order="forward") as reader:
        assert reader.tick_choice.basis == "asked"


def test_the_order_in_a_files_provenance_is_taken_and_a_contradiction_refused(
    tmp_path: Path, root: object
) -> None:
    path = write(tmp_path / "out.root", "forward", low=9000, box=False)
    provenance.append(path, ["no JSON", "[1]", json.dumps({"tick_order": "forward"})])
    with open_reader(path, tick_order="auto") as reader:
        assert (reader.tick_order, reader.tick_choice.basis) == ("forward", "provenance")
    with pytest.raises(TickOrderError, match="provenance"):
        open_reader(path, tick_order="backward")


def test_a_larcv3_file_stores_its_order(tmp_path: Path) -> None:
    path = write(tmp_path / "in.h5", "forward", low=2400, box=False)
    for asked in NAMES:
        with open_reader(path, tick_order=asked) as reader:
            (image,) = reader[0].images["wire"]
            assert (image.meta.min_y, image.meta.tick_order) == (2400, asked)


def test_a_file_whose_first_entries_cannot_be_read_is_order_shown_by_the_others(
    tmp_path: Path, root: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lartpc.files.root.root_file import ROOTFile

    path = write(tmp_path / "in.root", "forward", low=0, box=False)
    whole = ROOTFile.metas

    def damaged(self: ROOTFile, producer: str, entry: int) -> tuple[ImageMeta, ...]:
        if entry == 0:
            raise ReadError("damaged")
        return whole(self, producer, entry)

    monkeypatch.setattr(ROOTFile, "metas", damaged)
    with open_reader(path, tick_order="auto") as reader:
        assert reader.tick_order == "forward"


@pytest.mark.parametrize(
    ("name", "producer", "order", "basis"),
    [
        ("microboone_run6324_larcv.root", "wire", "forward", "ticks"),
        ("larcv1_wire_croi_5ev.root", "wire", "backward", "regions"),
        ("larcv1_pipeline_in.root", "modimg", "backward", "regions"),
        ("larcv3_wire_5ev.h5", "wire", "backward", "format"),
    ],
)
def test_the_real_files_are_told_right(
    name: str, producer: str, order: TickOrder, basis: str
) -> None:
    with open_reader(data(name), tick_order="auto", images=[producer]) as reader:
        assert (reader.tick_order, reader.tick_choice.basis) == (order, basis)


def test_a_larcv2_file_is_refused_by_name() -> None:
    with (
        open_reader(data("larcv2_wire_5ev.root"), tick_order="auto", images=["wire"]) as reader,
        pytest.raises(ReadError, match="got LArCV2, which is not read yet"),
    ):
        reader[0]
