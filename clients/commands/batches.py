"""`ssnet batches`: what a feed of training batches gives."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdp.settings import DEFAULT_ENDPOINT

from .option_checks import check_files, log_warnings, numbers
from .options import (
    ALL_PLANES,
    COMPUTED,
    FILES,
    IMAGES,
    LABELS,
    SERVED,
    BatchSize,
    Broker,
    Cache,
    Json,
    Labels,
    Planes,
    PoolName,
    Quiet,
    Seed,
    Size,
    TickOrder,
    Ticks,
    TrainingFiles,
    TrainingProducer,
    TrustTickOrder,
    Verbose,
    Workers,
    broker_of,
    option,
)

if TYPE_CHECKING:
    from ..training.feed_report import FeedReport

HELP = """Fetch training batches as fast as possible: show their rate, latency and content.

The batches come from `batch-train` workers at --broker. If you give files, a broker and workers \
that read them are started on this machine. A batch has its planes in the order of `--planes`.

[bold]Examples[/]

  ssnet batches --broker tcp://node7:5555
  ssnet batches --batches 200 --batch-size 32 --planes 2 --broker tcp://node7:5555
  ssnet batches toy.root -n 2 -o batch.png
"""


_OF_FILES = ("workers", "producer", "labels", "tick_order", "trust_tick_order", "cache")


def batches(
    context: typer.Context,
    files: TrainingFiles = None,
    output: Annotated[
        Path | None,
        option(FILES, "--output", "-o", help="Picture of the first batch: .png, .pdf or .svg."),
    ] = None,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    batches: Annotated[int, option(COMPUTED, min=1, help="Number of batches to fetch.")] = 50,
    batch_size: BatchSize = 16,
    planes: Planes = ALL_PLANES,
    size: Size = 256,
    producer: TrainingProducer = IMAGES,
    labels: Labels = LABELS,
    seed: Seed = 0,
    epoch: Annotated[int, option(COMPUTED, min=0, help="First epoch; epochs count from 0.")] = 0,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    workers: Workers = 1,
    window: Annotated[int, option(SERVED, min=1, help="Batches in flight at once.")] = 8,
    cache: Cache = 512,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    check_files(context, files=bool(files), theirs=_OF_FILES)
    broker = broker_of(context, pool_name, broker)
    from lartpc.display.picture_files import check_name

    from ..local import feed_pool, local_services
    from ..terminal import screen
    from ..training import feed_report
    from ..training.batch_feed import Batches, Feed

    wanted = numbers(planes)
    feed = Feed(
        batch_size=batch_size,
        planes=wanted,
        rows=size,
        cols=size,
        seed=seed,
        start=(epoch, 0),
        epochs=None,
        window=window,
    )
    if output:
        check_name(output)
    log_warnings(verbose=verbose, quiet=quiet)
    pool = feed_pool.feed_pool(
        files or (),
        workers,
        image=producer,
        label=labels,
        cache_mib=cache,
        tick_order=tick_order.value,
        trust_tick_order=trust_tick_order,
    )
    with (
        screen.progress("batches", command="ssnet batches", quiet=quiet) as show,
        local_services.services(pool, progress=show) if files else nullcontext(broker) as address,
        Batches(address, feed, waits=not files) as taken,
    ):
        show.step("waiting for batches")
        show.begin(feed_report.statement(taken, batches), total=batches)
        done = feed_report.watch(taken, batches, on_progress=show)
    if output and done.first:
        feed_report.draw(done.first, wanted, output)
    if as_json:
        sys.stdout.write(json.dumps(_values(done)) + "\n")
    elif not quiet:
        screen.show(feed_report.table(done, taken))


def _values(report: FeedReport) -> dict[str, Any]:
    """The figures of the table, for `--json`."""
    return {
        "batches": report.batches,
        "events": report.events,
        "bytes": report.nbytes,
        "seconds": report.seconds,
        "waited_s": report.waited_s,
        "latency_s": report.latency_s,
        "made_s": report.made_s,
        "workers": len(report.workers),
        "pixels": dict(zip(("background", "shower", "track"), report.pixels, strict=True)),
    }
