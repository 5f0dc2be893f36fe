"""The driver of a campaign is killed at random instants; the same command always goes on.

`python -m tests.processes.test_campaign_kills --kills 200 --seed 1` does it for longer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clients.campaign.records.lease import driver_of
from mdp import Client
from tests.support import campaign_inputs, plane_pools, tether
from tests.support.campaign_inputs import Alone, Inputs
from tests.support.campaign_results import catalogue_of, complaints_of, corrupt, finals
from tests.support.processes import QUICK, ROOT, Process, Processes, free_port, wait_for_workers

FILES_SERVICE = "ssnet-files"
TRACED = "clients/campaign"
DONE = (0, 3)
LONGEST_S = 60.0


@dataclass
class Kills:
    """Campaigns over the same inputs, one after the other; each is killed until it is done."""

    folder: Path
    endpoint: str
    readers: Process
    inputs: Inputs
    expected: dict[Path, Alone]
    dice: random.Random
    lines: dict[str, int] = field(default_factory=dict)
    """How often an undisturbed driver executes each line."""
    usual_s: float = 0.0
    """How long an undisturbed driver takes."""
    kills: int = 0
    campaigns: int = 0
    where: Counter[str] = field(default_factory=Counter)

    def out(self) -> Path:
        return self.folder / f"out{self.campaigns}"

    def command(self, out: Path) -> list[str]:
        words = ["campaign", "start", *self.inputs.words, "-o", str(out)]
        options = ["--broker", self.endpoint, "--name", campaign_inputs.NAME, *QUICK]
        return [*words, *options, *campaign_inputs.TILES]

    def start(self, out: Path, *how: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.killed_at", TRACED, *how, *self.command(out)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def learn(self) -> None:
        """Run a campaign that nobody disturbs; note which lines it executes, and how often."""
        out, record = self.folder / "calm", self.folder / "lines.json"
        began_at = time.monotonic()
        driver = self.start(out, "record", str(record))
        _, text = driver.communicate(timeout=LONGEST_S)
        assert driver.returncode in DONE, text
        self.usual_s = time.monotonic() - began_at
        self.lines = json.loads(record.read_text())
        self.check(out)

    def check(self, out: Path) -> None:
        found = complaints_of(catalogue_of(out), self.inputs, self.expected, out)
        assert not found, "\n".join(found)

    def one_more(self) -> None:
        """Start the driver, kill it, and look at what it left; check a campaign that is done."""
        out = self.out()
        before = finals(out) if out.exists() else {}
        by_time = self.dice.random() < 0.25
        line = self.dice.choice(sorted(self.lines))
        times = self.dice.randint(1, min(self.lines[line], 6))
        driver = self.start(out, "never" if by_time else f"{line}:{times}")
        if by_time:
            with suppress(subprocess.TimeoutExpired):
                driver.wait(self.dice.uniform(0.3, 1.0) * self.usual_s)
            driver.kill()
        _, text = driver.communicate(timeout=LONGEST_S)
        self.look(out, before, f"{text}\n(killed at {line}:{times})")
        if driver.returncode == -signal.SIGKILL:
            self.kills += 1
            self.where["time" if by_time else line.partition(":")[0]] += 1
            return
        assert driver.returncode in DONE, text
        self.finished(out)

    def finish(self) -> None:
        """Let the last campaign end."""
        driver = self.start(self.out(), "never")
        _, text = driver.communicate(timeout=LONGEST_S)
        assert driver.returncode in DONE, text
        self.finished(self.out())

    def finished(self, out: Path) -> None:
        self.check(out)
        self.campaigns += 1

    def look(self, out: Path, before: dict[Path, tuple[int, ...]], text: str) -> None:
        assert corrupt(out) == "", text
        now = finals(out) if out.exists() else {}
        changed = [path for path in before if now.get(path) != before[path]]
        assert not changed, f"{changed} were written again\n{text}"


def begin(processes: Processes, folder: Path, *, files: int, seed: int) -> Kills:
    """Start the broker, the stand-ins and two readers, and score each file alone."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    processes.broker(endpoint, *QUICK)
    inputs = campaign_inputs.make(
        folder / "in", files, seed=seed, events=(1, 2), damaged=1, bad_entries=1, twice=3
    )
    plane_pools.start(processes, endpoint, target="tests.support.honest_planes:Plausible")
    readers = processes.python(
        "-m", "clients", "worker", "files", "-n", "2", "-b", endpoint, *QUICK
    )
    expected = campaign_inputs.alone(inputs.good, folder / "alone", endpoint)
    with Client(endpoint) as client:
        wait_for_workers(client, FILES_SERVICE, 2)
    return Kills(folder, endpoint, readers, inputs, expected, random.Random(seed))


@pytest.fixture(scope="module")
def kills(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kills]:
    folder = tmp_path_factory.mktemp("kills")
    with Processes(folder) as processes:
        kills = begin(processes, folder, files=6, seed=1)
        kills.learn()
        yield kills


@pytest.mark.timeout(180)
def test_a_driver_that_is_killed_at_any_instant_goes_on(kills: Kills) -> None:
    while kills.kills < 10:
        kills.one_more()
    kills.finish()


def test_a_second_driver_is_refused_with_who_drives(kills: Kills) -> None:
    out = kills.folder / "two"
    first = kills.start(out, "never")
    while not (out / ".campaign").exists() or driver_of(out) is None:
        assert first.poll() is None
        time.sleep(0.01)
    for pid in kills.readers.alive():  # else it would be done before the second one has started
        os.kill(pid, signal.SIGSTOP)
    second = kills.start(out, "never")
    _, text = second.communicate(timeout=LONGEST_S)
    for pid in kills.readers.alive():
        os.kill(pid, signal.SIGCONT)
    assert second.returncode == 1, text
    assert str(first.pid) in text
    _, text = first.communicate(timeout=LONGEST_S)
    assert first.returncode in DONE, text
    kills.check(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=8)
    asked = parser.parse_args()
    tether.hold()
    with tempfile.TemporaryDirectory(prefix="ssnet-kills-") as name, Processes(Path(name)) as some:
        kills = begin(some, Path(name), files=asked.files, seed=asked.seed)
        kills.learn()
        print(f"undisturbed: {kills.usual_s:.1f} s, {len(kills.lines)} lines", flush=True)
        while kills.kills < asked.kills:
            kills.one_more()
            if kills.kills % 20 == 0:
                print(f"{kills.kills} kills, {kills.campaigns} campaigns", flush=True)
        kills.finish()
        for process in some.started:
            process.kill()
        some.started.clear()
    print(
        f"seed {asked.seed}: {kills.kills} kills in {kills.campaigns} campaigns, none with a fault"
    )
    for place, count in kills.where.most_common():
        print(f"{count:5} {place}")


if __name__ == "__main__":
    main()
