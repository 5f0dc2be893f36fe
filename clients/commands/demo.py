"""`ssnet demo`: the main job on one machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .option_checks import log_warnings
from .options import (
    FILES,
    Events,
    Json,
    Producer,
    Quiet,
    Seed,
    TickOrder,
    Ticks,
    TrustTickOrder,
    Verbose,
    option,
)

HELP = """Show the whole chain on this machine: events, a broker, workers, scores, a picture.

Without a FILE, it makes toy events with their true labels. All files go to the folder of \
`--output`, and replace those of an earlier demo.

[bold]Examples[/]

  ssnet demo
  ssnet demo --events 20 --seed 7
  ssnet demo event.root --tick-order forward -o shown
"""


def demo(
    file: Annotated[Path | None, typer.Argument(help="A LArCV file to score.")] = None,
    output: Annotated[
        Path, option(FILES, "--output", "-o", help="Folder for all files of the demo.")
    ] = Path("ssnet-demo"),
    events: Events = 6,
    seed: Seed = 1,
    producer: Producer = None,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    import functools

    from mdp.commands import tables

    from ..local import demonstration
    from ..scoring import closing_tables
    from ..terminal import screen

    log_warnings(verbose=verbose, quiet=quiet)
    plan = demonstration.Demo(
        folder=output,
        source=file,
        events=events,
        seed=seed,
        producer=producer,
        tick_order=tick_order.value,
        trust_tick_order=trust_tick_order,
        command=tuple(sys.argv),
    )
    bar = functools.partial(screen.progress, command="ssnet demo", quiet=quiet)
    done = demonstration.run_demo(plan, bar)
    production = closing_tables.production_tables(done.report)
    screen.close(
        [tables.services(done.served), *production, demonstration.files_table(plan)],
        closing_tables.production_values(done.report),
        quiet=quiet,
        json=as_json,
    )
