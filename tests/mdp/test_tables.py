"""The tables of `mdp services`, from the broker's reports."""

from __future__ import annotations

import io
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
