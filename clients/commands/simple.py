"""`ssnet simple`: any images to any service."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mdp import SettingsError
from mdp.settings import DEFAULT_ENDPOINT

from .options import (
    Broker,
    CopyInput,
    End,
    Force,
    Inputs,
    Json,
    Output,
    Quiet,
    RepeatInputs,
    Start,
    TickOrder,
    Ticks,
    Tries,
    TrustTickOrder,
    Verbose,
    log_warnings,
    positive,
)

HELP = """Send images of files to a service; write what comes back to a file.

Each answer is written under the name it came with, to the event and with the meta of the image \
it answers; an answer to anything else is an error. Events without images keep an empty entry. \
With --random the output has the random order. The output appears when it is whole.

[bold]Examples[/]

  ssnet simple toy.root -o answers.root --service dummy --producer wire
  ssnet simple a.root b.root -o all.root --service dummy --producer wire --copy-input
  ssnet simple toy.root -o part.h5 --service dummy --start 10 --end 20 --batch 4
  ssnet simple toy.root -o mixed.root --service dummy --random --seed 7
"""


def simple(
    inputs: Inputs,
    output: Output,
    service: Annotated[str, typer.Option("--service", "-s", help="Who is asked.")],
    producer: Annotated[
        list[str] | None,
        typer.Option("--producer", "-p", help="Images to send; repeatable. Default: all."),
    ] = None,
    answer: Annotated[
        list[str] | None,
        typer.Option(help="A name that replies must have; repeatable. Default: the first's."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Events in a request, at most.")] = 1,
    random: Annotated[bool, typer.Option("--random", help="Send in a random order.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the random order; default 0.")] = None,
    start: Start = 0,
    end: End = None,
    timeout: Annotated[float, typer.Option(callback=positive, help="Seconds for one try.")] = 300.0,
    tries: Tries = 3,
    window: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 8,
    copy_input: CopyInput = False,
    repeat_inputs: RepeatInputs = False,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    force: Force = False,
    broker: Broker = DEFAULT_ENDPOINT,
    quiet: Quiet = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    from ..files import choices
    from ..scoring import closing_tables
    from ..simple import simple_client as client
    from ..terminal import screen

    if seed is not None and not random:
        raise SettingsError("want --seed with --random")
    plan = client.SimpleJob(
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
        repeat_inputs=repeat_inputs,
        tick_order=tick_order.value,
        trust_tick_order=trust_tick_order,
        force=force,
        command=tuple(sys.argv),
    )
    log_warnings(verbose=verbose, quiet=quiet)
    for name in producer or ():
        choices.check_producers(inputs, {"-p": name})
    with screen.progress("events", command="ssnet simple", quiet=quiet) as show:
        done = client.process_files(plan, on_progress=show)
    screen.close(
        [closing_tables.table(done)], closing_tables.values(done), quiet=quiet, json=as_json
    )
