"""Which service limits a pool, and what to do: tables of loads and advice."""

from __future__ import annotations

from typing import Any

import pytest

from mdp.pool.advice import Load, advice, better_split


def a_load(service: str, **fields: Any) -> Load:
    usual: dict[str, Any] = dict.fromkeys(("want", "ready", "busy"), 4)
    usual |= {"waiting": 0, "coming": 0, "answered": 1000, "typical_s": 0.3}
    return Load(service, **{**usual, **fields})


QUIET = {"busy": 0}

CASES: dict[str, tuple[list[Load], dict[str, str]]] = {
    "nothing to do": ([a_load("a", **QUIET), a_load("b", **QUIET)], {}),
    "busy, but no queue": ([a_load("a"), a_load("b")], {}),
    "all full": (
        [a_load("a", waiting=9), a_load("b", waiting=9)],
        {"a": "all are busy: more workers help", "b": "all are busy: more workers help"},
    ),
    "one slow plane": (
        [a_load("a", busy=1), a_load("b", busy=1), a_load("c", waiting=40, typical_s=1.2)],
        {"c": "limits you: move 2 from a, 2 from b"},
    ),
    "a plane with too few workers": (
        [a_load("a", busy=1), a_load("c", ready=1, want=4, busy=1, waiting=211)],
        {"c": "limits you: move 2 from a"},
    ),
    "nothing to move": (
        [a_load("a", ready=1, busy=0), a_load("c", ready=1, busy=1, waiting=9, typical_s=0.6)],
        {"c": "limits you: add workers"},
    ),
    "jobs with a worker of each": (
        [a_load("a", busy=1), a_load("c", waiting=40, typical_s=1.2, together=True)],
        {"c": "limits you: more jobs help"},
    ),
    "only one service": ([a_load("a", waiting=9)], {"a": "all are busy: more workers help"}),
    "no worker, queued jobs": ([a_load("a", ready=0, busy=0, coming=2)], {"a": "no worker yet"}),
    "no worker, and a request waits": (
        [a_load("a", ready=0, busy=0, coming=1, waiting=1)],
        {"a": "no worker yet; a request waits"},
    ),
    "no worker, no job": (
        [a_load("a", ready=0, busy=0, waiting=7)],
        {"a": "no worker, and no job queued: see `pool doctor`; 7 requests wait"},
    ),
    "busy clients of busy planes": (
        [a_load("a", busy=3), a_load("c", waiting=9, typical_s=60.0, calls_others=True)],
        {},
    ),
    "a full plane beside busy clients": (
        [
            a_load("a", busy=1),
            a_load("b", waiting=40, typical_s=1.2),
            a_load("c", waiting=9, typical_s=60.0, calls_others=True),
        ],
        {"b": "limits you: move 2 from a"},
    ),
    "busy clients of idle planes": (
        [a_load("a", busy=1), a_load("c", waiting=9, typical_s=60.0, calls_others=True)],
        {"c": "limits you: add workers"},
    ),
    "no worker, none wanted": ([a_load("a", want=0, ready=0, busy=0)], {}),
}


@pytest.mark.parametrize("case", CASES)
def test_advice(case: str) -> None:
    loads, lines = CASES[case]
    assert advice(loads) == lines


def test_advice_calls_services_by_their_labels() -> None:
    loads, _ = CASES["one slow plane"]
    lines = advice(loads, {"a": "plane 0", "b": "plane 1", "c": "plane 2"}.__getitem__)
    assert lines == {"c": "limits you: move 2 from plane 0, 2 from plane 1"}


@pytest.mark.parametrize(
    ("work_s", "counts", "least_s", "better", "share"),
    [
        ([1.0, 1.0, 4.0], [2, 2, 2], 0.0, [1, 1, 4], 0.5),
        ([1.0, 1.0, 4.0], [2, 2, 2], 1.6, [1, 1, 4], 0.8),
    ],
)
def test_a_better_split(
    work_s: list[float], counts: list[int], least_s: float, better: list[int], share: float
) -> None:
    split = better_split(work_s, counts, least_s=least_s)
    assert split is not None
    assert split.counts == better
    assert split.share == pytest.approx(share)


@pytest.mark.parametrize(
    ("work_s", "counts", "least_s"),
    [
        ([1.0, 1.0], [2, 2], 0.0),  # even already
        ([1.0, 4.0], [1, 1], 0.0),  # nothing to move
        ([1.0, 1.0, 4.0], [2, 2, 2], 1.95),  # something else limits
        ([0.0, 0.0], [2, 2], 0.0),  # no work yet
    ],
)
def test_no_better_split(work_s: list[float], counts: list[int], least_s: float) -> None:
    assert better_split(work_s, counts, least_s=least_s) is None
