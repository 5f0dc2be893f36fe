"""`ssnet demo`: the main job on one machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import Json, Quiet, TickOrder, Ticks, TrustTickOrder, Verbose, log_warnings
from .run import Producer

HELP = """Show the main job: events, a broker, a pool of workers a plane, scores, a picture.

Without a file it makes toy events, which come with truth. Files go to a folder, and replace those \
of an earlier demo there.

[bold]Examples[/]

  ssnet demo
  ssnet demo event.root --tick-order forward -o shown
"""


def demo(
    file: Annotated[Path | None, typer.Argument(help="A LArCV file to score.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder.")] = Path("ssnet-demo"),
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Toy events.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Of the toy events.")] = 1,
    producer: Producer = None,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    quiet: Quiet = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    import functools

    from mdp.commands import tables

    from ..local import demonstration as shown
    from ..scoring import closing_tables
    from ..terminal import screen

    log_warnings(verbose=verbose, quiet=quiet)
    plan = shown.Demo(
        folder=output,
        source=file,
        events=number,
        seed=seed,
        producer=producer,
        tick_order=tick_order.value,
        trust_tick_order=trust_tick_order,
        command=tuple(sys.argv),
    )
    bar = functools.partial(screen.progress, command="ssnet demo", quiet=quiet)
    done = shown.run(plan, bar)
    made = closing_tables.production_tables(done.report)
    screen.close(
        [tables.services(done.served), *made, closing_tables.files_table(plan)],
        closing_tables.production_values(done.report),
        quiet=quiet,
        json=as_json,
    )
