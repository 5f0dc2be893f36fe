"""What a ledger's tables and figures claim, and what they leave unsaid."""

from __future__ import annotations

import json

import pytest

from clients.ledger import report
from clients.ledger.figures import Figures, figures
from clients.ledger.records import RecordError, Sized
from tests.support.ledgers import MadeUp

GROUPS = Sized(((1008, 3456),) * 3)
SMALLER = Sized(((512, 512),) * 3)


def made(*sizes: Sized, events: int = 20) -> Figures:
    facts, *records = MadeUp(events=events).records()
    return figures([facts, *sizes, *records])


@pytest.mark.parametrize(
    ("sizes", "compared"),
    [([GROUPS], True), ([SMALLER], False), ([GROUPS, SMALLER], False), ([], False)],
    ids=["the group's", "smaller", "mixed", "a ledger of older software"],
)
def test_only_events_of_the_groups_size_are_compared(sizes: list[Sized], compared: bool) -> None:
    of = made(*sizes)
    assert any("0.44 s" in line for line in report.run_lines(of, torn_bytes=0)) == compared
    assert report.values(of, [], torn_bytes=0)["group_event_s"] == (0.44 if compared else None)


def test_sizes_come_back_as_they_were_written() -> None:
    assert Sized.decode(GROUPS.encode()) == GROUPS
    for packed in (b"\x91\x91\x05", b"\x05", b"\x91\x92\xa1x\x05"):  # [[5]], 5, [["x", 5]]
        with pytest.raises(RecordError):
            Sized.decode(packed)


@pytest.mark.parametrize(
    ("events", "p90", "p99"), [(99, False, False), (100, True, False), (1000, True, True)]
)
def test_a_percentile_is_said_where_ten_values_lie_beyond_it(
    events: int, p90: bool, p99: bool
) -> None:
    values = report.values(made(events=events), [], torn_bytes=0)
    own = json.loads(json.dumps(values))["own"]
    assert own["n"] == events
    assert 0 < own["min_s"] <= own["p50_s"]
    assert own["p50_s"] <= own["max_s"]
    assert (own["p90_s"] is not None, own["p99_s"] is not None) == (p90, p99)
