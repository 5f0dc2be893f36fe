"""The trace of a ledger: what ui.perfetto.dev needs of it, and the times of the records."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from clients.ledger import trace
from clients.ledger.figures import figures
from clients.ledger.file import LedgerWriter
from clients.ledger.records import EventTimes, LedgerError, Record, RunStart
from lartpc import FileExists, WriteError
from tests.support.ledgers import MadeUp

MADE_UP = MadeUp(events=300, crops=2, workers={p: [0.01 * (p + 1)] * 2 for p in (0, 1, 2)})


def write(path: Path, *records: Record) -> Path:
    with LedgerWriter(path, output="out.root", fresh=False) as ledger:
        for record in records:
            ledger.append(record)
    return path


def rows(slices: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """By the names of process and thread, the slices in order of time."""
    names: dict[tuple[int, int], str] = {}
    of_row = defaultdict(list)
    for slice_ in slices:
        key = slice_["pid"], slice_["tid"]
        if slice_["ph"] == "M":
            names[key] = slice_["args"]["name"]
    for slice_ in sorted((s for s in slices if s["ph"] == "X"), key=lambda s: s["ts"]):
        of_row[names[slice_["pid"], 0], names[slice_["pid"], slice_["tid"]]].append(slice_)
    return of_row


def seconds(slices: list[dict[str, Any]], name: str = "") -> float:
    return float(sum(s["dur"] for s in slices if name in s["name"]) / 1e6)


def test_the_slices_of_each_thread_and_worker_are_the_times_of_the_records(tmp_path: Path) -> None:
    ledger = write(tmp_path / "a.ledger", *MADE_UP.records())
    trace.write(ledger, tmp_path / "trace.json", earlier=0)
    of_row = rows(json.loads((tmp_path / "trace.json").read_text())["traceEvents"])
    result = figures(MADE_UP.records())
    reads = of_row["client", "reads, cuts, packs, sends"]
    writes = of_row["client", "unpacks, stitches, writes"]
    assert seconds(reads, "reading") == pytest.approx(result.reading_s)
    assert seconds(reads, "waiting for room") == pytest.approx(result.stages["room"].total_s)
    assert seconds(writes) == pytest.approx(result.writing_s)
    assert len(of_row) == 8
    for worker in result.workers.values():
        row = of_row[f"plane {worker.plane}", worker.name]
        assert seconds(row) == pytest.approx(worker.busy_s)
        assert len(row) == worker.crops
        assert row[0]["args"]["computed_us"] == row[0]["dur"]
    assert max(s["ts"] + s["dur"] for s in writes) == pytest.approx(result.span_s * 1e6)


def test_slices_of_one_row_do_not_overlap_though_times_are_rounded() -> None:
    """Viewers leave out a slice that overlaps another one in part."""
    first, *named, event, _ = MadeUp(events=1).records()
    assert isinstance(event, EventTimes)
    late = event._replace(began=event.began + event.asked - 1)
    for of_row in rows(list(trace.items([first, *named, event, late]))).values():
        for one, following in itertools.pairwise(of_row):
            assert one["ts"] + one["dur"] <= following["ts"]


def test_only_the_last_job_is_in_the_trace_and_its_runs_follow_each_other() -> None:
    facts, *records = MadeUp(events=5).records()
    assert isinstance(facts, RunStart)
    once = list(trace.items([facts, *records]))
    resumed = facts._replace(done=5)
    twice = list(trace.items([facts, *records, facts, *records, resumed, *records], earlier=1))
    events = [s for s in twice if s["ph"] == "X"]
    assert len(events) == 2 * sum(s["ph"] == "X" for s in once)
    assert len(twice) - len(events) == len(once) - len(events) // 2  # each name once
    span = max(s["ts"] + s["dur"] for s in once if s["ph"] == "X")
    assert max(s["ts"] + s["dur"] for s in events) == 2 * span
    assert events[len(events) // 2]["ts"] == span


def test_a_trace_is_whole_or_absent_and_does_not_replace_its_ledger(tmp_path: Path) -> None:
    ledger = write(tmp_path / "a.json", *MADE_UP.records())
    with pytest.raises(FileExists):
        trace.write(ledger, ledger, earlier=0)
    with pytest.raises(WriteError, match=r"want a trace named \.json"):
        trace.check_name(tmp_path / "trace.png")
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[:5000] + b"?" * 100 + whole[5000:])
    with pytest.raises(LedgerError, match="is damaged"):
        trace.write(ledger, tmp_path / "trace.json", earlier=0)
    assert list(tmp_path.iterdir()) == [ledger]
