"""How fast training batches come: from workers, from one process by itself, from a DataLoader.

`python -m clients.bench_batches` makes toy events and takes the same batches in each way, in
turns; figures are medians of the rounds. A batch is read from the files each time (`--cache 0`,
as with more events than memory holds), or kept by who has read it.
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

from lartpc import toy
from lartpc.batches import BatchName, Recipe
from lartpc.simulation.chamber import Chamber
from services.training_files import TrainingFiles, TrainingSettings

from . import feeds, terminal, toys
from .batches import Batches, Feed
from .process import errors_reported

_ALONE = "one process by itself"
_WINDOW = 8
_WORKERS = (1, 2, 4)

Rate = Callable[[], tuple[float, float]]  # batches/s, and the share of it that was waiting


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m clients.bench_batches", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="instead of toy events")
    parser.add_argument("--events", type=int, default=160, help="toy events to make")
    parser.add_argument("--batches", type=int, default=40, help="to take, after the first ones")
    parser.add_argument("--batch", type=int, default=16, help="events in a batch")
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a crop")
    parser.add_argument("--cache", type=int, default=0, help="MB that each process keeps")
    parser.add_argument("--step", type=float, default=0.0, help="seconds between two batches")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with errors_reported(), tempfile.TemporaryDirectory(prefix="ssnet-bench-") as name:
        files = tuple(asked.files) or (_toys(Path(name), asked.events),)
        settings = TrainingSettings(files, cache_bytes=asked.cache << 20)
        recipe = Recipe(batch_size=asked.batch, rows=asked.size, cols=asked.size)
        _compare(settings, recipe, asked.batches, asked.rounds, asked.step)


def _toys(folder: Path, count: int) -> Path:
    path = folder / "toys.h5"
    settings = toy.ToySettings(chamber=Chamber(512, 512))
    with terminal.progress_bar("toys") as show:
        toys.write(path, count=count, seed=1, settings=settings, force=True, on_progress=show)
    return path


def _compare(
    settings: TrainingSettings, recipe: Recipe, count: int, rounds: int, step_s: float
) -> None:
    names = _names(settings, recipe, count + _WINDOW)
    ways: dict[str, Rate] = {_ALONE: lambda: _by_itself(settings, names, step_s)}
    for workers in _WORKERS:
        ways[_feed_name(workers)] = _feed(settings, recipe, count, step_s, workers)
        if find_spec("torch"):
            ways[_loader_name(workers)] = _loader(settings, names, workers)
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, rate in ways.items():
            measured[name].append(rate())
    rates = {name: median(rate for rate, _ in several) for name, several in measured.items()}
    made = terminal.table("", "batches/s", "of one process", "of the DataLoader", "waited")
    for name, several in measured.items():
        feed = name.startswith("feed")
        loader = rates.get(name.replace("feed", "DataLoader"), math.nan) if feed else math.nan
        made.add_row(
            name,
            f"{rates[name]:.2f}",
            f"{rates[name] / rates[_ALONE]:.2f}",
            "" if math.isnan(loader) else f"{rates[name] / loader:.2f}",
            f"{median(share for _, share in several):.0%}" if feed else "",
        )
    terminal.show(made)


def _feed_name(workers: int) -> str:
    return f"feed, {workers} workers"


def _loader_name(workers: int) -> str:
    return f"DataLoader, {workers} workers"


def _names(settings: TrainingSettings, recipe: Recipe, count: int) -> list[BatchName]:
    """The first batches, epoch after epoch."""
    files = TrainingFiles(settings)
    files.close()
    batches = recipe.batches_of(len(files))
    places = (divmod(number, batches) for number in range(count))
    return [BatchName(files.fingerprint, recipe, epoch, index) for epoch, index in places]


def _by_itself(
    settings: TrainingSettings, names: Sequence[BatchName], step_s: float
) -> tuple[float, float]:
    files = TrainingFiles(settings)
    for name in names[:_WINDOW]:
        files.batch(name)
    started_at = time.perf_counter()
    for name in names[_WINDOW:]:
        files.batch(name)
        time.sleep(step_s)
    spent_s = time.perf_counter() - started_at
    files.close()
    return (len(names) - _WINDOW) / spent_s, 1.0


def _feed(
    settings: TrainingSettings, recipe: Recipe, count: int, step_s: float, workers: int
) -> Rate:
    feed = Feed(**vars(recipe), epochs=None, window=_WINDOW)

    def rate() -> tuple[float, float]:
        pool = feeds.FeedPool(settings, workers)
        with feeds.services(pool) as broker, Batches(broker, feed) as batches:
            for _ in range(_WINDOW):
                next(batches)
            started_at, waited_s = time.perf_counter(), batches.waited_s
            for _ in range(count):
                next(batches)
                time.sleep(step_s)
            spent_s = time.perf_counter() - started_at
            return count / spent_s, (batches.waited_s - waited_s) / spent_s

    return rate


def _loader(settings: TrainingSettings, names: Sequence[BatchName], workers: int) -> Rate:
    def rate() -> tuple[float, float]:
        from .bench_loader import loader_rate

        return loader_rate(settings, names, workers=workers, warm_up=_WINDOW), 0.0

    return rate


if __name__ == "__main__":
    main()
