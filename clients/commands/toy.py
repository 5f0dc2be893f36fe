"""`ssnet toy`: files of toy events."""

from __future__ import annotations

import sys
from typing import Annotated

from .option_checks import log_warnings
from .options import (
    COLS_HELP,
    COMPUTED,
    ROWS_HELP,
    Events,
    Force,
    Output,
    OutputFormat,
    Quiet,
    Seed,
    Verbose,
    finite,
    option,
)

HELP = """Make a file of toy events: neutrino-like events among cosmics, with truth.

The products are the images `wire` (ADC) and `segment` (0 background, 1 shower, 2 track) of three \
planes, and the ROIs `croi` around the vertex (only in .root files: .h5 files hold no ROIs; LArCV2 \
files hold them as particles). A \
pixel covers 6 ticks and 1 wire. Equal seeds make equal events; the seed is also the run number.

[bold]Examples[/]

  ssnet toy --events 10 -o toy.root
  ssnet toy --events 100 -o toy.h5 --seed 7 --rows 1008 --cols 3456
  ssnet toy --events 10 -o toy.root --format larcv2
"""


def toy(
    output: Output,
    force: Force = False,
    file_format: OutputFormat = None,
    events: Events = 10,
    seed: Seed = 1,
    rows: Annotated[int, option(COMPUTED, min=16, max=16384, help=ROWS_HELP)] = 512,
    cols: Annotated[int, option(COMPUTED, min=16, max=16384, help=COLS_HELP)] = 512,
    cosmics: Annotated[
        float | None,
        option(
            COMPUTED,
            min=0,
            max=1000,
            callback=finite,
            help="Mean number of cosmic muons in an event. Default: 12 in an image of 1008 x 3456,"
            " fewer in a smaller one.",
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from lartpc.simulation.chamber import Chamber
    from lartpc.simulation.toy import ToySettings

    from ..files import toy_files
    from ..terminal import screen

    log_warnings(verbose=verbose, quiet=quiet)
    settings = ToySettings(chamber=Chamber(rows=rows, cols=cols), cosmics=cosmics)
    with screen.progress("events", command="ssnet toy", quiet=quiet) as show:
        toy_files.write(
            output,
            count=events,
            seed=seed,
            settings=settings,
            force=force,
            format=file_format.value if file_format else None,
            on_progress=show,
            command=sys.argv,
        )
