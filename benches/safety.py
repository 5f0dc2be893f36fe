"""Measure what checkpoints (parts) and a ledger cost the production client.

`python -m benches.safety` scores toy events through workers that take a fixed time for each
crop. Each round has one run of each kind: with parts, with a ledger, with both, with neither. A run
is compared with the run of its own round that has neither.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from rich.table import Table

from clients.scoring.job import ScoringJob
from clients.scoring.score import score
from clients.terminal import screen
from clients.terminal.process import errors_reported
from lartpc.simulation import toy
from lartpc.simulation.chamber import Chamber
from services.planes import PLANES

from .production import MODES, make_job, make_toys, serving

_NEITHER = "neither: one part, no ledger"
_ONE_PART_S = 1e6


@dataclass(frozen=True)
class _Spent:
    """A run's wall time and this process's CPU time, in seconds."""

    whole_s: float
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.safety", description=__doc__)
    parser.add_argument("--events", type=int, default=30)
    parser.add_argument("--size", default="1008x3456", help="ROWSxCOLS of an event's images")
    parser.add_argument("--mode", choices=MODES, default="croi")
    parser.add_argument("--crop", type=int, default=512, help="rows and columns of a crop")
    parser.add_argument("--seconds", type=float, default=0.15, help="for each crop")
    parser.add_argument("--checkpoint-seconds", type=float, default=1.0, help="`ssnet run` has 60")
    parser.add_argument("--rounds", type=int, default=8, help="of one run of each kind")
    options = parser.parse_args()
    rows, cols = (int(side) for side in options.size.split("x"))
    settings = toy.ToySettings(chamber=Chamber(rows, cols), roi_pixels=options.crop)
    mode = replace(MODES[options.mode], size=options.crop)
    with errors_reported(), tempfile.TemporaryDirectory(prefix="ssnet-bench-") as name:
        folder = Path(name)
        source = make_toys(folder, options.events, settings)
        with serving(folder, 1, dict.fromkeys(PLANES, options.seconds)) as broker:
            job = make_job(folder, source, broker, mode)
            kinds = _kinds(job, folder / "out.root.ledger", options.checkpoint_seconds)
            what = f"{options.events} events, {options.rounds} rounds"
            screen.show(_table(what, _spent(kinds, options.rounds)))


def _kinds(job: ScoringJob, ledger: Path, part_s: float) -> dict[str, ScoringJob]:
    neither = replace(job, part_s=_ONE_PART_S)
    return {
        _NEITHER: neither,
        "a ledger": replace(neither, ledger=ledger),
        f"a part every {part_s:g} s": replace(neither, part_s=part_s),
        "both": replace(neither, ledger=ledger, part_s=part_s),
    }


def _spent(kinds: dict[str, ScoringJob], rounds: int) -> dict[str, list[_Spent]]:
    spent: dict[str, list[_Spent]] = {name: [] for name in kinds}
    score(kinds[_NEITHER])  # not measured: it loads the libraries
    chance = random.Random(1)
    for _ in range(rounds):
        for name in chance.sample(list(kinds), len(kinds)):  # random order: no kind is favoured
            spent[name].append(_one(kinds[name]))
    return spent


def _one(job: ScoringJob) -> _Spent:
    began_at, cpu_s = time.perf_counter(), time.process_time()
    score(job)
    return _Spent(time.perf_counter() - began_at, time.process_time() - cpu_s)


def _table(what: str, spent: dict[str, list[_Spent]]) -> Table:
    table = screen.table(what, "in all", "ratio", "from, to", "client's CPU", "ratio")
    baseline = spent[_NEITHER]
    for name, runs in spent.items():
        pairs = list(zip(runs, baseline, strict=True))
        ratios = sorted(run.whole_s / neither.whole_s for run, neither in pairs)
        cpu = median(run.cpu_s / neither.cpu_s for run, neither in pairs)
        table.add_row(
            name,
            f"{median(run.whole_s for run in runs):.2f} s",
            f"{median(ratios):.3f}",
            f"{ratios[0]:.3f}, {ratios[-1]:.3f}",
            f"{median(run.cpu_s for run in runs):.2f} s",
            f"{cpu:.3f}",
        )
    return table


if __name__ == "__main__":
    main()
