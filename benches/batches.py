"""Measure the rate of training batches: from workers, from a single process, from a DataLoader.

`python -m benches.batches` makes toy events and takes the same batches in each way, in turns;
the figures are medians of the rounds. With `--cache 0` batches are read from the files each time,
as if there were more events than memory holds; else each process caches the events it has read.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rich.table import Table

from clients.files import toy_files
from clients.local import feed_pool, local_services
from clients.terminal import screen
from clients.terminal.process import errors_reported
from clients.training.batch_feed import Batches, Feed
from lartpc.simulation import toy
from lartpc.simulation.chamber import Chamber
from lartpc.training.batches import BatchName, Recipe
from services.memory import keep_memory
from services.training_files import TrainingFiles, TrainingSettings

from .cpu import computed_s

_ALONE = "one process by itself"
_WINDOW = 8
_WORKERS = (1, 2, 4)


class Taken(NamedTuple):
    """How long some batches took."""

    seconds: float
    computed_s: float
    """Seconds of CPU time of all processes together."""
    waited_s: float = math.nan


Way = Callable[[], Taken]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.batches", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="instead of toy events")
    parser.add_argument("--events", type=int, default=160, help="toy events to make")
    parser.add_argument("--batches", type=int, default=40, help="to take, after the first ones")
    parser.add_argument("--batch", type=int, default=16, help="events in a batch")
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a crop")
    parser.add_argument("--cache", type=int, default=0, help="MB that each process caches")
    parser.add_argument("--step", type=float, default=0.0, help="seconds between two batches")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    keep_memory()  # as a training does
    with errors_reported(), tempfile.TemporaryDirectory(prefix="ssnet-bench-") as name:
        files = tuple(options.files) or (_toys(Path(name), options.events),)
        settings = TrainingSettings(files, cache_bytes=options.cache << 20)
        recipe = Recipe(batch_size=options.batch, rows=options.size, cols=options.size)
        _compare(settings, recipe, options.batches, options.rounds, options.step)


def _toys(folder: Path, count: int) -> Path:
    path = folder / "toys.h5"
    settings = toy.ToySettings(chamber=Chamber(512, 512))
    with screen.progress("toys", command="bench") as show:
        toy_files.write(path, count=count, seed=1, settings=settings, force=True, on_progress=show)
    return path


def _compare(
    settings: TrainingSettings, recipe: Recipe, count: int, rounds: int, step_s: float
) -> None:
    names = _names(settings, recipe, count + _WINDOW)
    ways: dict[str, Way] = {_ALONE: lambda: _by_itself(settings, names, step_s)}
    for workers in _WORKERS:
        ways[f"feed, {workers} workers"] = _feed(settings, recipe, count, step_s, workers)
        if find_spec("torch"):
            ways[f"DataLoader, {workers} workers"] = _loader(settings, names, workers)
    taken: dict[str, list[Taken]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(way())
    screen.show(_table(taken, count))


def _table(taken: dict[str, list[Taken]], count: int) -> Table:
    rates = {name: count / median(one.seconds for one in runs) for name, runs in taken.items()}
    columns = ("batches/s", "of one process", "of the DataLoader", "CPU a batch", "waited")
    table = screen.table("", *columns)
    for name, several in taken.items():
        loader = rates.get(name.replace("feed", "DataLoader")) if "feed" in name else None
        waited = median(one.waited_s / one.seconds for one in several)
        table.add_row(
            name,
            f"{rates[name]:.2f}",
            f"{rates[name] / rates[_ALONE]:.2f}",
            f"{rates[name] / loader:.2f}" if loader else "",
            f"{median(one.computed_s for one in several) / count * 1000:.0f} ms",
            "" if math.isnan(waited) else f"{waited:.0%}",
        )
    return table


def _names(settings: TrainingSettings, recipe: Recipe, count: int) -> list[BatchName]:
    """Return the names of the first `count` batches, epoch after epoch."""
    files = TrainingFiles(settings)
    files.close()
    batches = recipe.batches_of(len(files))
    places = (divmod(number, batches) for number in range(count))
    return [BatchName(files.fingerprint, recipe, epoch, index) for epoch, index in places]


def _by_itself(settings: TrainingSettings, names: Sequence[BatchName], step_s: float) -> Taken:
    files = TrainingFiles(settings)
    for name in names[:_WINDOW]:
        files.batch(name)
    started_at, computed = time.perf_counter(), computed_s()
    for name in names[_WINDOW:]:
        files.batch(name)
        time.sleep(step_s)
    taken = Taken(time.perf_counter() - started_at, computed_s() - computed)
    files.close()
    return taken


def _feed(
    settings: TrainingSettings, recipe: Recipe, count: int, step_s: float, workers: int
) -> Way:
    feed = Feed(**vars(recipe), epochs=None, window=_WINDOW)

    def way() -> Taken:
        pool = feed_pool.FeedPool(settings, workers)
        with local_services.services(pool) as broker, Batches(broker, feed) as batches:
            for _ in range(_WINDOW):
                next(batches)
            started_at, computed, waited_s = time.perf_counter(), computed_s(), batches.waited_s
            for _ in range(count):
                next(batches)
                time.sleep(step_s)
            spent_s = time.perf_counter() - started_at
            return Taken(spent_s, computed_s() - computed, batches.waited_s - waited_s)

    return way


def _loader(settings: TrainingSettings, names: Sequence[BatchName], workers: int) -> Way:
    def way() -> Taken:
        from .torch_loader import timed_loader

        # with one more, whose time does not count
        more = [*names, names[0]]
        return Taken(*timed_loader(settings, more, workers=workers, warm_up=_WINDOW))

    return way


if __name__ == "__main__":
    main()
