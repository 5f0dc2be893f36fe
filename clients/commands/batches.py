"""`ssnet batches`: what a feed of training batches gives."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from mdp.settings import DEFAULT_ENDPOINT

from .options import (
    Broker,
    ImageProducer,
    LabelProducer,
    Quiet,
    TickOrder,
    Ticks,
    TrustTickOrder,
    Verbose,
    check_files,
    log_warnings,
    numbers,
)

HELP = """Take training batches as fast as they come: rate, latency, what is in them, a picture.

They come from the workers of `batch-train` at the broker. With files, a broker and workers of \
these files are started on this machine.

[bold]Examples[/]

  ssnet batches --broker tcp://node7:5555
  ssnet batches -n 200 --batch 32 --planes 2 --size 512 --broker tcp://node7:5555
  ssnet batches toy.root --workers 2 -o batch.png
"""


_OF_FILES = ("workers", "image", "label", "tick_order", "trust_tick_order")


def batches(
    context: typer.Context,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="LArCV files, to try out.")
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Batches to take.")] = 50,
    batch: Annotated[int, typer.Option(min=1, help="Events in a batch.")] = 16,
    planes: Annotated[str, typer.Option(help="Which, in this order.")] = "0,1,2",
    size: Annotated[int, typer.Option(min=1, help="Rows and columns of a crop.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of order, crops, mirrors.")] = 0,
    epoch: Annotated[int, typer.Option(min=0, help="The first.")] = 0,
    window: Annotated[int, typer.Option(min=1, help="Batches in flight.")] = 8,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw a batch: .png, .pdf or .svg.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="How many to start, with files.")] = 1,
    image: ImageProducer = "wire",
    label: LabelProducer = "segment",
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    broker: Broker = DEFAULT_ENDPOINT,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    check_files(context, files=bool(files), theirs=_OF_FILES)
    from lartpc.display.picture_files import check_name
    from services.training_files import TrainingSettings

    from ..files import choices
    from ..local import feed_pool, local_services
    from ..terminal import screen
    from ..training import feed_report
    from ..training.batch_feed import Batches, Feed

    wanted = numbers(planes)
    feed = Feed(
        batch_size=batch,
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
    choices.check_producers(files or (), {"--image": image, "--label": label})
    settings = TrainingSettings(
        tuple(files or ()),
        image=image,
        label=label,
        tick_order=tick_order.value,
        trust_tick_order=trust_tick_order,
    )
    pool = feed_pool.FeedPool(settings, workers)
    with (
        screen.progress("batches", command="ssnet batches", quiet=quiet) as show,
        local_services.services(pool, progress=show) if files else nullcontext(broker) as address,
        Batches(address, feed) as given,
    ):
        show.step("waiting for batches")
        show.begin(feed_report.statement(given, number), total=number)
        done = feed_report.watch(given, number, on_progress=show)
    if output and done.first:
        feed_report.draw(done.first, wanted, output)
    if not quiet:
        screen.show(feed_report.table(done, given))
