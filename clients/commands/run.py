"""`ssnet run`: the production client."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdp import Heartbeats, SettingsError
from mdp.commands.command_line import HEARTBEAT_OPTIONS, options_named
from mdp.settings import DEFAULT_ENDPOINT

from .option_checks import check_useful, log_warnings, numbers, typed
from .options import (
    ALL_PLANES,
    FAILURES,
    FILES,
    HIGH_ADC,
    LOW_ADC,
    OVERLAP,
    SIDE,
    BadInput,
    Broker,
    Canary,
    Ceiling,
    CheckpointSeconds,
    CopyInput,
    End,
    Engine,
    EngineName,
    Force,
    Fresh,
    Heartbeat,
    Inputs,
    Json,
    Ledger,
    Liveness,
    Local,
    LongWait,
    MaxFailed,
    Modes,
    Network,
    OnBadInput,
    Output,
    OutputFormat,
    Overlap,
    Planes,
    PoolName,
    Producer,
    Quiet,
    RepeatInputs,
    Rois,
    Share,
    Size,
    Start,
    Strict,
    Threshold,
    TickOrder,
    Ticks,
    Timeout,
    Tries,
    TrustTickOrder,
    Verbose,
    Window,
    Workers,
    broker_of,
    option,
)

if TYPE_CHECKING:
    from ..flow.progress import Progress
    from ..flow.stopwatch import Stopwatch
    from ..scoring.job import ScoringJob

HELP = """Score every pixel of LArCV files as shower or track, and write the scores to a LArCV file.

The crops of plane 0 go to the service `ssnet-plane0`, and so on; all planes of several events are \
processed at once. The output has the entries of the input, in the same order. Each entry has two \
images for each plane, the shower score and the track score; their producers are `uburn_plane0`, \
`uburn_plane1`, `uburn_plane2`. The output file appears when it is complete. If the run is killed, \
run the same command again to resume it. An event without images (in croi mode: without ROIs) has \
an empty entry. So has an event that no worker can score; OUT.failed.json names it, and the exit \
code is 3. A detector with several TPCs has more than three planes (projections): all those of \
the first file are scored, by `ssnet-plane3` and so on, unless `--projections 0,1,3-5` names \
some. `--local` starts a broker and workers on this machine (`-n`: how many, `--network`: \
which network, `--engine`: what computes it).

[bold]Modes[/]

  croi     crops around the file's regions of interest (ROIs), as in SSNet's own chain
  tiles    the whole event, in overlapping tiles
  whole    each image as it is, for files of images that are already cropped

[bold]Examples[/]

  ssnet run in.root -o out.root --broker tcp://node7:5555
  ssnet run in.root -o out.root --pool july
  ssnet run in.root -o out.root --local -n 2
  ssnet run in.root -o out.root --local --engine caffe --network ssnet2018
  ssnet run event.root -o out.root --local --mode tiles --tick-order forward
  ssnet run tpcs.root -o out.root --projections 0-5 --pool july
  ssnet run a.root b.root -o ab.root --copy-input --start 100 --end 200
  ssnet run in.root -o out.root --retry-failed
  ssnet run in.root -o out.root --broker tcp://node7:5555 --canary next --share 0.02
