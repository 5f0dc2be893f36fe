"""Measure what a campaign costs, as ratios in one run.

`python -m benches.campaign` takes turns between a campaign over files of two toy events, a loop of
`ssnet run`, and a bare client that sends the same files to the same readers. Then it measures how
busy a campaign keeps stand-in networks of 150 ms, and how long `start` and `status` take with
100,000 files.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from clients.campaign.file_request import FileReport, FileRequest
from clients.campaign.records.reading import reading
from clients.campaign.records.snapshot import catalogue_file
from clients.terminal import screen
from clients.terminal.process import errors_reported
from lartpc import RSE, open_writer
from lartpc.simulation import toy
from lartpc.simulation.chamber import Chamber
from mdp import Client, ClientSettings

from .production import _busy, serving

SERVICE = "ssnet-files"
_TOYS = toy.ToySettings(chamber=Chamber(rows=256, cols=256), roi_pixels=128)
_OPTIONS = ("--mode", "croi", "--size", "128", "--quiet")
_DISTINCT = 20  # toy events; files repeat them under new event numbers


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.campaign", description=__doc__)
    parser.add_argument("--files", type=int, default=200, help="of 2 events")
    parser.add_argument("--loop", type=int, default=20, help="files that the loop scores, a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=10, help="of each of the 50 files")
    parser.add_argument("--overhead", type=int, default=2, help="events of a file, for it")
    parser.add_argument("--seconds", type=float, default=0.15, help="for each crop")
    parser.add_argument("--many", type=int, default=100_000, help="files of the large catalogue")
    parser.add_argument("--only", default="speed,overhead,busy,many")
    options = parser.parse_args()
    only = options.only.split(",")
    with errors_reported(), tempfile.TemporaryDirectory(prefix="ssnet-bench-") as name:
        folder = Path(name)
        if "speed" in only:
            _speed(folder / "speed", options.files, options.loop, options.rounds)
        if "overhead" in only:
            count, rounds = options.files // 2, options.rounds
            _overhead(folder / "overhead", count, options.overhead, rounds, options.seconds)
        if "busy" in only:
            _busy_planes(folder / "busy", 50, options.events, options.seconds)
        if "many" in only:
            _many(folder / "many", options.many)


# Files per second.


def _speed(folder: Path, count: int, loop: int, rounds: int) -> None:
    """Compare with a loop of `ssnet run`, from the start of the command to its end."""
    sources = _files(folder / "in", count, events=2)
    rates: dict[str, list[float]] = {"loop": [], "campaign": []}
    with serving(folder, 2, dict.fromkeys((0, 1, 2), 0.0)) as broker, _readers(broker, 2):
        for turn in range(rounds):
            began_at = time.monotonic()
            _loop(sources[:loop], folder / "loop", broker)
            rates["loop"].append(loop / (time.monotonic() - began_at))
            began_at = time.monotonic()
            _campaign(sources, folder / f"out{turn}", broker)
            rates["campaign"].append(count / (time.monotonic() - began_at))
    table = screen.table(f"{count} files of 2 events, two readers", "files/s", "ratio", "target")
    alone, together = median(rates["loop"]), median(rates["campaign"])
    table.add_row("loop of ssnet run", f"{alone:.2f}", "1", "")
    table.add_row("campaign", f"{together:.2f}", f"{together / alone:.2f}", ">= 3")
    screen.show(table)


def _overhead(folder: Path, count: int, events: int, rounds: int, crop_s: float) -> None:
    """Compare with a bare client, from the begin of the first file to the end of the last."""
    sources = _files(folder / "in", count, events=events)
    seconds: dict[str, list[float]] = {"campaign": [], "bare": []}
    with serving(folder, 2, dict.fromkeys((0, 1, 2), crop_s)) as broker, _readers(broker, 2):
        for turn in range(rounds):
            out = folder / f"out{turn}"
            _campaign(sources, out, broker)
            with reading(out) as catalogue:
                times = catalogue.rows("SELECT began_at, ended_at FROM tries")
            seconds["campaign"].append(_span(times))
            seconds["bare"].append(_span(_bare(out, folder / f"bare{turn}", broker)))
    title = f"{count} files of {events} events, two readers, {crop_s * 1e3:.0f} ms for a crop"
    table = screen.table(title, "seconds", "more", "target")
    bare, campaign = median(seconds["bare"]), median(seconds["campaign"])
    spread = max(seconds["bare"]) / min(seconds["bare"]) - 1
    table.add_row("the readers alone", f"{bare:.2f}", f"{spread:.1%} from round to round", "")
    table.add_row("campaign", f"{campaign:.2f}", f"{campaign / bare - 1:.1%}", "<= 3 %")
    screen.show(table)


def _span(times: Sequence[tuple[Any, ...]]) -> float:
    return float(max(one[1] for one in times) - min(one[0] for one in times))


def _timed(what: object) -> float:
    began_at = time.monotonic()
    what()  # type: ignore[operator]
    return time.monotonic() - began_at


def _loop(sources: Sequence[Path], folder: Path, broker: str) -> None:
    """What users do in a shell."""
    folder.mkdir(exist_ok=True)
    for path in sources:
        output = folder / f"{path.stem}_ssnet.root"
        _ssnet("run", str(path), "-o", str(output), "--broker", broker, "--force", *_OPTIONS)


def _campaign(sources: Sequence[Path], out: Path, broker: str) -> None:
    inputs = out.with_suffix(".txt")
    inputs.write_text("".join(f"{path}\n" for path in sources))
    _ssnet("campaign", "start", f"@{inputs}", "-o", str(out), "--broker", broker, *_OPTIONS)


def _bare(campaign: Path, out: Path, broker: str) -> list[tuple[float, float]]:
    """Send the requests of that campaign again, into another folder; when each began and ended."""
    with reading(campaign) as catalogue:
        options = catalogue.settings.options.as_dict()
        files = list(catalogue.files())
    (out / ".campaign" / "work").mkdir(parents=True)
    requests = [
        FileRequest(
            verb="score",
            number=file.number,
            path=file.path,
            bytes=file.bytes,
            mtime_ns=file.mtime_ns,
            folder=str(out),
            name=file.output,
            options=options,
        )
        for file in files
    ]
    with Client(broker, ClientSettings(waits=True, timeout_s=3600.0)) as client:
        futures = [client.submit(SERVICE, request.pack()) for request in requests]
        reports = [FileReport.unpack(future.result()) for future in futures]
    if bad := [report for report in reports if not report.ok]:
        raise AssertionError(f"{len(bad)} files failed, the first: {bad[0].reason}")
    return [(report.began_at, report.ended_at) for report in reports]


# How busy the planes are.


def _busy_planes(folder: Path, count: int, events: int, seconds: float) -> None:
    sources = _files(folder / "in", count, events=events)
    logs = folder / "logs"
    logs.mkdir()
    with (
        serving(folder, 2, dict.fromkeys((0, 1, 2), seconds), logs) as broker,
        _readers(broker, 3),
    ):
        spent_s = _timed(lambda: _campaign(sources, folder / "out", broker))
    shares = sorted(_busy(logs))
    title = (
        f"{count} files of {events} events, three readers, {seconds * 1e3:.0f} ms: {spent_s:.1f} s"
    )
    table = screen.table(title, "busy", "target")
    for plane, share in shares:
        table.add_row(f"a worker of plane {plane}", f"{share:.3f}", ">= 0.95")
    screen.show(table)


# Many files.


def _many(folder: Path, count: int) -> None:
    """Start a campaign without readers, until the first file is sent; then look at a full one."""
    inputs = folder / "in"
    for number in range(count):
        if number % 1000 == 0:
            (inputs / f"{number // 1000:03d}").mkdir(parents=True)
        (inputs / f"{number // 1000:03d}" / f"f{number}.root").touch()
    table = screen.table(f"a campaign of {count} files", "seconds", "target")
    out = folder / "out"
    command = ("campaign", "start", str(inputs), "-o", str(out), *_OPTIONS)
    for name in ("start, new", "start, again"):
        with serving(folder, 1, dict.fromkeys((0, 1, 2), 0.0)) as broker:
            spent_s = _until_submitted((*command, "--broker", broker), broker)
        table.add_row(name, f"{spent_s:.2f}", "<= 10")
    table.add_row("status, none done", f"{_timed(lambda: _status(out)):.2f}", "<= 1")
    _set_done(out)
    table.add_row("status, all done", f"{_timed(lambda: _status(out)):.2f}", "<= 1")
    screen.show(table)


def _status(out: Path) -> None:
    _ssnet("campaign", "status", str(out), codes=(0, 1))  # 1: no driver runs


def _until_submitted(words: Sequence[str], broker: str) -> float:
    began_at = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "clients", *words], stderr=subprocess.PIPE, text=True
    )
    try:
        with Client(broker) as client:
            while not client.services().get(SERVICE, {}).get("queued"):
                if process.poll() is not None:
                    raise AssertionError(f"it ended: {process.communicate()[1]}")
                time.sleep(0.02)
        return time.monotonic() - began_at
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def _set_done(out: Path) -> None:
    """As if all had been scored."""
    with sqlite3.connect(catalogue_file(out)) as connection:
        connection.execute("UPDATE files SET state = 'done', events = 2, seconds = 1.5")


# Files and readers.


def _files(folder: Path, count: int, *, events: int) -> list[Path]:
    folder.mkdir(parents=True)
    toys = list(toy.events(_DISTINCT, seed=1, settings=_TOYS))
    paths = [folder / f"f{number:04d}.root" for number in range(count)]
    for number, path in enumerate(paths):
        with open_writer(path) as writer:
            for k in range(events):
                event = toys[(number * events + k) % _DISTINCT]
                writer.write(replace(event, rse=RSE(1, number, k)))
    return paths


@contextmanager
def _readers(broker: str, count: int) -> Iterator[None]:
    command = [sys.executable, "-m", "clients", "worker", "files", "-n", str(count), "-b", broker]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        with Client(broker) as client:
            while client.services(timeout_s=60).get(SERVICE, {}).get("workers", 0) < count:
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def _ssnet(*words: str, codes: Sequence[int] = (0,)) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clients", *words],
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in codes:
        raise AssertionError(f"{words[:2]}: code {done.returncode}\n{done.stderr}")


if __name__ == "__main__":
    main()
