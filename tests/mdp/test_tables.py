"""The tables of `mdp services`, from the broker's reports."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

import pytest
from rich.console import Console

from mdp.commands import tables

IDLE: dict[str, Any] = {
    "service": "echo",
    "address": "7731",
    "dialect": "MDP/0.2",
    "fingerprint": "",
    "retired": False,
    "since_s": 5.0,
    "busy_s": None,
    "heard_s": 0.5,
}


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "idle"),
        ({"busy_s": 3.0}, "busy"),
        ({"retired": True}, "leaving"),
        ({"retired": True, "busy_s": 3.0}, "busy"),
    ],
)
def test_a_worker_is_shown_as_idle_busy_or_leaving(change: dict[str, Any], state: str) -> None:
    output = io.StringIO()
    Console(file=output, width=120).print(tables.workers([{**IDLE, **change}]))
    states = {word for word in ("idle", "busy", "leaving") if word in output.getvalue()}
    assert states == {state}


def test_the_place_of_a_worker_is_shown_and_a_foreign_one_has_none() -> None:
    facts = {"host": "n3", "pid": 812, "job": "8812_3", "threads": 4, "device": "cuda:1"}
    facts["until"] = datetime(2026, 11, 28, 15, 52, 7).timestamp()
    output = io.StringIO()
    foreign = {**IDLE, "service": "foreign", "facts": {}}
    table = tables.workers([{**IDLE, "facts": facts}, foreign, {**IDLE, "service": "old"}])
    Console(file=output, width=300).print(table)
    header, ours, theirs, old = output.getvalue().splitlines()
    assert header.split()[-6:] == ["host", "pid", "job", "threads", "device", "until"]
    assert ours.split()[-6:] == ["n3", "812", "8812_3", "4", "cuda:1", "2026-11-28T15:52"]
    assert theirs.split()[-2:] == old.split()[-2:] == ["500", "ms"]


def test_a_time_that_no_calendar_has_is_left_out() -> None:
    output = io.StringIO()
    table = tables.workers([{**IDLE, "facts": {"host": "n3", "until": 1e300}}])
    Console(file=output, width=300).print(table)
    assert output.getvalue().splitlines()[1].split()[-1] == "n3"
