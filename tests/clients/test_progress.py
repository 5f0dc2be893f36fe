"""What long commands show while they run: lines in a log, a bar on a terminal, closing figures."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from clients.files.failed_report import Failure
from clients.flow.stopwatch import Stopwatch
from clients.ledger import ledger_tables
from clients.ledger.figures import figures
from clients.ledger.file import LedgerReader
from clients.scoring import closing_tables
from clients.scoring.job import ScoringJob
from clients.scoring.score import score
from lartpc.crops import chain
from services.planes import PLANES
from tests.support import plane_pools
from tests.support.commands_of_ssnet import ssnet
from tests.support.processes import QUICK, ROOT, Processes, free_port

pytestmark = pytest.mark.slow

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with a stand-in for each plane, which takes a tenth of a second for a crop."""
    with Processes(tmp_path_factory.mktemp("pools")) as processes:
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        processes.broker(endpoint, *QUICK)
        plane_pools.start(processes, endpoint, seconds=0.1)
        yield endpoint


@pytest.fixture
def job(endpoint: str, tmp_path: Path) -> ScoringJob:
    plane_pools.toys(tmp_path / "in.root", 8)
    return ScoringJob(
        inputs=(tmp_path / "in.root",),
        output=tmp_path / "out.root",
        broker=endpoint,
        mode=chain.Croi(size=64),
        timeout_s=30,
    )


def command(job: ScoringJob, *options: str) -> list[str]:
    where = ("-o", str(job.output), "--broker", job.broker, "--size", "64")
    return ["run", str(job.inputs[0]), *where, *options]


PROGRAM = """
import logging, sys, time
from clients.terminal import screen
from mdp.system.logs import configure_logging
configure_logging(verbose=False)
with screen.progress("events", command="test", interval_s=0.2) as show:
    show.step("waiting for the moon")
    time.sleep({wait_s})
    show.begin("ten events of nothing", total=10)
    for done in range(1, 11):
        time.sleep(0.1)
        show(done, 10, done // 5)
        if done == 4:
            logging.warning("a line of a hundred characters " + "x" * 80 + " and its end")
            show.step("waiting for scores")
        if done == {stop}:
            raise SystemExit("it broke")
"""


def program(wait_s: float = 0, stop: int = 99) -> list[str]:
    return [sys.executable, "-W", "error", "-c", PROGRAM.format(wait_s=wait_s, stop=stop)]


# In a log.


def test_a_run_into_a_file_says_what_it_does_at_the_start_and_at_the_end(job: ScoringJob) -> None:
    choice, first, *between, last = ssnet(*command(job)).stderr.splitlines()
    assert all("so far" in line or "waiting" in line for line in between)  # on a slow machine
    assert "tick order backward: the regions of interest" in choice
    for line in (first, last):
        assert re.match(rf"{STAMP} ssnet run: ", line)
        assert datetime.fromisoformat(line.split()[0]).tzinfo
    for text in ("8 events of", "in.root", "out.root", "mode croi", "tick order backward"):
        assert text in first
    assert re.search(r"weights \(sha256\): plane 0 .+, plane 1 .+, plane 2 .+$", first)
    assert "done after" in last
    assert "8 of 8 events (100 %)" in last


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_run_that_is_stopped_says_how_far_it_came(
    job: ScoringJob, processes: Processes, number: signal.Signals
) -> None:
    plane_pools.toys(job.output.with_name("many.root"), 60)
    many = replace(job, inputs=(job.output.with_name("many.root"),))
    running = processes.python("-m", "clients", *command(many))
    running.wait_until_it_says("60 events of")
    running.send(number)
    assert running.exit_code() == 130
    last = [line for line in running.stderr.splitlines() if " ssnet run: " in line][-1]
    assert re.search(r"stopped by a signal after .*: \d+ of 60 events \(\d+ %\)$", last)


