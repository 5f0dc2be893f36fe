"""`ssnet campaign start`, `retry` and `cancel`, with readers that need no planes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clients.campaign.records.reading import reading
from clients.cli import app
from clients.commands.groups.campaign_options import bytes_of
from mdp import MDPError
from tests.support.odd_readers import SERVICE, scored
from tests.support.processes import ROOT, Process, Processes, free_port, until


class Place:
    """A broker with readers, inputs, and the folder of a campaign."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.folder = folder
        self.processes = processes
        self.broker = f"tcp://127.0.0.1:{free_port()}"
        self.inputs, self.out = folder / "in", folder / "out"
        self.inputs.mkdir()
        processes.broker(self.broker)
        target = "tests.support.odd_readers:OddReader"
        self.readers = processes.worker(self.broker, SERVICE, target, "-n", "2")

    def make(self, *names: str) -> None:
        for name in names:
            (self.inputs / name).write_bytes(f"events of {name}".encode())

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "clients", "campaign", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    def start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("start", *arguments, *self._more)

    @property
    def _more(self) -> tuple[str, ...]:
        # nothing but these readers can read the files, so the mode is given
        mode = () if (self.out / ".campaign").exists() else ("--mode", "tiles")
        return (*mode, "-o", str(self.out), "--broker", self.broker)

    def begin(self, *arguments: str) -> Process:
        """Start, and wait until two files are being scored."""
        command = ("-m", "clients", "campaign", "start")
        begun = self.processes.python(*command, *arguments, *self._more)
        until(lambda: len(self.asked()) >= 2, "two files are being scored")
        return begun

    def asked(self) -> list[str]:
        log = self.inputs / "log"
        return log.read_text().split() if log.exists() else []

    def states(self) -> dict[str, str]:
        with reading(self.out) as catalogue:
            return {Path(file.path).stem: file.state for file in catalogue.files()}

    def has(self, stem: str) -> bool:
        output = self.out / f"{stem}_ssnet.root"
        content = (self.inputs / f"{stem}.root").read_bytes()
        return output.exists() and output.read_bytes() == scored(content)


@pytest.fixture
def place(tmp_path: Path, processes: Processes) -> Place:
    return Place(tmp_path, processes)


def test_files_are_scored_and_bad_ones_are_left_to_retry(place: Place) -> None:
    place.make("a1.root", "a2.root", "bad1.root")
    done = place.start(str(place.inputs), "--json", "--file-tries", "1")
    assert done.returncode == 3, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["files"], outcome["done"], outcome["failed"]) == (3, 2, 1)
    assert f"failed: {place.inputs / 'bad1.root'}: " in done.stderr
    assert "3 files" in done.stderr
    assert place.has("a1")
    assert place.has("a2")
    (place.inputs / "bad1.root").rename(place.inputs / "x")
    (place.inputs / "bad1.root").symlink_to(place.inputs / "x")
    again = place.run("retry", str(place.out))
    assert again.returncode == 3, again.stderr
    with reading(place.out) as catalogue:
        assert catalogue.settings.scratch == ""
    assert place.run("retry", str(place.out), "--scratch", "/tmp").returncode == 3
    with reading(place.out) as catalogue:
        assert catalogue.settings.scratch == "/tmp"
    assert place.asked().count("bad1.root") == 3  # the broker and --file-tries are remembered


def test_the_same_options_hold_for_all_files(place: Place) -> None:
    place.make("a1.root")
    done = place.start(str(place.inputs), "--window", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:4] == ["campaign", "out", "files", "1"]
    place.make("a2.root")
    refused = place.start(str(place.inputs), "--mode", "whole", "--size", "256")
    assert refused.returncode == 2
    assert "--mode: tiles before, whole now" in refused.stderr
    assert "--size: 512 before, 256 now" in refused.stderr
    assert place.start(str(place.inputs), "--window", "3").returncode == 0
    with reading(place.out) as catalogue:
        assert catalogue.settings.watch == ""
        options = catalogue.settings.options
        assert (options.mode, options.window, options.mode_taken) == ("tiles", 3, False)


def test_ctrl_c_ends_the_driver_at_once_and_start_goes_on(place: Place) -> None:
    place.make(*(f"slow{number}.root" for number in range(4)))
    begun = place.begin(str(place.inputs))
    begun.send(signal.SIGINT)
    assert begun.exit_code(within_s=5.0) == 130
    assert "stopped by a signal" in begun.stderr
    assert place.run("start", "-o", str(place.out)).returncode == 0
    assert set(place.states().values()) == {"done"}
    assert all(place.has(f"slow{number}") for number in range(4))


def test_cancel_ends_the_driver_after_the_files_in_flight(place: Place) -> None:
    place.make(*(f"slow{number}.root" for number in range(8)))
    begun = place.begin(str(place.inputs))
    cancelled = place.run("cancel", str(place.out))
    assert cancelled.returncode == 0, cancelled.stderr
    assert f"process {begun.pid} on {os.uname().nodename}" in cancelled.stderr
    assert begun.exit_code() == 1
    states = list(place.states().values())
    assert 2 <= states.count("done") < 8
    assert states.count("done") + states.count("waiting") == 8
    again = place.run("cancel", str(place.out))
    assert again.returncode == 2
    assert "no driver" in again.stderr


def test_a_second_driver_is_told_who_drives(place: Place) -> None:
    place.make(*(f"slow{number}.root" for number in range(12)))
    begun = place.begin(str(place.inputs))
    refused = place.start(str(place.inputs))
    assert refused.returncode == 1
    assert f"process {begun.pid} " in refused.stderr
    begun.send(signal.SIGTERM)
    assert begun.exit_code() == 130
    assert len(place.asked()) == len(set(place.asked()))


def test_what_cannot_be_done_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    out, given = str(tmp_path / "out"), str(tmp_path / "a.root")
    Path(given).write_text("not of ROOT")

    def refused(*arguments: str) -> str:
        with pytest.raises(MDPError) as caught:
            app(["campaign", *arguments], standalone_mode=False)
        return str(caught.value)

    assert "want inputs" in refused("start", "-o", out)
    assert "got a file" in refused("start", given, "-o", given)
    assert "nothing.root" in refused("start", "nothing.root", "-o", out)
    assert out in refused("retry", out)
    assert out in refused("cancel", out)
    assert "--local" in refused("start", given, "-o", out, "--local", "--pool", "july")
    assert "--readers needs --local" in refused("start", given, "-o", out, "--readers", "3")
    assert "--engine needs --local" in refused("start", given, "-o", out, "--engine", "caffe")
    assert "want --readers" in refused("start", given, "-o", out, "--local", "--readers", "0")
    assert "--merge-to" in refused("start", given, "-o", out, "--mode", "tiles", "--merge-to", "x")
    assert "want --mode" in refused("start", given, "-o", out)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "want --mode" in refused("start", "--watch-folder", str(empty), "-o", out)
    gone = str(tmp_path / "gone")
    assert "--watch-folder" in refused(
        "start", "--watch-folder", gone, "-o", out, "--mode", "tiles"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("500 MB", 5 * 10**8), ("1.5g", 1_500_000_000), ("1GiB", 1 << 30)],
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert bytes_of(text) == size
