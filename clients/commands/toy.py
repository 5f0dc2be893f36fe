"""`ssnet toy`: files of toy events."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .options import (
    Force,
    Output,
    Quiet,
    finite,
)

HELP = """Make a file of toy events: neutrino-like ones among cosmics, with truth.

Products: images `wire` (ADC) and `segment` (0 background, 1 shower, 2 track) on three planes, \
and ROIs `croi` around the vertex (not in .h5 files, which hold none). A seed makes the same \
events each time.

[bold]Examples[/]

  ssnet toy -n 10 -o toy.root
  ssnet toy -n 100 -o toy.h5 --seed 7 --rows 1008 --cols 3456
"""


def toy(
    output: Output,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Events to make.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="The run number, too.")] = 1,
    rows: Annotated[
        int, typer.Option(min=16, max=16384, help="Pixels along the time axis, of 6 ticks.")
    ] = 512,
    cols: Annotated[
        int, typer.Option(min=16, max=16384, help="Pixels along the wire axis, of 1 wire.")
    ] = 512,
    cosmics: Annotated[
        float | None,
        typer.Option(min=0, max=1000, callback=finite, help="Mean cosmic muons an event."),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    from lartpc.simulation.chamber import Chamber
    from lartpc.simulation.toy import ToySettings

    from ..files import toy_files
    from ..terminal import screen

    settings = ToySettings(chamber=Chamber(rows=rows, cols=cols), cosmics=cosmics)
    with screen.progress("events", command="ssnet toy", quiet=quiet) as show:
        toy_files.write(
            output,
            count=number,
            seed=seed,
            settings=settings,
            force=force,
            on_progress=show,
            command=sys.argv,
        )
