"""What the ledger of the production client costs: the same run with and without one, in turns.

`python -m clients.bench_ledger` scores toy events through workers that compute nothing, so that
the client is what limits and every microsecond of its threads counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from rich.table import Table

from lartpc import toy
from lartpc.simulation.chamber import Chamber

from . import terminal
from .bench_run import MODES, make_job, make_toys, serving
from .process import errors_reported
from .ssnet import PLANES, Job, run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m clients.bench_ledger", description=__doc__)
    parser.add_argument("--events", type=int, default=30)
    parser.add_argument("--size", default="1008x3456", help="ROWSxCOLS of an event's images")
    parser.add_argument("--mode", choices=MODES, default="croi")
    parser.add_argument("--crop", type=int, default=512, help="rows and columns of a crop")
    parser.add_argument("--seconds", type=float, default=0.0, help="for each crop")
    parser.add_argument("--rounds", type=int, default=5, help="of one run of each kind")
    asked = parser.parse_args()
    rows, cols = (int(side) for side in asked.size.split("x"))
    settings = toy.ToySettings(chamber=Chamber(rows, cols), roi_pixels=asked.crop)
    mode = replace(MODES[asked.mode], size=asked.crop)
    with errors_reported(), tempfile.TemporaryDirectory(prefix="ssnet-bench-") as name:
        folder = Path(name)
        source = make_toys(folder, asked.events, settings)
        with serving(folder, 1, dict.fromkeys(PLANES, asked.seconds)) as broker:
            _compare(make_job(folder, source, broker, mode), asked.rounds)


def _compare(without: Job, rounds: int) -> None:
    kept = without.output.with_name("out.root.ledger")
    kinds = {"without": without, "with a ledger": replace(without, ledger=kept)}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    run(without)  # libraries load
    for number in range(2 * rounds):
        # the one that goes second finds warmer caches: they take turns at that, too
        for name in list(kinds)[:: 1 if number % 2 else -1]:
            spent[name].append(_one(kinds[name]))
    made = terminal.table("", "in all", "CPU of the client", "ratios of CPU")
    for name, each in spent.items():
        whole_s, cpu_s = (median(times) for times in zip(*each, strict=True))
        base = median(cpu for _, cpu in spent["without"])
        made.add_row(name, f"{whole_s:.3f} s", f"{cpu_s:.3f} s", f"{cpu_s / base:.4f}")
    terminal.show(made)
    pairs = zip(spent["with a ledger"], spent["without"], strict=True)
    ratios = sorted(a / b for (a, _), (b, _) in pairs)
    events = run(without).events
    terminal.show(_summary(ratios, kept.stat().st_size, events))


def _one(job: Job) -> tuple[float, float]:
    """Seconds of a run: by the clock, and of this process's CPU time."""
    began_at, cpu_s = time.perf_counter(), time.process_time()
    run(job)
    return time.perf_counter() - began_at, time.process_time() - cpu_s


def _summary(ratios: list[float], nbytes: int, events: int) -> Table:
    made = terminal.table("with / without, in all", "")
    made.add_row("median of the pairs", f"{median(ratios):.4f}")
    made.add_row("from, to", f"{ratios[0]:.3f}, {ratios[-1]:.3f}")
    made.add_row("bytes an event and plane", f"{nbytes / events / len(PLANES):.0f}")
    return made


if __name__ == "__main__":
    main()
