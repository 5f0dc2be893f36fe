"""`ssnet campaign status`, `list` and `report` as commands, beside a driver and a broker."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

from clients.campaign.records.lease import Lease
from mdp import Client
from tests.support.commands_of_ssnet import one_line, ssnet
from tests.support.made_campaigns import make, note
from tests.support.processes import QUICK, ROOT, Processes, wait_for_workers


def test_a_campaign_that_goes_on_is_shown_and_its_limit_is_named(
    processes: Processes, endpoint: str, tmp_path: Path
) -> None:
    folder = tmp_path / "july"
    make(folder, files=20, done=0.5)
    note(folder, 15, done=3, total=10, step="scoring")
    processes.broker(endpoint, *QUICK)
    processes.worker(endpoint, "ssnet-files", "mdp.echo:Echo", *QUICK)

    with Client(endpoint) as client:
        wait_for_workers(client, "ssnet-files", 1)
    with Lease(folder) as lease:
        lease.renew({"broker": endpoint, "in_flight": 1})
        shown = ssnet("campaign", "status", folder).stdout
    assert "plane 0 and plane 1 and plane 2 have no worker" in shown
    assert re.search(r"n1:4015 +8812_1 +3 of 10 ", shown)
    assert re.search(r"files +\d+ of 20 done \(\d+ %\), 1 being scored, 9 waiting", shown)


def test_the_commands_work_without_driver_and_broker(tmp_path: Path) -> None:
    folder = tmp_path / "july"
    made = make(folder, files=400, done=0.9)
    values = json.loads(ssnet("campaign", "status", folder, "--json", code=1).stdout)
    assert values["limit"]["who"] == "driver"
    rows = ssnet("campaign", "list", folder, "--failed").stdout.splitlines()
    assert len(rows) == made.failed + 1
    rows = ssnet("campaign", "list", folder, "--state", "waiting", "--json").stdout.splitlines()
    assert {json.loads(row)["state"] for row in rows} == {"waiting"}
    page = ssnet("campaign", "report", folder).stdout.strip()
    assert Path(page) == folder / "report.html"
    assert "</html>" in Path(page).read_text()


def test_a_complete_campaign_with_failures_ends_with_code_3(tmp_path: Path) -> None:
    make(tmp_path, files=400)
    assert ssnet("campaign", "status", tmp_path, "--quiet", code=3).stdout == ""


def test_a_folder_without_a_campaign_is_one_line(tmp_path: Path) -> None:
    assert str(tmp_path) in one_line(ssnet("campaign", "list", tmp_path, code=1))


def test_a_watched_status_in_a_pipe_is_lines_with_times_until_a_signal(tmp_path: Path) -> None:
    make(tmp_path, files=5, done=0.4)
    program = "from clients.cli import main; main()"
    words = ("campaign", "status", str(tmp_path), "--watch", "--json", "--every", "0.1")
    with subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as watching:
        assert watching.stdout is not None
        looks = [json.loads(watching.stdout.readline()) for _ in range(3)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=30) == 0
    assert looks[0]["time"] < looks[1]["time"] < looks[2]["time"]
