"""The fault suite's short form: the whole of it, as `make soak` runs it, for less than a minute."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.faults.plan import SORTS
from tests.support.optional import optional
from tests.support.processes import ROOT, marked, until

SOAK = [sys.executable, "-W", "error", "-m", "tests.faults.soak"]
SHORT = ("--seconds", "19", "--every", "0.45", "--seed", "5", "--events", "60")


def soak(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SOAK, *options], cwd=ROOT, capture_output=True, text=True, check=False)


def number(table: str, row: str) -> int:
    """What the table says in that row."""
    result = re.search(rf"^{re.escape(row)} +(\d+)$", table, re.MULTILINE)
    assert result, f"want a row {row!r} in\n{table}"
    return int(result[1])


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and pidfds")
def test_whatever_is_killed_stopped_or_cut_every_event_is_there_once_and_equal_to_the_bit() -> None:
    optional("ROOT")
    done = soak(*SHORT)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert number(done.stdout, "rounds of the client, outputs compared") >= 1
    assert number(done.stdout, "events") >= 20
    assert number(done.stdout, "faults") >= 20
    for row in ("events lost", "events duplicated", "events different", "outputs different"):
        assert number(done.stdout, row) == 0
    for row in ("probe: unanswered", "temporary files left", "processes left", "complaints"):
        assert number(done.stdout, row) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and pidfds")
def test_who_stops_it_at_once_finds_neither_a_process_nor_a_folder(tmp_path: Path) -> None:
    optional("ROOT")
    mark = uuid.uuid4().hex
    reports = {**os.environ, "TMPDIR": str(tmp_path), "SSNET_STOPPED": mark}
    with subprocess.Popen([*SOAK, *SHORT], cwd=ROOT, env=reports, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert str(tmp_path).encode() in run.stdout.readline()
        until(lambda: len(marked("SSNET_STOPPED", mark)) > 3, "it has started some workers")
        run.send_signal(signal.SIGINT)
        assert b"stopped before its end" in run.stdout.read()
    assert run.returncode == 130
    assert marked("SSNET_STOPPED", mark) == set()
    assert list(tmp_path.iterdir()) == []


def test_the_plan_can_be_seen_before_it_is_carried_out() -> None:
    done = soak("--plan", "--seconds", "200", "--every", "1")
    assert done.returncode == 0
    assert all(f"{kind.value} {part.value}" in done.stdout for kind, part in SORTS)