def test_a_log_has_a_line_an_interval_with_rate_time_to_go_and_failures() -> None:
    done = subprocess.run(program(), cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert lines[0].endswith("test: ten events of nothing")
    between = [line for line in lines[1:-1] if "WARNING" not in line]
    assert 2 <= len(between) <= 5  # a second, a line in 0.2 s
    for line in between:
        assert re.match(rf"{STAMP} test: \d+ of 10 events \(\d+ %\)", line)
    assert re.search(
        r", [12] failed, \d+ events a minute so far, \d.* to go, until \d\d:\d\d$", between[-1]
    )
    assert "10 of 10 events (100 %), 2 failed" in lines[-1]


def test_a_log_says_what_is_waited_for_before_anything_begins() -> None:
    running = subprocess.run(program(wait_s=0.3), cwd=ROOT, capture_output=True, text=True)
    assert running.stderr.splitlines()[0].endswith("test: waiting for the moon")


def test_a_failure_ends_with_how_far_it_came_and_what_to_type() -> None:
    done = subprocess.run(program(stop=3), cwd=ROOT, capture_output=True, text=True)
    *_, last, error = done.stderr.splitlines()
    assert re.search(r"failed after .*: 3 of 10 events \(30 %\)$", last)
    assert error == "it broke"


# On a terminal.


def on_a_terminal(arguments: list[str]) -> str:
    """What the program writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    running = subprocess.Popen(arguments, cwd=ROOT, stderr=theirs, stdout=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            seen += os.read(ours, 4096)
        except OSError:  # the other end is closed: it has ended
            break
    os.close(ours)
    assert running.wait(60) == 0, seen
    return seen.decode()


def rows(seen: str) -> list[str]:
    """What was drawn, row by row, without colours; a row that was drawn anew counts anew."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    return [row for row in re.split(r"[\r\n]+", plain) if row.strip()]


def test_on_a_terminal_the_bar_and_a_log_line_are_whole() -> None:
    drawn = rows(on_a_terminal(program()))
    [line] = [row for row in drawn if "WARNING" in row]
    assert re.match(r"\d{4}-\d\d-\d\d.* WARNING +a line of a hundred .*x{80} and its end$", line)
    bars = [row for row in drawn if "━" in row]
    assert all(re.match(r"events.* ━+.* \d+/(10|\?)", row) for row in bars)
    assert any("events, waiting for the moon" in row for row in bars)
    assert any("2 failed, waiting for scores" in row and "10/10" in row for row in bars)
    assert all(len(row) <= 80 for row in bars)


def test_a_run_on_a_terminal_shows_its_bar_and_its_tables(job: ScoringJob) -> None:
    seen = on_a_terminal([sys.executable, "-m", "clients", *command(job)])
    drawn = rows(seen)
    assert any("waiting for scores" in row for row in drawn)
    assert any("finishing the output" in row and "8/8" in row for row in drawn)
    assert any(re.match(r"in all +", row) for row in drawn)


# The closing figures.


def test_the_closing_table_adds_up(job: ScoringJob) -> None:
    watch = Stopwatch()
    with watch.stage("start"):
        done = score(job, watch=Stopwatch())
    done = score(replace(job, force=True), watch=watch)
    listed = closing_tables.stage_rows(done.seconds)
    names = [name for name, _ in listed]
    end = names.index("in all")
    assert sum(spent_s for _, spent_s in listed[:end]) == pytest.approx(listed[end][1], rel=1e-6)
    assert all(name.startswith("meanwhile: ") for name in names[end + 1 :])
    assert {"starting workers here", "waiting for workers", "opening the inputs"} < set(names)
    seconds = dict(listed)
    assert seconds["all else"] < 0.4 * seconds["in all"]
    assert seconds["starting workers here"] > 0.1


def test_json_has_the_figures_and_what_made_them(job: ScoringJob) -> None:
    done = ssnet(*command(job, "--json"))
    values = json.loads(done.stdout)
    assert (values["events"], values["failed_events"], values["failed"]) == (8, 0, [])
    assert values["output"] == str(job.output)
    assert (values["mode"], values["tick_order"]) == ("croi", "backward")
    assert sorted(values["networks"]) == ["0", "1", "2"]
    assert values["seconds"]["all"] >= values["seconds"]["wait"] > 0


def test_quiet_shows_nothing(job: ScoringJob) -> None:
    done = ssnet(*command(job, "--quiet"))
    assert done.stdout == done.stderr == ""


def test_tables_are_whole_at_80_columns(job: ScoringJob) -> None:
    ledger = job.output.with_name("out.ledger")
    done = score(replace(job, ledger=ledger))
    host = "a-host-with-a-name.of.some.cluster.example.org"
    done.failed = tuple(
        Failure(
            entry=entry,
            where="a_file_with_a_long_name_of_some_production_run7.root entry 41",
            run=12345,
            subrun=123,
            event=12345,
            plane=plane,
            crop=17,
            code=500,
            reason=f"ValueError: no pixels at worker {host}:12345",
            worker=f"{host}:12345",
            host=host,
        )
        for entry in (1, 2)
        for plane in PLANES
    )
    result = figures(LedgerReader(ledger))
    figures_shown = ledger_tables.values(result, [], torn_bytes=0)
    console = Console(file=io.StringIO(), width=80)
    for table in (
        *closing_tables.production_tables(done),
        *ledger_tables.tables(figures_shown),
    ):
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    assert "…" not in console.file.getvalue()
