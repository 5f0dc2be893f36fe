"""Lanes of workers, from looks at a broker."""

from __future__ import annotations

from typing import Any

from clients.dashboard import lanes
from clients.dashboard.lanes import WINDOW_S, Lanes


def worker(address: str, busy_s: float | None = None, **more: Any) -> dict[str, Any]:
    facts = {"host": "n7", "pid": 812}
    usual = {"service": "echo", "address": address, "retired": False, "facts": facts}
    return {**usual, "busy_s": busy_s, **more}


def states(seen: Lanes) -> list[list[tuple[str, float, float | None]]]:
    return [[(s.state, s.begin, s.end) for s in lane.segments] for lane in seen.ordered]


def test_a_state_that_lasts_is_one_segment_and_a_request_begins_when_it_began() -> None:
    seen = Lanes()
    seen.see([worker("a")], 10.0)
    seen.see([worker("a", 0.25)], 11.0)
    seen.see([worker("a", 0.1)], 12.0)
    seen.see([worker("a")], 13.0)
    assert states(seen) == [[("idle", 10.0, 10.75), ("busy", 10.75, 13.0), ("idle", 13.0, None)]]


def test_a_request_never_begins_before_the_last_look() -> None:
    seen = Lanes()
    seen.see([worker("a")], 10.0)
    seen.see([worker("a", 60.0)], 11.0)
    assert states(seen)[0][1] == ("busy", 10.0, None)


def test_a_worker_that_was_leaving_has_left_and_another_one_is_lost() -> None:
    seen = Lanes()
    seen.see([worker("a"), worker("b", 1.0)], 10.0)
    seen.see([worker("a", retired=True), worker("b", 2.0)], 11.0)
    seen.see([], 12.0)
    assert [lane.last.state for lane in seen.ordered] == ["left", "lost"]


def test_a_lane_stays_for_two_minutes_after_its_worker_has_gone() -> None:
    seen = Lanes()
    seen.see([worker("a")], 10.0)
    seen.see([], 11.0)
    assert not seen.see([], 11.0 + WINDOW_S - 1).has_other_lanes
    assert seen.see([], 11.0 + WINDOW_S).has_other_lanes
    assert seen.ordered == []
    assert seen.segments == []


def test_old_segments_are_forgotten() -> None:
    seen = Lanes()
    for k in range(1000):
        seen.see([worker("a", 0.1 if k % 2 else None)], float(k))
    assert WINDOW_S <= len(seen.segments) <= WINDOW_S + 2


def test_what_pages_get_makes_the_same_lanes() -> None:
    """A page that has seen all changes has the segments that a new page gets."""
    seen, page = Lanes(), dict[int, list[Any]]()
    looks = [
        [worker("a"), worker("b", 0.1)],
        [worker("a", 0.1), worker("b", 1.1)],
        [worker("b", retired=True), worker("c")],
        [worker("c", 0.5)],
    ]
    for k, look in enumerate(looks):
        changes = lanes.message(None, seen.see(look, float(k)), 0)
        for segment in changes["opened"]:
            page[segment[0]] = list(segment)
        for number, end in changes["closed"]:
            page[number][4] = end
    assert sorted(page.values()) == sorted(segment.as_list() for segment in seen.segments)


def test_more_workers_than_lanes_are_counted_and_get_lanes_that_become_free() -> None:
    seen = Lanes(most=3)
    everyone = [worker(f"w{k}") for k in range(5)]
    seen.see(everyone, 10.0)
    assert len(seen.ordered) == 3
    assert seen.left_out == 2
    seen.see(everyone[3:], 11.0)
    seen.see(everyone[3:], 11.0 + WINDOW_S)
    assert seen.left_out == 0
    assert {lane.address for lane in seen.ordered} == {"w3", "w4"}


def test_workers_without_a_name_of_their_own_have_lanes_of_their_own() -> None:
    seen = Lanes()
    seen.see([worker("(given by the broker)"), worker("(given by the broker)")], 10.0)
    assert len(seen.ordered) == 2


def test_lanes_are_sorted_by_service_and_host() -> None:
    seen = Lanes()
    rows = [
        worker("a", service="z"),
        worker("b", facts={"host": "n9", "pid": 1}),
        worker("c", facts={"host": "n1", "pid": 1}),
    ]
    seen.see(rows, 1.0)
    assert [lane.address for lane in seen.ordered] == ["c", "b", "a"]
