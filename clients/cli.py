"""The `ssnet` command: parse, build, run. Results to stdout, progress and logs to stderr.

Exit codes: 0 done, 1 failed, 2 misused.
"""

from __future__ import annotations

import enum
import functools
import sys
from pathlib import Path
from typing import Annotated

import typer

from mdp import Pulse, SettingsError, WorkerSettings
from mdp.process import configure_logging, stop_bell
from mdp.settings import DEFAULT_ENDPOINT

from .process import errors_reported
from .signals import stopped_cleanly

app = typer.Typer(
    help="SSNet on files of LArTPC images: toys, services, displays.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


class Ticks(str, enum.Enum):
    """Which tick row 0 is."""

    backward = "backward"
    forward = "forward"


class View(str, enum.Enum):
    """What a display zooms to."""

    charge = "charge"
    whole = "whole"


class Service(str, enum.Enum):
    """What `ssnet worker` can serve."""

    dummy = "dummy"


_WORKERS = {Service.dummy: ("services.dummy", "Dummy")}

Broker = Annotated[
    str, typer.Option("--broker", "-b", envvar="MDP_BROKER", help="The broker's address.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it is there.")]
TickOrder = Annotated[
    Ticks,
    typer.Option(
        help="Whether row 0 is the largest tick (backward, as in LArCV1) or the smallest."
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")]


def main() -> None:
    with errors_reported():
        app()


TOY_HELP = """Make a file of toy events: neutrino-like ones among cosmics, with truth.

Products: images `wire` (ADC) and `segment` (0 background, 1 shower, 2 track) on three planes, \
and ROIs `croi` around the vertex (not in .h5 files, which hold none). A seed makes the same \
events each time.

[bold]Examples[/]

  ssnet toy -n 10 -o toy.root
  ssnet toy -n 100 -o toy.h5 --seed 7 --rows 1008 --cols 3456
"""


@app.command(help=TOY_HELP)
def toy(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file: .root or .h5.")],
    number: Annotated[int, typer.Option("--number", "-n", help="Events to make.")] = 10,
    seed: Annotated[int, typer.Option(help="The run number, too.")] = 1,
    rows: Annotated[int, typer.Option(help="Pixels along the time axis, of 6 ticks.")] = 512,
    cols: Annotated[int, typer.Option(help="Pixels along the wire axis, of 1 wire.")] = 512,
    cosmics: Annotated[float | None, typer.Option(help="Mean cosmic muons an event.")] = None,
    force: Force = False,
) -> None:
    from lartpc.simulation.chamber import Chamber
    from lartpc.toy import ToySettings

    from . import terminal, toys

    settings = ToySettings(chamber=Chamber(rows=rows, cols=cols), cosmics=cosmics)
    with stopped_cleanly(), terminal.progress_bar("toy events") as show:
        toys.write(
            output, count=number, seed=seed, settings=settings, force=force, on_progress=show
        )


SIMPLE_HELP = """Send images of files to a service; write what comes back to a file.

Each answer is written under the name it came with, to the event and with the meta of the image \
it answers; an answer to anything else is an error. Events without images keep an empty entry. \
With --random the output has the random order. The output appears when it is whole.

[bold]Examples[/]

  ssnet simple toy.root -o answers.root --service dummy --producer wire
  ssnet simple a.root b.root -o all.root --service dummy --producer wire --copy-input
  ssnet simple toy.root -o part.h5 --service dummy --start 10 --end 20 --batch 4
  ssnet simple toy.root -o mixed.root --service dummy --random --seed 7
"""


@app.command(help=SIMPLE_HELP)
def simple(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Read as one file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file: .root or .h5.")],
    service: Annotated[str, typer.Option("--service", "-s", help="Who is asked.")],
    producer: Annotated[
        list[str] | None,
        typer.Option("--producer", "-p", help="Images to send; repeatable. Default: all."),
    ] = None,
    answer: Annotated[
        list[str] | None,
        typer.Option(help="A name that replies must have; repeatable. Default: the first's."),
    ] = None,
    batch: Annotated[int, typer.Option(help="Events in a request, at most.")] = 1,
    random: Annotated[bool, typer.Option("--random", help="Send in a random order.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of the random order; default 0.")] = None,
    start: Annotated[int, typer.Option(help="The first entry, over all files.")] = 0,
    end: Annotated[int | None, typer.Option(help="The entry after the last.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for one try.")] = 300.0,
    tries: Annotated[int, typer.Option(help="How often a request is sent.")] = 3,
    window: Annotated[int, typer.Option(help="Requests in flight.")] = 8,
    copy_input: Annotated[
        bool, typer.Option("--copy-input", help="The input's other products come along.")
    ] = False,
    tick_order: TickOrder = Ticks.backward,
    force: Force = False,
    broker: Broker = DEFAULT_ENDPOINT,
    verbose: Verbose = False,
) -> None:
    from . import report, terminal
    from . import simple as client

    if seed is not None and not random:
        raise SettingsError("want --seed with --random")
    plan = client.Plan(
        inputs=tuple(inputs),
        output=output,
        service=service,
        broker=broker,
        producers=tuple(producer) if producer else None,
        answers=tuple(answer or ()),
        batch=batch,
        seed=(seed or 0) if random else None,
        start=start,
        end=end,
        timeout_s=timeout,
        tries=tries,
        window=window,
        copy_input=copy_input,
        tick_order=tick_order.value,
        force=force,
    )
    _log_warnings(verbose=verbose)
    with stopped_cleanly(), terminal.progress_bar(f"events to {service}") as show:
        done = client.run(plan, on_progress=show)
    terminal.show(report.table(done))


DISPLAY_HELP = """Draw an event into a PNG: the planes side by side, a row for each producer.

[bold]Examples[/]

  ssnet display toy.root --entry 3 --producer wire -o event.png
  ssnet display toy.root --entry 3 --producer wire --labels segment --roi croi -o event.png
  ssnet display out.root -p wire --scores uburn_plane0 --scores uburn_plane1 \
--scores uburn_plane2 -o event.png
"""


@app.command(help=DISPLAY_HELP)
def display(
    file: Annotated[Path, typer.Argument(help="A LArCV file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture: .png.")],
    entry: Annotated[int, typer.Option("--entry", "-e", help="Which event.")] = 0,
    producer: Annotated[
        list[str] | None, typer.Option("--producer", "-p", help="A row of ADC; repeatable.")
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option(help="A row of labels 0, 1, 2; repeatable.")
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(help="Images \\[shower, track] of a plane, or of all; repeatable: one row."),
    ] = None,
    roi: Annotated[list[str] | None, typer.Option(help="Boxes to draw; repeatable.")] = None,
    view: Annotated[View, typer.Option(help="Zoom to the charge, or show all.")] = View.charge,
    tick_order: TickOrder = Ticks.backward,
) -> None:
    from . import pictures

    if not (producer or labels or scores):
        raise SettingsError("want something to draw: --producer, --labels or --scores")
    picture = pictures.Picture(
        file=file,
        entry=entry,
        charge=tuple(producer or ()),
        labels=tuple(labels or ()),
        scores=tuple(scores or ()),
        rois=tuple(roi or ()),
        view=view.value,
        tick_order=tick_order.value,
    )
    with stopped_cleanly():
        pictures.draw(picture, output)


FILES_HELP = """Show what is in LArCV files: products, entries, image sizes, events, bytes.

A file that cannot be read is one line on stderr, and exit code 1.

[bold]Examples[/]

  ssnet files toy.root
  ssnet files run*.root
"""


@app.command(help=FILES_HELP)
def files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="LArCV files.")],
) -> None:
    from . import contents, terminal

    rows, failures = contents.of_all(files)
    terminal.show(contents.table(rows))
    for failure in failures:
        print(f"ssnet: {failure}", file=sys.stderr)
    sys.exit(1 if failures else 0)