"""


FAILED_EVENTS = 3
"""The exit code of a run whose output is complete, except for events that failed."""
HEARTBEATS = Heartbeats()


RetryFailed = Annotated[
    bool,
    option(
        FAILURES,
        "--retry-failed",
        help="Score again the events that OUT.failed.json names, and only these.",
    ),
]
LedgerTo = Annotated[
    Path | None, option(FILES, "--ledger-to", help="Record the times of every event in this file.")
]


def run(
    context: typer.Context,
    inputs: Inputs,
    output: Output,
    copy_input: CopyInput = False,
    force: Force = False,
    file_format: OutputFormat = None,
    start: Start = 0,
    end: End = None,
    repeat_inputs: RepeatInputs = False,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    ledger: Ledger = False,
    ledger_to: LedgerTo = None,
    mode: Modes = None,
    producer: Producer = None,
    rois: Rois = None,
    planes: Planes = ALL_PLANES,
    size: Size = SIDE,
    overlap: Overlap = OVERLAP,
    threshold: Threshold = LOW_ADC,
    ceiling: Ceiling = HIGH_ADC,
    network: Network = None,
    engine: Engine = EngineName.onnx,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    local: Local = False,
    workers: Workers = 1,
    canary: Canary = "",
    share: Share = 0.02,
    window: Window = 8,
    wait: LongWait = None,
    heartbeat: Heartbeat = HEARTBEATS.interval_s,
    liveness: Liveness = HEARTBEATS.liveness,
    fresh: Fresh = False,
    checkpoint_seconds: CheckpointSeconds = 60.0,
    retry_failed: RetryFailed = False,
    bad_input: BadInput = OnBadInput.stop,
    strict: Strict = False,
    max_failed: MaxFailed = 0.1,
    timeout: Timeout = 3600.0,
    tries: Tries = 3,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from dataclasses import replace

    from ..files import choices
    from ..flow.stopwatch import Stopwatch
    from ..scoring import closing_tables, score
    from ..scoring.canary.crop_share import Canary as CanaryShare
    from ..scoring.job import ScoringJob
    from ..terminal import screen

    _check_local(context, local=local)
    broker = broker_of(context, pool_name, broker)
    with options_named(**HEARTBEAT_OPTIONS):
        heartbeats = Heartbeats(heartbeat, liveness)
    log_warnings(verbose=verbose, quiet=quiet)
    chosen = choices.scored(
        inputs,
        producer=producer,
        mode=mode.value if mode else None,
        rois=rois,
        size=size,
        overlap=overlap,
    )
    named = typed(context, "planes")
    wanted = tuple(sorted(numbers(planes)))
    if not named:
        wanted = choices.planes(inputs[0], chosen.producer, wanted)
    entries = range(start, sys.maxsize if end is None else end)
    choices.check_size(inputs, chosen, planes=wanted, entries=entries)
    shadow = None
    if canary:
        shadow = CanaryShare(canary, share, output.with_name(f"{output.name}.canary"))
    job = ScoringJob(
        inputs=tuple(inputs),
        output=output,
        broker=broker,
        mode=chosen.mode,
        producer=chosen.producer,
        mode_taken=mode is None and rois is None,
        planes=wanted,
        skip_others=named,
        low_adc=threshold,
        high_adc=ceiling,
        start=start,
        end=end,
        timeout_s=timeout,
        tries=tries,
        wait_s=wait,
        heartbeats=heartbeats,
        window=window,
        format=file_format.value if file_format else None,
        copy_input=copy_input,
        repeat_inputs=repeat_inputs,
        tick_order=tick_order.value,
        trust_tick_order=trust_tick_order,
        force=force,
        ledger=ledger_to or (output.with_name(f"{output.name}.ledger") if ledger else None),
        part_s=checkpoint_seconds,
        fresh=fresh,
        strict=strict,
        bad_input=bad_input.value,
        max_failed=max_failed,
        retry_failed=retry_failed,
        shadow=shadow,
        command=tuple(sys.argv),
    )
    watch = Stopwatch()
    with (
        screen.progress("events", command="ssnet run", quiet=quiet) as show,
        _services(job, workers, network, engine.value, progress=show, watch=watch)
        if local
        else nullcontext(broker) as address,
    ):
        job = replace(job, broker=address, waits=not local)
        done = score.score(job, on_progress=show, watch=watch)
    watch.finish()
    screen.close(
        closing_tables.production_tables(done),
        closing_tables.production_values(done),
        quiet=quiet,
        json=as_json,
    )
    if done.failed:
        raise typer.Exit(FAILED_EVENTS)


def _check_local(context: typer.Context, *, local: bool) -> None:
    """Refuse options that have no effect."""
    for name, shown in {"broker": "--broker", "pool_name": "--pool"}.items():
        if local and typed(context, name):
            raise SettingsError(f"{shown} cannot be combined with --local")
    for name in () if local else ("workers", "network", "engine"):
        check_useful(context, name, needs="--local")
    if not context.params["canary"]:
        check_useful(context, "share", needs="--canary")


def _services(
    job: ScoringJob,
    workers: int,
    network: Path | None,
    engine: str,
    *,
    progress: Progress,
    watch: Stopwatch,
) -> AbstractContextManager[str]:
    """Start a broker and workers here; this needs the libraries that run networks, too."""
    from ..local import local_services, plane_pool

    pool = plane_pool.PlanePool(
        job.planes,
        workers=workers,
        network=network,
        engine=engine,
        threshold_adc=job.low_adc,
        max_pixels=plane_pool.ANY_SIZE,
    )
    return local_services.services(pool, progress=progress, watch=watch)
