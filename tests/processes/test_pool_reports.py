"""`mdp pool status`, `logs`, `doctor` and `--pool`, with a pool of processes of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands_of_mdp import mdp
from tests.support.processes import marked, until

_MARK = "MDP_TEST_POOL"


class Pool:
    """A pool of one echo worker; nothing of it outlives the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex

    def __call__(self, *words: object, code: int = 0) -> str:
        """`mdp ARGUMENTS`; what it prints."""
        return mdp(*words, code=code, **{_MARK: self.mark}).stdout

    def start(self, target: str, *options: str) -> None:
        words = ("--launcher", "local", "-n", "1", *options)
        self("pool", "start", self.folder, "echo", target, *words)

    def status(self, *, code: int | None = None) -> dict[str, Any]:
        report = json.loads(self("pool", "status", self.folder, "--json", code=code or 0))
        assert isinstance(report, dict)
        return report

    def findings(self, *, code: int) -> list[dict[str, Any]]:
        report = json.loads(self("pool", "doctor", self.folder, "--json", code=code))
        found = report["findings"]
        assert isinstance(found, list)
        return found

    def keeper(self) -> int:
        return int(json.loads((self.folder / "keeper.json").read_text())["pid"])

    def close(self) -> None:
        for _ in range(3):  # a supervisor may start one while we look
            for pid in marked(_MARK, self.mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        until(lambda: not marked(_MARK, self.mark), "nothing is left of the pool")


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(tmp_path / "numbers")
    try:
        yield pool
    finally:
        pool.close()


def is_ready(pool: Pool) -> bool:
    log = pool.folder / "logs" / "1_0.log"
    return log.exists() and ": ready" in log.read_text()


def test_a_pool_that_works(pool: Pool) -> None:
    pool.start("mdp.echo:Echo")
    until(lambda: is_ready(pool), "the worker is ready")
    assert pool("call", "echo", "hello", "--pool", pool.folder) == "hello\n"
    report = pool.status()
    row = report["services"]["echo"]
    assert (row["want"], row["ready"], row["busy"], row["starting"]) == (1, 1, 0, 0)
    assert row["p50_s"] > 0
    assert report["broker"]["alive"]
    assert report["keeper"]["alive"]
    table = pool("pool", "status", pool.folder)
    assert [
        words for words in map(str.split, table.splitlines()) if words[:3] == ["echo", "1", "1"]
    ]
    assert pool("pool", "status", pool.folder, "--quiet") == ""
    assert not [finding for finding in pool.findings(code=0) if finding["level"] != "ok"]
    assert "1_0: " in pool("pool", "logs", pool.folder, "--lines", 1)
    whole = pool("pool", "logs", pool.folder, "--job", "1_0", "--service", "echo")
    assert "numbers job 1_0 on" in whole
    assert "echo" in pool("services", "--pool", pool.folder)


def test_without_keeper_and_broker_the_status_says_so_and_the_doctor_what_to_do(
    pool: Pool,
) -> None:
    pool.start("mdp.echo:Echo")
    until(lambda: is_ready(pool), "the worker is ready")
    os.kill(pool.keeper(), signal.SIGKILL)
    broker = json.loads((pool.folder / "broker.json").read_text())["pid"]
    os.kill(int(broker_parent(broker)), signal.SIGKILL)
    until(lambda: not Path(f"/proc/{broker}").exists(), "the broker ended with its supervisor")
    report = json.loads(pool("pool", "status", pool.folder, "--json", code=1))
    assert not report["broker"]["alive"]
    assert not report["keeper"]["alive"]
    assert report["services"]["echo"]["ready"] is None
    wrong = [f for f in pool.findings(code=1) if f["level"] == "WRONG"]
    assert any("no broker answers" in f["text"] for f in wrong)
    assert any("pool start numbers" in f["todo"] for f in wrong)


def broker_parent(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]


def test_a_job_that_fails_is_explained(pool: Pool) -> None:
    pool.start("mdp.echo:Echo", "--setup", "module load nowhere")
    until(
        lambda: [e for e in history(pool) if e["event"] == "ended" and e["bad"]],
        "a bad end is noted",
    )
    wrong = [f for f in pool.findings(code=1) if f["level"] == "WRONG" and "ended" in f["text"]]
    assert "command not found" in wrong[0]["text"]
    assert "--setup" in wrong[0]["todo"]
    failed = pool("pool", "logs", pool.folder, "--failed")
    assert "ended with code 1" in failed
    assert "command not found" in failed


def history(pool: Pool) -> list[dict[str, Any]]:
    path = pool.folder / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_stopped_or_missing_pool_is_one_line_at_once(pool: Pool) -> None:
    missing = mdp("call", "echo", "x", "--pool", pool.folder, code=1)
    assert "is not a pool" in missing.stderr
    assert "is not a pool" in mdp("pool", "status", pool.folder, code=1).stderr
    pool.start("mdp.echo:Echo")
    pool("pool", "stop", pool.folder)
    stopped = mdp("call", "echo", "x", "--pool", pool.folder, "--wait", 60, code=1)
    assert "was stopped" in stopped.stderr
    assert len(stopped.stderr.splitlines()) == 1
    assert [f["level"] for f in pool.findings(code=0)] == ["ok", "note"]


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("call", "echo", "x", "--pool", "a", "--broker", "tcp://a:1"), "--pool"),
        (("pool", "status", "a", "--every", "1"), "--every"),
        (("pool", "status", "a", "--quiet", "--json"), "--quiet"),
        (("pool", "logs", "a", "--job", "1", "--failed"), "--failed"),
    ],
)
def test_options_that_contradict_each_other(words: tuple[str, ...], option: str) -> None:
    assert option in mdp(*words, code=2).stderr