WORKER_HELP = """Run workers of a service that comes with this project.

Each computes in a process of its own. SIGTERM or Ctrl-C: what is in hand is finished first; a \
second one stops at once.

[bold]Examples[/]

  ssnet worker dummy
  ssnet worker dummy --broker tcp://node7:5555 -n 2
"""


@app.command(help=WORKER_HELP)
def worker(
    service: Annotated[Service, typer.Argument(help="What to serve.")],
    broker: Broker = DEFAULT_ENDPOINT,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Workers to run.")] = 1,
    heartbeat: Annotated[float, typer.Option(help="Seconds between heartbeats.")] = 1.0,
    liveness: Annotated[int, typer.Option(help="Heartbeats missed until a peer is gone.")] = 3,
    verbose: Verbose = False,
) -> None:
    from mdp.worker import load
    from mdp.worker_loop import serve_workers

    settings = WorkerSettings(pulse=Pulse(heartbeat, liveness))
    configure_logging(verbose=verbose)
    factory = functools.partial(load, *_WORKERS[service])
    prepare = functools.partial(configure_logging, verbose=verbose)
    with stop_bell() as stop:
        serve_workers(
            broker, [(service.value, factory)] * number, stop, settings=settings, prepare=prepare
        )


def _log_warnings(*, verbose: bool) -> None:
    """A client's user wants to hear of trouble, not of each step."""
    import logging

    configure_logging(verbose=verbose)
    if not verbose:
        logging.getLogger().setLevel(logging.WARNING)
