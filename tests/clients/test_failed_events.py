"""Events that no worker can score: named, empty, and mended by a retry. Real processes."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.ledger.figures import figures
from clients.ledger.file import LedgerReader
from clients.scoring.job import ScoringJob
from clients.scoring.output.failures import EventFailed, TooManyFailed
from clients.scoring.score import score
from lartpc import Event, FileExists, WriteError, open_writer
from lartpc.crops import chain
from mdp import SettingsError
from services.planes import PLANES
from tests.support import plane_pools
from tests.support.commands_of_ssnet import ssnet
from tests.support.processes import Processes
from tests.support.production_runs import Pools, names, stop, without

EVENTS = 12


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pools]:
    folder = tmp_path_factory.mktemp("pools")
    with Processes(folder) as processes:
        yield Pools(processes, folder)


@pytest.fixture
def job(pools: Pools, tmp_path: Path) -> ScoringJob:
    plane_pools.toys(tmp_path / "in.root", EVENTS)
    pools.poison("abort")
    return ScoringJob(
        inputs=(tmp_path / "in.root",),
        output=tmp_path / "out.root",
        broker=pools.endpoint,
        mode=chain.Croi(size=64),
        timeout_s=60,
    )


def report(job: ScoringJob) -> list[dict[str, Any]]:
    values = json.loads(job.output.with_name("out.root.failed.json").read_text())
    rows: list[dict[str, Any]] = values["failed"]
    return rows


def calm(job: ScoringJob, pools: Pools) -> list[Event]:
    pools.poison("abort")
    whole = replace(job, output=job.output.with_name("calm.root"))
    score(whole)
    return plane_pools.read(whole.output)


def test_a_retry_adds_to_the_ledger_of_the_run_before_it(job: ScoringJob, pools: Pools) -> None:
    timed = replace(job, ledger=job.output.with_name("times"))
    pools.poison("abort", 2, 5)
    score(timed)
    pools.poison("abort")
    score(replace(timed, retry_failed=True))
    assert timed.ledger is not None
    result = figures(LedgerReader(timed.ledger))
    assert (result.events, len(result.runs), result.earlier) == (EVENTS + 2, 2, 0)
    assert [item.done for item in result.runs] == [0, EVENTS - 2]
    score(replace(timed, force=True))  # which begins anew
    assert figures(LedgerReader(timed.ledger)).events == EVENTS


def test_three_poison_events_among_two_hundred_are_named_and_mended_by_a_retry(
    processes: Processes, tmp_path: Path
) -> None:
    pools = Pools(processes, tmp_path, workers=2, mortal=[1])
    events = plane_pools.toys(tmp_path / "in.root", 200)
    poison = [17, 101, 198]
    files = (tmp_path / "in.root", "-o", tmp_path / "out.root", "--broker", pools.endpoint)
    ssnet("run", *files[:2], tmp_path / "calm.root", *files[3:], "--size", "64")
    expected = plane_pools.read(tmp_path / "calm.root")

    pools.poison("abort", *(events[number].rse.event for number in poison))
    done = ssnet("run", *files, "--size", "64", code=3)
    assert "3 of 200 events failed and are empty: out.root.failed.json names them" in done.stderr
    got = plane_pools.read(tmp_path / "out.root")
    assert plane_pools.same(got, without(expected, *poison))
    rows = json.loads((tmp_path / "out.root.failed.json").read_text())["failed"]
    assert {row["entry"] for row in rows} == set(poison)
    for row in rows:
        assert events[row["entry"]].rse == (row["run"], row["subrun"], row["event"])
        assert row["where"] == f"{tmp_path / 'in.root'} entry {row['entry']}"
        assert (row["code"], row["plane"]) == (502, 1)
        assert "3 workers" in row["reason"]
        assert f"{row['run']}, {row['subrun']}, {row['event']}" in done.stdout
    # a crop takes three workers with it, and no more
    assert 0 < pools.deaths() <= 3 * len(rows)

    same = ssnet("run", *files, "--size", "64", code=3)
    assert "is whole already" in same.stderr
    assert "3 of 200 events failed and are empty" in same.stderr
    pools.poison("abort")
    done = ssnet("run", *files, "--size", "64", "--retry-failed")
    assert "done by earlier runs" in done.stdout
    assert plane_pools.same(plane_pools.read(tmp_path / "out.root"), expected)
    assert sorted(p.name for p in tmp_path.iterdir() if "out" in p.name) == ["out.root"]
    again = ssnet("run", *files, "--size", "64", "--retry-failed")
    assert "no event of it failed" in again.stderr


@pytest.mark.parametrize(("end", "code"), [("refuse", 400), ("raise", 500)])
def test_what_a_handler_refuses_or_stumbles_over_is_named(
    job: ScoringJob, pools: Pools, end: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    expected = calm(job, pools)
    pools.poison(end, expected[5].rse.event)
    caplog.set_level(logging.INFO, "clients")
    done = score(job)
    rse = expected[5].rse
    lines = [line for line in caplog.messages if line.startswith("event ")]
    named = re.escape(f"event ({rse.run}, {rse.subrun}, {rse.event}) failed with {code}: ")
    assert len(lines) == len(PLANES)
    assert all(re.match(rf"{named}.*, request [0-9a-f]{{16}}: ", line) for line in lines)
    assert {item.entry for item in done.failed} == {5}
    assert {(row["code"], row["entry"]) for row in report(job)} == {(code, 5)}
    assert {row["plane"] for row in report(job)} == set(PLANES)
    assert all("poison: event" in row["reason"] for row in report(job))
    if code == 500:  # what a handler stumbles over may be its machine's fault
        assert {row["host"] for row in report(job)} == {socket.gethostname()}
        assert all(re.fullmatch(r".+:\d+", row["worker"]) for row in report(job))
        assert len({row["worker"] for row in report(job)}) == len(PLANES)
    assert plane_pools.same(plane_pools.read(job.output), without(expected, 5))


@pytest.mark.parametrize("copy_input", [False, True])
def test_failed_events_survive_a_stop_and_a_retry_survives_one_too(
    job: ScoringJob, pools: Pools, copy_input: bool
) -> None:
    job = replace(job, part_s=0, copy_input=copy_input)
    expected = calm(job, pools)
    pools.poison("refuse", *(expected[number].rse.event for number in (2, 6, 10)))
    stop(job, at=4)
    assert {item.entry for item in score(job).failed} == {2, 6, 10}
    assert names(job) == ["out.root", "out.root.failed.json"]

    retry = replace(job, retry_failed=True)
    pools.poison("refuse", expected[10].rse.event)
    stop(retry, at=7)
    assert names(job) == [".out.root.parts", "out.root", "out.root.failed.json"]
    done = score(retry)
    assert {item.entry for item in done.failed} == {10}
    assert done.events == 1
    assert {row["entry"] for row in report(job)} == {10}
    assert plane_pools.same(plane_pools.read(job.output), without(expected, 10))

    pools.poison("refuse")
    assert score(retry).failed == ()
    assert names(job) == ["out.root"]
    assert plane_pools.same(plane_pools.read(job.output), expected)


def test_a_run_and_a_retry_do_not_go_on_with_each_other(job: ScoringJob, pools: Pools) -> None:
    job = replace(job, part_s=0)
    expected = calm(job, pools)
    pools.poison("refuse", expected[3].rse.event)
    score(job)
    stop(replace(job, force=True), at=2)
    with pytest.raises(SettingsError, match="retry output name"):
        score(replace(job, retry_failed=True))
    assert {item.entry for item in score(replace(job, force=True)).failed} == {3}


def test_a_retry_of_another_run_or_another_file_is_refused(job: ScoringJob, pools: Pools) -> None:
    expected = calm(job, pools)
    retry = replace(job, retry_failed=True)
    with pytest.raises(SettingsError, match="want the output of a run to retry, got none"):
        score(retry)
    pools.poison("refuse", expected[3].rse.event)
    score(job)
    with pytest.raises(SettingsError, match=r"threshold_adc \(was 10.0, is 12.0\): --force"):
        score(replace(retry, low_adc=12.0))
    job.output.write_bytes(job.output.with_name("calm.root").read_bytes())
    with pytest.raises(SettingsError, match=r"sha256 \(was .*: --force"):
        score(retry)
    assert names(job) == ["out.root", "out.root.failed.json"]


def test_an_output_whose_report_was_lost_is_not_called_whole(job: ScoringJob, pools: Pools) -> None:
    expected = calm(job, pools)
    pools.poison("refuse", expected[3].rse.event, expected[5].rse.event)
    score(job)
    job.output.with_name("out.root.failed.json").unlink()
    with pytest.raises(FileExists, match=r"already, with 2 events that failed: want .*failed.json"):
        score(job)
    with pytest.raises(SettingsError, match=r"failed.json, which names the 2 events .*got none"):
        score(replace(job, retry_failed=True))
    assert score(replace(job, force=True)).events == EVENTS


def test_a_file_that_does_not_say_who_made_it_is_not_mended(job: ScoringJob) -> None:
    with open_writer(job.output, images=["wire"]):
        pass
    with pytest.raises(SettingsError, match=r"out\.root, which has no provenance"):
        score(replace(job, retry_failed=True))


def test_a_retry_goes_on_however_many_of_its_events_fail_again(
    job: ScoringJob, pools: Pools
) -> None:
    source = job.output.with_name("many.root")
    events = plane_pools.toys(source, 120)
    job = replace(job, inputs=(source,))
    poison = [event.rse.event for event in events if any(event.images.values())][5::9]
    pools.poison("refuse", *poison)
    assert len({item.entry for item in score(job).failed}) == 11
    pools.poison("refuse", *poison[1:])
    assert len({item.entry for item in score(replace(job, retry_failed=True)).failed}) == 10


def test_a_report_that_cannot_be_written_is_an_error_before_the_output_has_its_name(
    job: ScoringJob, pools: Pools
) -> None:
    report_at = job.output.with_name("out.root.failed.json")
    report_at.mkdir()
    pools.poison("refuse", calm(job, pools)[3].rse.event)
    with pytest.raises(WriteError, match=r"cannot write .*out\.root: Is a directory"):
        score(job)
    assert names(job) == [".out.root.parts", "out.root.failed.json"]
    report_at.rmdir()
    assert {item.entry for item in score(job).failed} == {3}


def test_strict_ends_the_run_at_the_first_failure_and_keeps_what_was_before(
    job: ScoringJob, pools: Pools
) -> None:
    expected = calm(job, pools)
    pools.poison("refuse", expected[5].rse.event)
    with pytest.raises(EventFailed, match=r"in\.root entry 5 plane 0 crop 0: .*poison"):
        score(replace(job, strict=True))
    assert names(job) == [".out.root.parts"]
    pools.poison("refuse")
    assert score(replace(job, strict=True)).earlier == 5
    assert plane_pools.same(plane_pools.read(job.output), expected)


def test_services_that_refuse_everything_end_the_run_and_leave_nothing(
    job: ScoringJob, pools: Pools
) -> None:
    source = job.output.with_name("many.root")
    events = plane_pools.toys(source, 30)
    job = replace(job, inputs=(source,))
    pools.poison("refuse", *(event.rse.event for event in events))
    with pytest.raises(TooManyFailed, match=r"10 of 12 events failed, .*--max-failed"):
        score(job)
    assert names(job) == []
    assert len({item.entry for item in score(replace(job, max_failed=1)).failed}) == 24


def test_without_failures_an_old_report_goes(job: ScoringJob, pools: Pools) -> None:
    expected = calm(job, pools)
    pools.poison("refuse", expected[3].rse.event)
    score(job)
    pools.poison("refuse")
    score(replace(job, force=True))
    assert names(job) == ["out.root"]
