"""What a ledger's tables and figures claim, and what they leave unsaid."""

from __future__ import annotations

import json

import pytest

from clients.ledger import ledger_tables
from clients.ledger.figures import Figures, figures
from clients.ledger.records import ImageSizes
from tests.support.ledgers import MadeUp

GROUPS = ImageSizes(((1008, 3456),) * 3)
SMALLER = ImageSizes(((512, 512),) * 3)


def job(*sizes: ImageSizes, events: int = 20) -> Figures:
    facts, *records = MadeUp(events=events).records()
    return figures([facts, *sizes, *records])


@pytest.mark.parametrize(
    ("sizes", "compared"),
    [([GROUPS], True), ([SMALLER], False), ([GROUPS, SMALLER], False), ([], False)],
    ids=["the group's", "smaller", "mixed", "no images"],
)
def test_only_events_of_the_groups_size_are_compared(
    sizes: list[ImageSizes], compared: bool
) -> None:
    of = job(*sizes)
    assert any("0.44 s" in line for line in ledger_tables.run_lines(of, torn_bytes=0)) == compared
    assert ledger_tables.values(of, [], torn_bytes=0)["group_event_s"] == (
        0.44 if compared else None
    )


@pytest.mark.parametrize(
    ("events", "p90", "p99"), [(99, False, False), (100, True, False), (1000, True, True)]
)
def test_a_percentile_is_said_where_ten_values_lie_beyond_it(
    events: int, p90: bool, p99: bool
) -> None:
    values = ledger_tables.values(job(events=events), [], torn_bytes=0)
    worked = json.loads(json.dumps(values))["own"]
    assert worked["n"] == events
    assert 0 < worked["min_s"] <= worked["p50_s"]
    assert worked["p50_s"] <= worked["max_s"]
    assert (worked["p90_s"] is not None, worked["p99_s"] is not None) == (p90, p99)
