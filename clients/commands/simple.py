"""`ssnet simple`: any images to any service."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mdp.settings import DEFAULT_ENDPOINT

from .option_checks import check_useful, log_warnings
from .options import (
    COMPUTED,
    FILES,
    PRODUCER,
    SERVED,
    BatchSize,
    Broker,
    CopyInput,
    End,
    Force,
    Inputs,
    Json,
    Output,
    OutputFormat,
    PoolName,
    Quiet,
    RepeatInputs,
    Seed,
    Start,
    TickOrder,
    Ticks,
    Timeout,
    Tries,
    TrustTickOrder,
    Verbose,
    broker_of,
    option,
)

HELP = """Send images of LArCV files to a service, and write its answers to a LArCV file.

Each answer is an image. It is written to the event of the image that was sent, with the position \
and size (meta) of that image; the worker chooses the producer name. An answer that belongs to no \
image that was sent is an error. An event without images becomes an empty entry. With --random, \
the output is in the random order, too. The output file appears when it is complete.

[bold]Examples[/]

  ssnet simple toy.root -o answers.root --service dummy --producer wire
  ssnet simple a.root b.root -o all.root --service dummy --producer wire --copy-input
  ssnet simple toy.root -o part.h5 --service dummy --start 10 --end 20 --batch-size 4
  ssnet simple toy.root -o mixed.root --service dummy --random --seed 7
"""


def simple(
    context: typer.Context,
    inputs: Inputs,
    output: Output,
    service: Annotated[str, option(SERVED, "--service", "-s", help="Name of the service.")],
    copy_input: CopyInput = False,
    force: Force = False,
    file_format: OutputFormat = None,
    start: Start = 0,
    end: End = None,
    repeat_inputs: RepeatInputs = False,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    random: Annotated[
        bool, option(FILES, "--random", help="Send the events in a random order.")
    ] = False,
    producer: Annotated[
        list[str] | None,
        option(COMPUTED, "--producer", "-p", help=f"{PRODUCER}; repeatable. Default: all."),
    ] = None,
    answer: Annotated[
        list[str] | None,
        option(
            COMPUTED,
            help="Producer name that every answer must have; repeatable. Default: the names in the"
            " first answer.",
        ),
    ] = None,
    batch_size: BatchSize = 1,
    seed: Seed = 0,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    window: Annotated[int, option(SERVED, min=1, help="Requests in flight at once.")] = 8,
    interactive: Annotated[
        bool,
        option(
            SERVED,
            "--interactive",
            help="Let the broker hand these requests out before those of production clients.",
        ),
    ] = False,
    timeout: Timeout = 300.0,
    tries: Tries = 3,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from ..files import choices
    from ..scoring import closing_tables
    from ..simple import simple_client as client
    from ..terminal import screen

    if not random:
        check_useful(context, "seed", needs="--random")
    broker = broker_of(context, pool_name, broker)
    plan = client.SimpleJob(
        inputs=tuple(inputs),
        output=output,
        service=service,
        broker=broker,
        producers=tuple(producer) if producer else None,
        answers=tuple(answer or ()),
        batch=batch_size,
        seed=seed if random else None,
        start=start,
        end=end,
        timeout_s=timeout,
        tries=tries,
        window=window,
        interactive=interactive,
        format=file_format.value if file_format else None,
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
