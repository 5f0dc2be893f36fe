"""Ledgers of real runs: real brokers, workers, files; what they say of them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.errors import AnswerError
from clients.ledger.figures import figures
from clients.ledger.file import LedgerReader
from clients.ledger.limits import Kind, verdicts
from clients.ledger.records import UNKNOWN, EventTimes, RunEnd, RunStart, WorkerName
from clients.scoring.job import ScoringJob
from clients.scoring.score import score
from lartpc import FileExists
from lartpc.crops import chain
from mdp import SettingsError
from services.planes import PLANES
from tests.support import plane_pools
from tests.support.commands_of_ssnet import one_line, ssnet
from tests.support.processes import QUICK, Processes, until

SIZE = 64


@pytest.fixture
def job(tmp_path: Path, endpoint: str) -> ScoringJob:
    return ScoringJob(
        inputs=(tmp_path / "in.root",),
        output=tmp_path / "out.root",
        broker=endpoint,
        mode=chain.Croi(size=SIZE),
        ledger=tmp_path / "out.root.ledger",
    )


def records(job: ScoringJob) -> list[Any]:
    assert job.ledger is not None
    return list(LedgerReader(job.ledger))


def start(
    processes: Processes, endpoint: str, workers: Mapping[int, Sequence[tuple[int, float]]]
) -> None:
    """Pools of each plane: so many workers that take so long for a crop."""
    processes.broker(endpoint, *QUICK)
    for plane, kinds in workers.items():
        running = 0
        for count, seconds in kinds:
            plane_pools.start(
                processes, endpoint, planes=[plane], workers=count, there=running, seconds=seconds
            )
            running += count


def test_every_event_and_crop_is_in_the_ledger_with_times_that_fit_together(
    job: ScoringJob, processes: Processes
) -> None:
    events = plane_pools.toys(job.inputs[0], 12)
    start(processes, job.broker, {plane: [(2, 0.02)] for plane in PLANES})
    report = score(job)
    facts, *others, end = records(job)
    assert isinstance(facts, RunStart)
    assert (facts.output, facts.events, facts.done, facts.window) == ("out.root", 12, 0, 8)
    assert facts.pools == ((0, 2), (1, 2), (2, 2))
    assert end == RunEnd("done")
    named = [record for record in others if isinstance(record, WorkerName)]
    assert sorted(worker.plane for worker in named) == [0, 0, 1, 1, 2, 2]
    assert len(set(named)) == report.workers == 6
    recorded = [record for record in others if isinstance(record, EventTimes)]
    assert [times.entry for times in recorded] == list(range(12))
    assert [(e.run, e.subrun, e.event) for e in recorded] == [tuple(e.rse) for e in events]
    crops = [crop for times in recorded for crop in times.crops]
    assert len(crops) == report.crops
    assert sum(crop.bytes_out for crop in crops) == report.bytes_out
    assert sum(crop.bytes_in for crop in crops) == report.bytes_in
    computed_s = sum(crop.computed for crop in crops) * 1e-5
    assert computed_s == pytest.approx(report.computed_s, abs=1e-5 * report.crops)
    for times in recorded:
        assert_times_fit(times, named)


def assert_times_fit(event: EventTimes, named: Sequence[WorkerName]) -> None:
    rounding = 3
    assert event.read + event.chain + event.pack + event.room <= event.asked + rounding
    assert event.taken + event.check + event.stitch + event.write <= event.written + rounding
    assert sum(crop.cut for crop in event.crops) <= event.chain + len(event.crops)
    assert sum(crop.packed for crop in event.crops) <= event.pack + len(event.crops)
    for crop in event.crops:
        assert named[crop.worker].plane == crop.plane
        assert event.room <= crop.sent <= event.asked
        assert 2000 <= crop.computed <= crop.busy <= crop.trip + rounding
        assert crop.sent + crop.trip <= event.taken + rounding


LIMITS: dict[str, tuple[dict[int, list[tuple[int, float]]], dict[str, int], Kind, str]] = {
    "a plane": (
        {0: [(2, 0.01)], 1: [(2, 0.01)], 2: [(1, 0.15)]},
        {},
        "planes",
        "move workers from plane 0 and plane 1 to plane 2",
    ),
    "all planes": (
        {plane: [(1, 0.4)] for plane in PLANES},
        {},
        "pools",
        "the networks limit",
    ),
    "the window": (
        {plane: [(2, 0.1)] for plane in PLANES},
        {"window": 1},
        "window",
        "in its window of 1 events: widen --window",
    ),
    "a slow worker": (
        {0: [(1, 0.02)], 1: [(3, 0.02), (1, 0.4)], 2: [(1, 0.02)]},
        {"window": 4},
        "worker",
        "Plane 1's worker",
    ),
}


@pytest.mark.parametrize("case", LIMITS)
def test_what_limits_a_real_run_is_named(job: ScoringJob, processes: Processes, case: str) -> None:
    pools, settings, kind, says = LIMITS[case]
    plane_pools.toys(job.inputs[0], 30)
    start(processes, job.broker, pools)
    score(replace(job, **settings))  # type: ignore[arg-type]
    first = verdicts(figures(records(job)))[0]
    assert (first.kind, says in first.text) == (kind, True), first.text


def test_a_run_that_was_killed_is_shown_up_to_its_last_event_and_the_next_one_adds_its_own(
    job: ScoringJob, processes: Processes
) -> None:
    plane_pools.toys(job.inputs[0], 40)
    start(processes, job.broker, {plane: [(1, 0.05)] for plane in PLANES})
    files = (str(job.inputs[0]), "-o", str(job.output), "--broker", job.broker)
    options = ("--size", str(SIZE), "--window", "1", "--ledger")
    running = processes.python("-m", "clients", "run", *files, *options)
    ledger = str(job.ledger)

    def events() -> int:
        if not Path(ledger).exists() or not Path(ledger).stat().st_size:
            return 0
        return sum(isinstance(record, EventTimes) for record in LedgerReader(Path(ledger)))

    until(lambda: events() >= 5, "five events are in the ledger")
    running.send(signal.SIGKILL)
    running.exit_code()
    count = events()
    text = ssnet("ledger", ledger).stdout
    assert f"{count} events of out.root" in text
    assert "A run was killed, or goes on." in text
    ssnet("run", *files, *options)
    text = ssnet("ledger", ledger).stdout
    assert "40 events of out.root:" in text
    assert "The file also holds 1 earlier runs" in text
    assert "killed" not in text
    ssnet("run", *files, *options, "--force")
    assert "earlier" not in ssnet("ledger", ledger).stdout


def test_a_run_that_failed_says_why_in_its_ledger(job: ScoringJob, processes: Processes) -> None:
    plane_pools.toys(job.inputs[0], 3)
    processes.broker(job.broker, *QUICK)
    plane_pools.start(processes, job.broker, target="tests.support.odd_planes:WrongMeta")
    with pytest.raises(AnswerError):
        score(job)
    end = records(job)[-1]
    assert isinstance(end, RunEnd)
    assert end.how.startswith("AnswerError: ")
    assert "want an answer to Plane 0" in end.how
    text = one_line(ssnet("ledger", job.ledger, code=1))
    assert "want a ledger of some events, got none" in text
    assert "AnswerError" in text


def test_a_run_whose_output_could_not_get_its_name_is_not_done(
    job: ScoringJob, processes: Processes
) -> None:
    plane_pools.toys(job.inputs[0], 6)
    start(processes, job.broker, {plane: [(1, 0.0)] for plane in PLANES})

    def in_the_way(done: int, of: int) -> None:
        if done == of:
            job.output.write_text("somebody else's")

    with pytest.raises(FileExists):
        score(job, on_progress=in_the_way)
    *_, last, end = records(job)
    assert isinstance(last, EventTimes)
    assert end.how.startswith("FileExists: ")
    assert "A run ended with FileExists: " in ssnet("ledger", job.ledger).stdout


def test_workers_that_do_not_say_how_long_they_took_are_counted_and_left_out(
    job: ScoringJob, processes: Processes
) -> None:
    plane_pools.toys(job.inputs[0], 3)
    processes.broker(job.broker, *QUICK)
    plane_pools.start(processes, job.broker, planes=[1, 2])
    plane_pools.start(processes, job.broker, planes=[0], target="tests.support.odd_planes:Silent")
    report = score(job)
    recorded = [record for record in records(job) if isinstance(record, EventTimes)]
    silent = [crop.busy for event in recorded for crop in event.crops if crop.plane == 0]
    assert silent == [UNKNOWN] * len(silent)
    job_figures = figures(records(job))
    assert job_figures.untimed == len(silent) > 0
    assert job_figures.crops == report.crops
    assert f"{len(silent)} crops' workers did not say" in ssnet("ledger", job.ledger).stdout


def test_the_command_prints_tables_and_json_and_writes_a_trace(
    job: ScoringJob, processes: Processes, tmp_path: Path
) -> None:
    plane_pools.toys(job.inputs[0], 6)
    start(processes, job.broker, {plane: [(1, 0.01)] for plane in PLANES})
    other = tmp_path / "times.ledger"
    odd = tmp_path / os.fsdecode(b"\xffout.root")
    score(replace(job, output=odd, ledger=other))
    trace = tmp_path / "timeline.json"
    text = ssnet("ledger", other, "-o", trace).stdout
    slices = json.loads(trace.read_text())["traceEvents"]
    assert {slice_["args"]["entry"] for slice_ in slices if slice_["ph"] == "X"} == set(range(6))
    assert [path.name for path in tmp_path.iterdir() if "timeline" in path.name] == [trace.name]
    for words in (
        r"6 events of \udcffout.root",
        "queue and wire",
        "slowest events",
        "3,0,5",
    ):
        assert words in text
    values = json.loads(ssnet("ledger", other, "--json").stdout)
    assert (values["events"], values["ends"], values["torn_bytes"]) == (6, ["done"], 0)
    assert [pool["plane"] for pool in values["pools"]] == [0, 1, 2]
    assert values["crop_stages"]["1"]["computed"]["p50_s"] >= 0.0099
    assert len(values["slowest"]) == 6
    assert values["limits"][0]["text"] in text


def test_files_that_are_not_ledgers_and_other_names_of_traces_are_one_line(
    job: ScoringJob, tmp_path: Path
) -> None:
    plane_pools.toys(job.inputs[0], 1)
    assert "want a ledger of ssnet run" in one_line(ssnet("ledger", job.inputs[0], code=1))
    assert "cannot read" in one_line(ssnet("ledger", tmp_path / "nowhere", code=1))
    text = one_line(ssnet("ledger", job.inputs[0], "-o", tmp_path / "x.png", code=1))
    assert "want a trace named .json" in text


def test_a_ledger_that_would_replace_a_file_of_the_run_is_refused(job: ScoringJob) -> None:
    for path in (job.output, job.inputs[0]):
        with pytest.raises(SettingsError, match="want a ledger apart from inputs and output"):
            replace(job, ledger=path)
