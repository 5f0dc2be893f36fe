"""What `pool doctor` finds, for looks and logs that are made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mdp.pool.doctor import (
    Evidence,
    Finding,
    diagnose,
    folder_findings,
    is_wrong,
    parse_partitions,
)
from mdp.pool.job_logs import Life
from mdp.pool.launcher import Resources
from mdp.pool.pending import Partition
from mdp.pool.pool_folder import PoolFolder
from mdp.pool.status import BrokerView
from tests.support.pools import KEEPER, NOW, a_job, a_service, a_sight, a_worker, the_settings

EVIDENCE = Evidence(version="1.0", program="ssnet")
NO_BROKER = "2026-11-28T14:50:00+00:00 WARNING no broker answers at tcp://login2:46113 for 10 s: "
REFUSED = NO_BROKER + "10.0.0.2:46113 refuses the connection (errno 111)"
ENDED = {"event": "ended", "job": "1_0", "kind": "plane0", "host": "n1", "code": "FAILED"}
BAD = {**ENDED, "bad": True, "time": NOW - 60.0}


def lives(*lines: str, job: str = "1_0", code: int | None = None) -> dict[str, Life]:
    return {job: Life(host="n7", lines=list(lines), code=code)}


def one(sight: Any, evidence: Evidence = EVIDENCE, level: str = "WRONG") -> Finding:
    """Return the only finding of a level."""
    findings = [finding for finding in diagnose(sight, evidence) if finding.level == level]
    assert len(findings) == 1, findings
    return findings[0]


def lonely(ran_s: float, **fields: Any) -> Any:
    """A pool of one service whose only job has no registered worker."""
    return a_sight(
        settings=the_settings("plane0"),
        jobs=[a_job("1_0", started_at=NOW - ran_s)],
        **{"workers": [], "services": {"plane0": a_service(0)}, **fields},
    )


def test_nothing_is_wrong_with_a_pool_that_works() -> None:
    findings = diagnose(a_sight(), EVIDENCE)
    assert not is_wrong(findings)
    assert {finding.level for finding in findings} == {"ok"}
    assert any("4 jobs" in finding.text for finding in findings)


@pytest.mark.parametrize(
    ("fields", "words", "todo"),
    [
        (
            {"broker": BrokerView("tcp://login2:1", "login2", trouble="refused")},
            ["tcp://login2:1 on login2", "refused"],
            "the keeper starts it again",
        ),
        ({"broker": BrokerView(trouble="no contact file july")}, ["july"], "keeper"),
        ({"keeper_alive": False}, ["pid 4 on login2", "is gone"], "ssnet pool start july"),
        ({"keeper": replace(KEEPER, pid=0)}, ["no keeper"], "ssnet pool start july"),
        ({"keeper": replace(KEEPER, beat=NOW - 600.0)}, ["10 min"], "keeper.log"),
        ({"keeper": replace(KEEPER, trouble="disk full")}, ["disk full"], "keeper.log"),
        ({"silence": "timed out"}, ["Slurm does not answer", "timed out", "3 s old"], "wait"),
        ({"keeper": replace(KEEPER, paused={"plane0": "3 bad"})}, ["plane0", "3 bad"], "start"),
    ],
)
def test_troubles_of_broker_keeper_and_slurm(
    fields: dict[str, Any], words: list[str], todo: str
) -> None:
    finding = one(a_sight(**fields))
    assert [word for word in words if word not in finding.text] == []
    assert todo in finding.todo


@pytest.mark.parametrize(
    ("broker", "todo"), [("job", "submits a job"), ("tcp://x:1", "--broker"), ("here", "again")]
)
def test_what_to_do_without_a_broker_depends_on_whose_it_is(broker: str, todo: str) -> None:
    settings = replace(the_settings(), broker=broker)
    view = BrokerView("tcp://x:1", trouble="refused")
    assert todo in one(a_sight(settings=settings, broker=view)).todo


def test_a_queued_job_with_the_broker_is_no_error() -> None:
    settings = replace(the_settings(), broker="job")
    sight = a_sight(settings=settings, broker=BrokerView(trouble="no file"))
    assert not is_wrong(diagnose(sight, EVIDENCE))


def test_a_job_that_never_starts_names_the_option_and_its_value() -> None:
    resources = Resources(time_s=600.0, partition="short")
    pending = [
        a_job(f"3_{number}", state="pending", reason="PartitionTimeLimit") for number in range(3)
    ]
    sight = a_sight(settings=the_settings(resources=resources), jobs=[*a_sight().jobs, *pending])
    evidence = replace(EVIDENCE, partitions={"short": Partition("short", limit_s=120.0)})
    finding = one(sight, evidence)
    assert "3_0 ... 3_2 (3 jobs)" in finding.text
    assert "short allows 2 min, asked 10 min" in finding.text
    assert finding.todo.startswith("--time 2m")


def test_a_held_job_names_the_command_with_its_id() -> None:
    held = a_job("3_0", state="pending", reason="JobHeldUser")
    finding = one(a_sight(jobs=[*a_sight().jobs, held]))
    assert finding.todo.startswith("scontrol release 3_0")


def test_a_job_that_waits_its_turn_is_no_error_and_says_when_it_starts() -> None:
    queued = a_job("3_0", state="pending", reason="Resources", started_at=NOW + 600.0)
    findings = diagnose(a_sight(jobs=[*a_sight().jobs, queued]), EVIDENCE)
    assert not is_wrong(findings)
    assert any("10 min" in finding.text and "3_0" in finding.text for finding in findings)


@pytest.mark.parametrize("reason", ["login2 is not a known name (errno -2)", "x does not react"])
def test_a_job_without_a_broker_says_that_its_node_cannot_reach_it(reason: str) -> None:
    finding = one(lonely(40.0), replace(EVIDENCE, lives=lives(NO_BROKER + reason)))
    assert "1_0 on n7" in finding.text
    assert "ran 40 s" in finding.text
    assert "never said READY" in finding.text
    assert reason in finding.text
    assert "--broker job" in finding.todo
    assert "--advertise" in finding.todo


def test_the_nodes_are_not_blamed_if_the_broker_is_gone() -> None:
    view = BrokerView("tcp://login2:46113", "login2", trouble="refused")
    sight = lonely(40.0, broker=view, services=None)
    findings = diagnose(sight, replace(EVIDENCE, lives=lives(REFUSED)))
    texts = [finding for finding in findings if "1_0" in finding.text]
    assert len(texts) == 1
    assert "--broker job" not in texts[0].todo


@pytest.mark.parametrize(
    ("line", "todo"),
    [
        ("ssnet pool: --setup failed with code 127", "--setup"),
        ("script: line 9: module: command not found", "--setup"),
        ("python: No module named clients", "--setup"),
        ("ssnet: want a folder of networks, got /no", "option"),
        ("slurmstepd: error: Detected 1 oom-kill event", "--mem"),
        ("OSError: [Errno 28] No space left on device", "room"),
    ],
)
def test_a_bad_end_names_its_reason_from_the_log(line: str, todo: str) -> None:
    evidence = replace(EVIDENCE, history=[BAD], lives=lives("before", line, job="1_0", code=1))
    finding = one(a_sight(), evidence)
    assert "1_0 on n1 (plane0) ended with code 1" in finding.text
    assert todo in finding.todo
    assert finding.lines[-1] == line


def test_equal_bad_ends_are_one_finding_and_are_over_when_a_later_job_was_ready() -> None:
    bad = [{**BAD, "job": f"1_{number}", "time": NOW - 60.0 + number} for number in range(3)]
    logs = {f"1_{n}": Life(lines=[f"mdp: want {n}, got 7"], code=1) for n in range(3)}
    evidence = replace(EVIDENCE, history=bad, lives=logs)
    assert "(and 2 before it)" in one(a_sight(), evidence).text
    ready = {"event": "ready", "job": "1_9", "kind": "plane0", "time": NOW}
    later = replace(evidence, history=[*bad, ready])
    assert "a later job was ready" in one(a_sight(), later, "note").text
    other = replace(evidence, history=[*bad, {**ready, "kind": "plane2"}])
    assert is_wrong(diagnose(a_sight(), other))


@pytest.mark.parametrize("code", ["PREEMPTED", "TIMEOUT", "NODE_FAIL", "CANCELLED"])
def test_what_the_batch_system_did_is_no_error(code: str) -> None:
    evidence = replace(EVIDENCE, history=[{**BAD, "code": code, "bad": False}])
    assert not is_wrong(diagnose(a_sight(), evidence))


def test_a_job_without_a_log_runs_where_the_folder_is_not_seen() -> None:
    finding = one(lonely(15.0))
    assert "wrote no log" in finding.text
    assert "share" in finding.todo


def test_a_young_job_just_starts() -> None:
    findings = diagnose(lonely(15.0), replace(EVIDENCE, lives=lives("reading")))
    assert not is_wrong(findings)


def test_an_old_job_that_says_nothing_shows_its_last_lines() -> None:
    finding = one(lonely(90.0), replace(EVIDENCE, lives=lives("reading", "still reading")))
    assert "names no error" in finding.text
    assert finding.lines == ("reading", "still reading")


def test_a_worker_that_stands_by_is_no_error() -> None:
    standing = "2026-11-28T14:50:00+00:00 INFO    plane0#1: standing by: plane0 is served by"
    standing += " 1 worker of fingerprint 'a', this one has fingerprint 'b'"
    evidence = replace(EVIDENCE, lives=lives(standing))
    assert not is_wrong(diagnose(lonely(900.0), evidence))


def test_a_service_without_worker_and_job() -> None:
    finding = one(a_sight(jobs=[], workers=[], services={"plane0": a_service(1)}))
    assert "plane2" in finding.text
    assert "pool logs july --failed" in finding.todo


def test_versions_that_differ() -> None:
    old = [a_worker("plane0", "1_0", facts={"version": "0.9"})]
    finding = one(a_sight(workers=[*a_sight().workers[1:], *old]))
    assert "1_0" in finding.text
    assert "0.9" in finding.text
    assert "1.0" in finding.todo
    assert "2.0" in one(a_sight(), replace(EVIDENCE, version="2.0")).text


def test_an_excluded_host_is_named_and_the_pool_works() -> None:
    sight = a_sight(keeper=replace(KEEPER, excluded={"n1": "2 bad ends"}))
    assert "n1" in one(sight, EVIDENCE, "note").text
    assert not is_wrong(diagnose(sight, EVIDENCE))


def test_a_stopped_pool_says_so_and_names_jobs_that_are_left() -> None:
    findings = diagnose(a_sight(stopped_at=NOW - 60.0, broker=BrokerView()), EVIDENCE)
    assert [finding.level for finding in findings] == ["note", "note"]
    assert "60 s ago" in findings[0].text
    assert "4 jobs" in findings[1].text


def test_a_stopped_pool_still_tells_why_its_jobs_failed_and_that_slurm_is_silent() -> None:
    keeper = replace(KEEPER, paused={"plane0": "3 bad"})
    evidence = replace(EVIDENCE, history=[BAD], lives=lives("no such file", code=1))
    sight = a_sight(stopped_at=NOW - 60.0, jobs=[], keeper=keeper, silence="timed out")
    note, *wrong = diagnose(sight, evidence)
    assert "correct" in note.todo
    assert {finding.level for finding in wrong} == {"WRONG"}
    texts = " ".join(finding.text for finding in wrong)
    assert "3 bad" in texts
    assert "1_0" in texts
    assert "Slurm does not answer" in texts


# What it reads.


def test_partitions_are_read_from_sinfo() -> None:
    listing = "batch*|7-00:00:00|up|idle|3\nbatch*|7-00:00:00|up|down*|1\nshort|2:00|up|mixed|1\n"
    found = parse_partitions(listing + "old|infinite|down|drained|4\nnot a line\n")
    assert found["batch"] == Partition("batch", 7 * 86400.0, up=True, usable=3, default=True)
    assert found["short"].limit_s == 120.0
    assert (found["old"].up, found["old"].usable) == (False, 0)
    assert set(found) == {"batch", "short", "old"}


def test_the_folder_can_be_written(tmp_path: Path) -> None:
    (finding,) = folder_findings(PoolFolder(tmp_path), a_sight(), has_logs=True)
    assert finding.level == "ok"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (finding,) = folder_findings(PoolFolder(tmp_path / "gone"), a_sight(), has_logs=True)
    assert finding.level == "WRONG"
    assert "gone" in finding.text


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1 << 20))
    (finding,) = folder_findings(PoolFolder(tmp_path), a_sight(), has_logs=True)
    assert finding.level == "WRONG"
    assert "1 MiB" in finding.text


@pytest.mark.parametrize(
    ("launcher", "has_logs", "level"),
    [("slurm", False, "note"), ("slurm", True, "ok"), ("local", False, "ok")],
)
def test_a_folder_of_one_machine_is_named_until_a_node_has_written_into_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    launcher: str,
    has_logs: bool,
    level: str,
) -> None:
    monkeypatch.setattr("mdp.pool.doctor._OWN_FOLDERS", (str(tmp_path),))
    sight = a_sight(settings=replace(the_settings(), launcher=launcher))
    (finding,) = folder_findings(PoolFolder(tmp_path / "."), sight, has_logs=has_logs)
    assert finding.level == level
