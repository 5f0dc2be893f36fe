"""What `mdp top` shows of many workers, and what its keys do, without a terminal."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console

from mdp.commands.operate.top_view import SORTS, View

WORKERS = 500


def worker(number: int) -> dict[str, Any]:
    return {
        "service": f"ssnet-plane{number % 3}",
        "address": f"{number:016x}",
        "busy_s": None if number % 2 else float(number),
        "retired": number == 7,
        "since_s": 1000.0 + number,
        "heard_s": 0.1,
        "facts": {"host": f"n{number // 10}", "pid": 1000 + number, "job": f"8812_{number}"},
    }


def service(answered: int) -> dict[str, Any]:
    row = {"workers": 167, "busy": 80, "queued": 3, "bytes": 1e6, "answered": answered}
    return {**row, "serving_s": {"p95": 1.5, "p50": 1.0, "measured": 9}, "paused": None}


def look(at: float = 0.0, answered: int = 0) -> dict[str, Any]:
    return {
        "time": "2026-11-29T03:00:00.000+00:00",
        "at": at,
        "services": {f"ssnet-plane{plane}": service(answered) for plane in range(3)},
        "workers": [worker(number) for number in range(WORKERS)],
    }


def a_view(**settings: Any) -> View:
    view = View("tcp://127.0.0.1:5555", **settings)
    view.see(look())
    view.see(look(2.0, 10))
    return view


def lines(view: View, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO())
    with console.capture() as captured:
        console.print(view.screen(width, height))
    return captured.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (80, 5)])
def test_the_screen_is_never_larger_than_the_terminal(width: int, height: int) -> None:
    view = a_view()
    for keys in (b"", b"w", b"wf"):
        view.press(keys)
        shown = lines(view, width, height)
        assert len(shown) <= height
        assert max(map(len, shown)) <= width


def test_500_workers_scroll_and_stop_at_both_ends() -> None:
    view = a_view()
    lines(view)
    assert "1-14 of 500" in "\n".join(lines(view))
    view.press(b"\x1b[6~")
    assert "15-28 of 500" in "\n".join(lines(view))
    view.press(b"\x1b[F")
    assert "487-500 of 500" in "\n".join(lines(view))
    view.press(b"jjj")
    assert "487-500 of 500" in "\n".join(lines(view))
    view.press(b"\x1b[H\x1b[A")
    assert "1-14 of 500" in "\n".join(lines(view))


@pytest.mark.parametrize("sort", SORTS)
def test_each_column_sorts_both_ways(sort: str) -> None:
    view = a_view(sort=sort)
    first = lines(view)[-14:]
    view.press(b"r")
    assert lines(view)[-14:] != first
    assert f"sorted by {sort}, reversed" in "\n".join(lines(view))


def test_the_longest_request_comes_first_and_rates_are_those_of_the_last_look() -> None:
    view = a_view(sort="busy")
    text = "\n".join(lines(view))
    assert "n49:1498" in text
    assert "15.0 answers/s" in text  # 3 services, 10 answers each in 2 s


def test_s_goes_round_all_columns_and_back() -> None:
    view = a_view()
    view.press(b"s" * len(SORTS))
    assert view.sort == SORTS[0]
    view.press(b"S")
    assert view.sort == SORTS[-1]


def test_a_silent_broker_leaves_the_last_figures_and_says_so() -> None:
    view = a_view()
    view.see({"time": "", "at": 3.0, "error": "mmi.services did not answer"})
    text = "\n".join(lines(view))
    assert "no answer, still trying: mmi.services did not answer" in text
    assert "of 500" in text


def test_a_screen_of_500_workers_is_drawn_fast_enough_for_keys() -> None:
    view = a_view()
    began = time.process_time()
    for _ in range(10):
        lines(view)
    assert (time.process_time() - began) / 10 < 0.2


def test_unknown_keys_do_nothing() -> None:
    view = a_view()
    before = lines(view)
    view.press(b"\x1b[24~xyz\xff")
    assert not view.is_over
    assert lines(view) == before
