"""The window that bounds what a client has in flight."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from clients.flow.in_flight import InFlightLimit

SIZES = st.lists(st.integers(0, 100), max_size=50)


@given(sizes=SIZES, requests=st.integers(1, 5), max_bytes=st.integers(1, 200))
def test_no_more_is_inside_than_allowed_but_for_one_request(
    sizes: list[int], requests: int, max_bytes: int
) -> None:
    window = InFlightLimit(requests=requests, max_bytes=max_bytes)
    inside: list[int] = []
    for size in sizes:
        while inside and (len(inside) == requests or sum(inside) + size > max_bytes):
            window.leave(inside.pop(0))
        assert window.enter(size)  # it would wait for ever here if it asked for more room
        inside.append(size)


def test_who_finds_no_room_waits_until_another_leaves() -> None:
    window = InFlightLimit(requests=9, max_bytes=10)
    window.enter(4)
    window.grow(3)  # its answer came
    entered = threading.Event()

    def enter() -> None:
        if window.enter(4):
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.wait(0.05)
    window.leave(7)
    assert entered.wait(10)
    thread.join()


def test_closing_turns_away_those_who_wait() -> None:
    window = InFlightLimit(requests=1, max_bytes=10)
    window.enter(1)
    turned_away: list[bool] = []
    thread = threading.Thread(target=lambda: turned_away.append(window.enter(1)))
    thread.start()
    window.close()
    thread.join(10)
    assert turned_away == [False]
    assert not window.enter(1)
