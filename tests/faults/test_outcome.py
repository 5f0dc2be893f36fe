"""The suite's own judgement: what it must find in an output, and how it counts and measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lartpc import RSE, Event, Image
from mdp import Heartbeats
from tests.faults.comparison import Comparison, Seen
from tests.faults.comparison import compare as compare_seen
from tests.faults.lives import Lives
from tests.faults.outcome import Outcome, tables
from tests.faults.plan import Fault, Kind, Part
from tests.faults.recovery import BROKER_DIED, Recovery, Restart, Restarts, summary
from tests.faults.rounds import Tally
from tests.support import images

EVENTS = [images.event(number) for number in range(4)]
EQUAL = Comparison(lost=0, duplicated=0, different=0, out_of_order=False)
WIRE = "wire"
DROP = (Kind.drop, Part.client_link)
SLOW = (Kind.slow, Part.plane)


def compare(calm: Sequence[Event], stormy: Sequence[Event]) -> Comparison:
    return compare_seen([Seen.of(event) for event in calm], [Seen.of(event) for event in stormy])


def changed(event: Event, **of_image: Any) -> Event:
    """With another first image."""
    first, *others = event.images[WIRE]
    return replace(event, images={WIRE: (replace(first, **of_image), *others)})


def test_an_output_equals_itself() -> None:
    assert compare(EVENTS, list(EVENTS)) == EQUAL
    assert EQUAL.equal


def test_a_lost_event_and_one_too_many_are_counted() -> None:
    zero, one, two, three = EVENTS
    assert compare(EVENTS, [zero, one, two]) == replace(EQUAL, lost=1)
    assert compare(EVENTS, [*EVENTS, three]) == replace(EQUAL, duplicated=1)
    assert compare(EVENTS, [zero, one, one, three]) == replace(EQUAL, lost=1, duplicated=1)
    assert compare(EVENTS, []) == replace(EQUAL, lost=4)
    assert not compare(EVENTS, [zero, one, two]).equal


def test_events_in_another_order_are_found() -> None:
    zero, one, two, three = EVENTS
    assert compare(EVENTS, [zero, two, one, three]) == replace(EQUAL, out_of_order=True)
    assert not compare(EVENTS, [zero, two, one, three]).equal


def test_one_other_bit_is_found() -> None:
    image = EVENTS[2].images[WIRE][0]
    pixels = image.pixels.copy()
    pixels[3, 2] = np.nextafter(pixels[3, 2], np.float32(np.inf))
    meta = replace(image.meta, origin_x=np.nextafter(image.meta.origin_x, 1e9))
    others = [changed(EVENTS[2], pixels=pixels), changed(EVENTS[2], meta=meta)]
    others += [Event(EVENTS[2].rse, {WIRE: EVENTS[2].images[WIRE][:2]}), Event(EVENTS[2].rse, {})]
    others += [Event(EVENTS[2].rse, {"other": EVENTS[2].images[WIRE]})]
    for other in others:
        got = compare(EVENTS, [*EVENTS[:2], other, EVENTS[3]])
        assert got == replace(EQUAL, different=1)
        assert not got.equal


def test_other_rois_are_found() -> None:
    other = replace(EVENTS[2], rois=images.event(2, rois=1).rois)
    got = [*EVENTS[:2], other, EVENTS[3]]
    assert compare(EVENTS, got) == replace(EQUAL, different=1)


def test_anothers_pixels_under_an_events_number_are_found() -> None:
    got = [EVENTS[0], Event(EVENTS[1].rse, EVENTS[2].images), *EVENTS[2:]]
    assert compare(EVENTS, got) == replace(EQUAL, different=1)


# What is counted and measured.


def test_counters_are_added_over_the_lives_of_brokers() -> None:
    lives = Lives()
    assert lives.take({"instance": "a", "counters": {"answered": 3, "requeued": 1}})
    assert not lives.take({"instance": "a", "counters": {"answered": 5, "requeued": 1}})
    assert lives.take({"instance": "b", "counters": {"answered": 2, "requeued": 0}})
    assert len(lives) == 2
    assert (lives.total["answered"], lives.total["requeued"]) == (7, 1)


def fault(kind: Kind, part: Part, plane: int | None = None, *, length_s: float = 0.0) -> Fault:
    return Fault(1, 0.0, kind, part, plane, None, length_s)


def test_a_fault_is_over_when_each_plane_it_hit_has_answered_what_was_asked_after_it() -> None:
    recovery = Recovery()
    recovery.fault(fault(Kind.kill, Part.broker), 10.0)
    recovery.fault(fault(Kind.slow, Part.plane, 1, length_s=4.0), 11.0)
    for plane, asked_at, at in [(0, 9.9, 12.0), (0, 10.5, 12.5), (2, 12.0, 12.5), (1, 10.9, 13.0)]:
        recovery.answer(plane, asked_at=asked_at, now=at)
    assert recovery.times_s == {BROKER_DIED: [3.0]}
    assert recovery.waiting == 1
    recovery.answer(1, asked_at=13.0, now=13.5)
    assert recovery.times_s[SLOW] == [2.5]
    assert recovery.waiting == 0
    assert recovery.faults == {BROKER_DIED: 1, SLOW: 1}
    assert recovery.troubles == [
        (BROKER_DIED, 10.0, 13.0),
        (SLOW, 11.0, 15.0),  # mended later than it answered
    ]


def test_a_brokers_first_answer_is_found_though_the_broker_is_heard_of_later() -> None:
    restarts = Restarts()
    restarts.death(1.5)
    for at in (1.0, 2.0, 5.25):
        restarts.answer(at)
    restarts.broker(5.0)
    restarts.answer(5.5)
    restarts.death(6.0)
    restarts.broker(7.0)  # answers nothing
    restarts.death(7.5)
    restarts.broker(8.0)
    restarts.answer(9.0)
    assert restarts.all == [Restart(1.5, 5.0, 5.25), Restart(7.5, 8.0, 9.0)]
    assert [item.outage_s for item in restarts.all] == [3.5, 0.5]
    assert [item.answer_s for item in restarts.all] == [0.25, 1.0]


def test_restarts_near_other_faults_are_told_from_the_others() -> None:
    restarts = Restarts()
    for serves, answers in [(5.0, 5.5), (10.0, 10.75), (20.0, 21.0)]:
        restarts.broker(serves)
        restarts.answer(answers)
    first, second, third = restarts.all
    assert restarts.undisturbed([], before_s=1.0) == [first, second, third]
    near = [(DROP, 5.2, 6.0), (DROP, 9.1, 9.1)]
    assert restarts.undisturbed(near, before_s=1.0) == [third]
    assert restarts.undisturbed([(DROP, 0.0, 30.0)], before_s=1.0) == []
    deaths = [(BROKER_DIED, 0.0, 30.0)]
    assert restarts.undisturbed(deaths, before_s=1.0) == [first, second, third]


def test_the_median_and_the_longest_of_times() -> None:
    assert summary([3.0, 1.0, 2.0]) == (2.0, 3.0)
    assert summary([]) is None


# What is good.

GOOD = Outcome(
    how_filled="a limit",
    faults={BROKER_DIED: 2},
    missed=0,
    times_s={BROKER_DIED: [0.5, 1.5]},
    restarts=[Restart(0.0, 1.0, 1.5), Restart(10.0, 11.0, 20.0)],
    alone=[Restart(0.0, 1.0, 1.5)],
    heartbeats=Heartbeats(0.2, 3),
    brokers=3,
    counted={"answered": 500, "requeued": 7},
    tally=Tally(rounds=3, events=300),
    asked=70,
    answered=70,
    handlers_left=0,
    processes_left=0,
    complaints=(),
)


def test_a_good_outcome_is_good_and_says_its_numbers() -> None:
    assert GOOD.good
    faults, counts = tables(GOOD)
    rows = dict(zip(*(list(column.cells) for column in counts.columns), strict=True))
    assert rows["answered"] == "500"
    assert rows["the disk"] == "a limit"
    assert rows["requeued"] == "7"
    assert rows["events"] == "300"
    first = [next(iter(column.cells)) for column in faults.columns]
    assert first == ["kill -9", "broker", "2", "1.00", "1.50"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"tally": Tally(rounds=0)},
        {"tally": Tally(rounds=3, unequal=1)},
        {"tally": Tally(rounds=3, files_left=1)},
        {"handlers_left": 1},
        {"processes_left": 1},
        {"answered": 69},
        {"alone": [Restart(0.0, 1.0, 1.5), Restart(10.0, 14.7, 17.4)]},
        {"alone": []},
        {"complaints": ["the client ended with code 1"]},
    ],
    ids=str,
)
def test_whatever_is_wrong_makes_the_outcome_bad(wrong: dict[str, Any]) -> None:
    bad = replace(GOOD, **wrong)
    assert not bad.good
    assert len(bad.findings) == 1


def test_after_a_long_outage_the_first_answer_has_5_s_and_a_short_one_must_be_judged() -> None:
    assert GOOD.limit_s == pytest.approx(2.6)
    assert GOOD.brief_s == pytest.approx(4.8)
    in_time, late = Restart(0.0, 4.9, 9.8), Restart(0.0, 4.9, 10.0)
    assert replace(GOOD, alone=[*GOOD.alone, in_time]).good
    assert len(replace(GOOD, alone=[*GOOD.alone, late]).findings) == 1
    assert [
        "no restart can be judged" in item for item in replace(GOOD, alone=[in_time]).findings
    ] == [True]


def test_images_are_compared_whatever_their_plane() -> None:
    event = Event(RSE(1, 2, 3), {WIRE: (images.image(1), images.image(2, plane=1))})
    turned = Event(event.rse, {WIRE: tuple(reversed(event.images[WIRE]))})
    assert isinstance(event.images[WIRE][0], Image)
    assert compare([event], [turned]) == replace(EQUAL, different=1)
