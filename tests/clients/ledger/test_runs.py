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
from clients.ledger.records import UNKNOWN, End, Event, Named, Run
from clients.scoring.job import PLANES, ScoringJob
from clients.scoring.score import score
from lartpc import FileExists
from lartpc.crops import chain
from mdp import SettingsError
from tests.processes.test_ssnet_commands import one_line, ssnet
from tests.support import plane_pools
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
    for plane, each in workers.items():
        before = 0
        for count, seconds in each:
            plane_pools.start(
                processes, endpoint, planes=[plane], workers=count, there=before, seconds=seconds
            )
            before += count


def test_every_event_and_crop_is_in_the_ledger_with_times_that_fit_together(
    job: ScoringJob, processes: Processes
) -> None:
    events = plane_pools.toys(job.inputs[0], 12)
    start(processes, job.broker, {plane: [(2, 0.02)] for plane in PLANES})
    report = score(job)
    facts, *others, end = records(job)
    assert isinstance(facts, Run)
    assert (facts.output, facts.events, facts.done, facts.window) == ("out.root", 12, 0, 8)
    assert facts.pools == {0: 2, 1: 2, 2: 2}
    assert end == End("done")
    named = [record for record in others if isinstance(record, Named)]
    assert sorted(each.plane for each in named) == [0, 0, 1, 1, 2, 2]
    assert len(set(named)) == report.workers == 6
    kept = [record for record in others if isinstance(record, Event)]
    assert [each.entry for each in kept] == list(range(12))
    assert [(e.run, e.subrun, e.event) for e in kept] == [tuple(e.rse) for e in events]
    assert sum(len(each.plane) for each in kept) == report.crops
    assert sum(sum(each.bytes_out) for each in kept) == report.bytes_out
    assert sum(sum(each.bytes_in) for each in kept) == report.bytes_in
    computed_s = sum(sum(each.computed) for each in kept) * 1e-5
    assert computed_s == pytest.approx(report.computed_s, abs=1e-5 * report.crops)
    for each in kept:
        assert_times_fit(each, named)


def assert_times_fit(event: Event, named: Sequence[Named]) -> None:
    rounding = 3
    assert event.read + event.chain + event.pack + event.room <= event.asked + rounding
    assert event.taken + event.check + event.stitch + event.write <= event.written + rounding
    assert sum(event.cut) <= event.chain + len(event.cut)
    assert sum(event.packed) <= event.pack + len(event.packed)
    for k, plane in enumerate(event.plane):
        assert named[event.worker[k]].plane == plane
        assert event.room <= event.sent[k] <= event.asked
        assert 2000 <= event.computed[k] <= event.busy[k] <= event.trip[k] + rounding
        assert event.sent[k] + event.trip[k] <= event.taken + rounding


LIMITS: dict[str, tuple[dict[int, list[tuple[int, float]]], dict[str, int], Kind, str]] = {
    "a plane": (
        {0: [(2, 0.01)], 1: [(2, 0.01)], 2: [(1, 0.15)]},
        {},
        "planes",
        "move workers from plane 0 and plane 1 to plane 2",
    ),
    "all planes": (
        {plane: [(1, 0.15)] for plane in PLANES},
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
        return sum(isinstance(record, Event) for record in LedgerReader(Path(ledger)))

    until(lambda: events() >= 5, "five events are in the ledger")
    running.send(signal.SIGKILL)
    running.exit_code()
    count = events()
    said = ssnet("ledger", ledger).stdout
    assert f"{count} events of out.root" in said
    assert "A run was killed, or goes on." in said
    ssnet("run", *files, *options)
    said = ssnet("ledger", ledger).stdout
    assert "40 events of out.root:" in said
    assert "The file also holds 1 earlier runs" in said
    assert "killed" not in said
    ssnet("run", *files, *options, "--force")
    assert "earlier" not in ssnet("ledger", ledger).stdout


def test_a_run_that_failed_says_why_in_its_ledger(job: ScoringJob, processes: Processes) -> None:
    plane_pools.toys(job.inputs[0], 3)
    processes.broker(job.broker, *QUICK)
    plane_pools.start(processes, job.broker, target="tests.support.odd_planes:WrongMeta")
    with pytest.raises(AnswerError):
        score(job)
    end = records(job)[-1]
    assert isinstance(end, End)
    assert end.how.startswith("AnswerError: ")
    assert "want an answer to Plane 0" in end.how
    said = one_line(ssnet("ledger", job.ledger, code=1))
    assert "want a ledger of some events, got none" in said
    assert "AnswerError" in said


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
    assert isinstance(last, Event)
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
    kept = [record for record in records(job) if isinstance(record, Event)]
    silent = [event.busy[k] for event in kept for k, p in enumerate(event.plane) if p == 0]
    assert silent == [UNKNOWN] * len(silent)
    made = figures(records(job))
    assert made.unsaid == len(silent) > 0
    assert made.crops == report.crops
    assert f"{len(silent)} crops' workers did not say" in ssnet("ledger", job.ledger).stdout


def test_the_command_prints_tables_json_and_draws(
    job: ScoringJob, processes: Processes, tmp_path: Path
) -> None:
    plane_pools.toys(job.inputs[0], 6)
    start(processes, job.broker, {plane: [(1, 0.01)] for plane in PLANES})
    other = tmp_path / "times.ledger"
    odd = tmp_path / os.fsdecode(b"\xffout.root")
    score(replace(job, output=odd, ledger=other))
    picture = tmp_path / "timeline.png"
    said = ssnet("ledger", other, "-o", picture).stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir() if "timeline" in path.name] == [picture.name]
    for text in (
        r"6 events of \udcffout.root",
        "queue and wire",
        "slowest events",
        "3,0,5",
    ):
        assert text in said
    made = json.loads(ssnet("ledger", other, "--json").stdout)
    assert (made["events"], made["ends"], made["torn_bytes"]) == (6, ["done"], 0)
    assert [pool["plane"] for pool in made["pools"]] == [0, 1, 2]
    assert made["crop_stages"]["1"]["computed"]["p50_s"] >= 0.0099
    assert len(made["slowest"]) == 6
    assert made["limits"][0]["text"] in said


def test_files_that_are_no_ledger_and_pictures_that_are_none_are_one_line(
    job: ScoringJob, tmp_path: Path
) -> None:
    plane_pools.toys(job.inputs[0], 1)
    assert "want a ledger of ssnet run" in one_line(ssnet("ledger", job.inputs[0], code=1))
    assert "cannot read" in one_line(ssnet("ledger", tmp_path / "nowhere", code=1))
    said = one_line(ssnet("ledger", job.inputs[0], "-o", tmp_path / "x.jpg", code=1))
    assert "want a picture named .png" in said


def test_a_ledger_that_would_replace_a_file_of_the_run_is_refused(job: ScoringJob) -> None:
    for path in (job.output, job.inputs[0]):
        with pytest.raises(SettingsError, match="want a ledger apart from inputs and output"):
            replace(job, ledger=path)
