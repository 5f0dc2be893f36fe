"""Measure how busy the production client keeps stand-in workers, and the memory it takes.

`python -m benches.production` makes toy events, starts a broker and workers that take a fixed time
for each crop, and runs the production client with three pools: one worker a plane; the same, but
only plane 2's worker takes time; two workers a plane. Before that it scores small events and
records its own memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clients.files import toy_files
from clients.scoring.job import ScoringJob
from clients.scoring.score import ScoringReport, score
from clients.terminal import screen
from clients.terminal.process import errors_reported
from lartpc.crops import chain
from lartpc.simulation import toy
from lartpc.simulation.chamber import Chamber
from mdp import Client
from services.planes import PLANES, service_name

from .resident import resident_bytes
from .stand_ins import LOG_VARIABLE, VARIABLE

MODES: dict[str, chain.Mode] = {"croi": chain.Croi(), "tiles": chain.Tiles()}
_SMALL = toy.ToySettings(chamber=Chamber(rows=128, cols=128), roi_pixels=64)
_WARM_UP = 200  # events during which libraries load and buffers grow


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.production", description=__doc__)
    parser.add_argument("--events", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=0.15, help="for each crop")
    parser.add_argument("--mode", choices=MODES, default="croi")
    parser.add_argument("--size", default="1008x3456", help="ROWSxCOLS of an event's images")
    parser.add_argument("--small", type=int, default=1000, help="events of the memory test")
    parser.add_argument("--keys", action="store_true", help="only: over TCP, with and without keys")
    options = parser.parse_args()
    rows, cols = (int(side) for side in options.size.split("x"))
    with errors_reported(), tempfile.TemporaryDirectory(prefix="ssnet-bench-") as name:
        folder = Path(name)
        if options.small and not options.keys:  # first, while the process uses little other memory
            _memory(folder, options.small)
        source = make_toys(folder, options.events, toy.ToySettings(chamber=Chamber(rows, cols)))
        pools = _pools(options.seconds)
        if options.keys:
            pools = dict.fromkeys(_OVER_TCP, pools["two workers a plane"])
        _speed(folder, source, MODES[options.mode], pools)


Pools = dict[str, tuple[int, dict[int, float]]]
_OVER_TCP = {"two workers a plane, TCP": False, "two workers a plane, TCP with keys": True}
"""Whether the broker asks for keys."""


def _pools(seconds: float) -> Pools:
    """Return the pools to measure: workers a plane, and the time of a crop by plane."""
    return {
        "one worker a plane": (1, dict.fromkeys(PLANES, seconds)),
        "of which only plane 2 takes time": (1, {0: 0.0, 1: 0.0, 2: seconds}),
        "two workers a plane": (2, dict.fromkeys(PLANES, seconds)),
    }


# The measurements.


def _speed(folder: Path, source: Path, mode: chain.Mode, pools: Pools) -> None:
    table = screen.table("pools", "events/s", "crops", "in all", "ratio", "least busy", "target")
    first_s = None
    for name, (workers, by_plane) in pools.items():
        logs = folder / name.replace(" ", "-")
        logs.mkdir()
        with serving(folder, workers, by_plane, logs, keys=_OVER_TCP.get(name)) as broker:
            report = score(make_job(folder, source, broker, mode))
        spent_s = report.seconds["all"]
        first_s = first_s or spent_s
        slow = [share for plane, share in _busy(logs) if by_plane[plane]]
        cells = (f"{report.events / spent_s:.2f}", str(report.crops), f"{spent_s:.1f} s")
        table.add_row(name, *cells, f"{first_s / spent_s:.2f}", f"{min(slow):.3f}", _TARGETS[name])
    screen.show(table)


_TARGETS = {
    "one worker a plane": "busy >= 0.95",
    "of which only plane 2 takes time": "ratio ~ 1",
    "two workers a plane": "ratio >= 1.9",
    "two workers a plane, TCP": "busy >= 0.95",
    "two workers a plane, TCP with keys": "busy >= 0.95",
}


def _busy(logs: Path) -> list[tuple[int, float]]:
    """Return each worker's plane, and the share of time it worked, from first to last crop."""
    shares = []
    for path in logs.iterdir():
        passes = [tuple(map(float, line.split())) for line in path.read_text().splitlines()]
        spent_s = sum(ended - began for began, ended in passes)
        plane = int(path.name.removeprefix("plane").partition(".")[0])
        shares.append((plane, spent_s / (passes[-1][1] - passes[0][0])))
    return shares


def _memory(folder: Path, count: int) -> None:
    """Show how much this process's memory grows between the first events and the last."""
    source = make_toys(folder, count, _SMALL)
    held: list[int] = []
    with serving(folder, 1, dict.fromkeys(PLANES, 0.0)) as broker:
        job = make_job(folder, source, broker, chain.Croi(size=64))
        report: ScoringReport = score(job, on_progress=lambda *_: held.append(resident_bytes()))
    grown = max(held) - held[min(_WARM_UP, count - 1)]
    table = screen.table(f"{count} events of 3 x 128x128", "value")
    table.add_row("events/s", f"{count / report.seconds['all']:.0f}")
    table.add_row("memory, at most", f"{max(held) / 1e6:.0f} MB")
    table.add_row(f"growth after {_WARM_UP} events", f"{grown / 1e6:.1f} MB")
    screen.show(table)


# Input files, broker and workers.


def make_job(folder: Path, source: Path, broker: str, mode: chain.Mode) -> ScoringJob:
    output = folder / "out.root"
    return ScoringJob(inputs=(source,), output=output, broker=broker, mode=mode, force=True)


def make_toys(folder: Path, count: int, settings: toy.ToySettings) -> Path:
    path = folder / f"{count}.root"
    with screen.progress("toys", command="bench") as show:
        toy_files.write(path, count=count, seed=1, settings=settings, force=True, on_progress=show)
    return path


@contextmanager
def serving(
    folder: Path,
    workers: int,
    seconds: dict[int, float],
    logs: Path | None = None,
    *,
    keys: bool | None = None,
) -> Iterator[str]:
    """Start a broker with `workers` stand-ins per plane; seconds: the time per crop, by plane.

    keys: over TCP, with or without keys; None: over a socket file, without.
    Yields the broker when all workers are registered.
    """
    broker = f"ipc://{folder}/broker"
    options = ["--bind", broker]
    if keys is not None:
        broker = f"@{folder}/broker.json"
        options = ["--bind", "tcp://127.0.0.1:0", "--contact", broker[1:]]
        options += ["--keys"] if keys else []
    with ExitStack() as stack:
        stack.enter_context(_mdp("broker", *options))
        for plane, crop_s in seconds.items():
            variables = {VARIABLE: f"{plane} {crop_s}"}
            if logs:
                variables[LOG_VARIABLE] = str(logs)
            command = ("worker", service_name(plane), "benches.stand_ins:StandInWorker")
            stack.enter_context(_mdp(*command, "-n", str(workers), "--broker", broker, **variables))
        with Client(broker) as client:
            while sum(row["workers"] for row in client.services(timeout_s=60).values()) < (
                workers * len(seconds)
            ):
                time.sleep(0.1)
        yield broker


@contextmanager
def _mdp(*arguments: str, **variables: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "mdp", *arguments],
        stderr=subprocess.DEVNULL,
        env={**os.environ, **variables},
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
