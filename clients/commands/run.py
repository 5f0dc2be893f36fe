"""`ssnet run`: the production client."""

from __future__ import annotations

import enum
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdp import Pulse, SettingsError
from mdp.settings import DEFAULT_ENDPOINT

from .options import (
    Broker,
    CopyInput,
    End,
    Force,
    Heartbeat,
    Inputs,
    Json,
    Liveness,
    Output,
    Quiet,
    RepeatInputs,
    Start,
    TickOrder,
    Ticks,
    Tries,
    TrustTickOrder,
    Verbose,
    finite,
    log_warnings,
    numbers,
    positive,
    typed,
)

if TYPE_CHECKING:
    from ..flow.progress import Progress
    from ..flow.stopwatch import Stopwatch

HELP = """Score every plane's pixels, shower or track: LArCV files in, a LArCV file out.

Each plane's crops go to its own service, `ssnet-plane0`, `-plane1`, `-plane2`, all planes of \
several events at once. Output: for each entry of the input, in order, images \\[shower, track] \
of `uburn_plane0`, `uburn_plane1`, `uburn_plane2`. It appears when it is whole. Killed, the same \
command goes on. Events that no worker can score are empty, and OUT.failed.json names them: exit \
code 3. `--local` starts a broker and workers on this machine.

[bold]Modes[/]

  croi     crops around the file's regions of interest: SSNet's chain
  tiles    the whole event in overlapping tiles
  whole    images as they are, for those that were cropped before

[bold]Examples[/]

  ssnet run in.root -o out.root --broker tcp://node7:5555
  ssnet run in.root -o out.root --local
  ssnet run event.root -o out.root --local --mode tiles --tick-order forward
  ssnet run a.root b.root -o ab.root --copy-input --start 100 --end 200
  ssnet run in.root -o out.root --retry-failed
"""


FAILED_EVENTS = 3
"""The exit code of a run whose output is whole, but for events that failed."""


class Mode(str, enum.Enum):
    """Which parts of an event are scored."""

    croi = "croi"
    tiles = "tiles"
    whole = "whole"


class OnBadInput(str, enum.Enum):
    """What an entry does that cannot be read, planned or cut."""

    stop = "stop"
    fail = "fail"


Modes = Annotated[
    Mode | None,
    typer.Option(help="Which parts are scored. Default: croi if there are ROIs, else tiles."),
]
Producer = Annotated[
    str | None,
    typer.Option("--producer", "-p", help="Of the images. Default: wire, or the only one."),
]
Roi = Annotated[
    str | None,
    typer.Option(help="Producer of the regions of interest. Default: croi, or the only one."),
]
Planes = Annotated[str, typer.Option(help="Score these planes only.")]
Size = Annotated[int, typer.Option(min=1, help="Rows and columns of crops and tiles.")]
Overlap = Annotated[int, typer.Option(min=0, help="Pixels that neighbouring tiles share.")]
Threshold = Annotated[
    float, typer.Option(min=0, callback=finite, help="ADC below which there is no charge.")
]
Ceiling = Annotated[float, typer.Option(callback=positive, help="ADC at which pixels are cut off.")]
Timeout = Annotated[float, typer.Option(callback=positive, help="Seconds for one try of a crop.")]
Window = Annotated[int, typer.Option(min=1, help="Events in flight.")]
Wait = Annotated[
    float, typer.Option(min=0, callback=finite, help="Seconds to wait for the first workers.")
]
PartSeconds = Annotated[
    float, typer.Option(min=0, callback=finite, help="Seconds between checkpoints of the output.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Give up what an earlier run has made safe.")]
Strict = Annotated[bool, typer.Option("--strict", help="End at an event that fails.")]
BadInput = Annotated[
    OnBadInput,
    typer.Option(help="A bad entry stops the run, or fails: an empty event, named in the report."),
]
MaxFailed = Annotated[
    float,
    typer.Option(
        min=0, max=1, callback=finite, help="Share of events that may fail, once ten have."
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Only events that failed; keep the others.")
]
Local = Annotated[bool, typer.Option("--local", help="Start a broker and workers on this machine.")]
Number = Annotated[
    int | None, typer.Option("-n", min=1, help="Workers a plane, with --local. Default: 1.")
]
Network = Annotated[Path | None, typer.Option(help="A folder of networks, with --local.")]
Ledger = Annotated[bool, typer.Option("--ledger", help="Keep every event's times, in OUT.ledger.")]
LedgerTo = Annotated[Path | None, typer.Option("--ledger-to", help="The same, in another file.")]


def run(
    context: typer.Context,
    inputs: Inputs,
    output: Output,
    mode: Modes = None,
    producer: Producer = None,
    roi: Roi = None,
    planes: Planes = "0,1,2",
    size: Size = 512,
    overlap: Overlap = 64,
    threshold: Threshold = 10.0,
    ceiling: Ceiling = 500.0,
    start: Start = 0,
    end: End = None,
    timeout: Timeout = 3600.0,
    tries: Tries = 3,
    window: Window = 8,
    wait: Wait = 10.0,
    heartbeat: Heartbeat = 1.0,
    liveness: Liveness = 3,
    copy_input: CopyInput = False,
    repeat_inputs: RepeatInputs = False,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    force: Force = False,
    part_seconds: PartSeconds = 60.0,
    fresh: Fresh = False,
    strict: Strict = False,
    bad_input: BadInput = OnBadInput.stop,
    max_failed: MaxFailed = 0.1,
    retry_failed: RetryFailed = False,
    broker: Broker = DEFAULT_ENDPOINT,
    local: Local = False,
    number: Number = None,
    network: Network = None,
    ledger: Ledger = False,
    ledger_to: LedgerTo = None,
    quiet: Quiet = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    from dataclasses import replace

    from ..files import choices
    from ..flow.stopwatch import Stopwatch
    from ..scoring import closing_tables, score
    from ..scoring.job import ScoringJob
    from ..terminal import screen

    _check_local(context, local=local)
    log_warnings(verbose=verbose, quiet=quiet)
    chosen = choices.scored(
        inputs,
        producer=producer,
        mode=mode.value if mode else None,
        rois=roi,
        size=size,
        overlap=overlap,
    )
    wanted = tuple(sorted(numbers(planes)))
    meant = range(start, sys.maxsize if end is None else end)
    choices.check_size(inputs, chosen, planes=wanted, entries=meant)
    job = ScoringJob(
        inputs=tuple(inputs),
        output=output,
        broker=broker,
        mode=chosen.mode,
        producer=chosen.producer,
        mode_taken=mode is None and roi is None,
        planes=wanted,
        low_adc=threshold,
        high_adc=ceiling,
        start=start,
        end=end,
        timeout_s=timeout,
        tries=tries,
        wait_s=wait,
        pulse=Pulse(heartbeat, liveness),
        window=window,
        copy_input=copy_input,
        repeat_inputs=repeat_inputs,
        tick_order=tick_order.value,
        trust_tick_order=trust_tick_order,
        force=force,
        ledger=ledger_to or (output.with_name(f"{output.name}.ledger") if ledger else None),
        part_s=part_seconds,
        fresh=fresh,
        strict=strict,
        bad_input=bad_input.value,
        max_failed=max_failed,
        retry_failed=retry_failed,
        command=tuple(sys.argv),
    )
    watch = Stopwatch()
    with (
        screen.progress("events", command="ssnet run", quiet=quiet) as show,
        _services(job.planes, number or 1, network, threshold, progress=show, watch=watch)
        if local
        else nullcontext(broker) as address,
    ):
        done = score.score(replace(job, broker=address), on_progress=show, watch=watch)
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
    """Refuse options that would do nothing."""
    others = ["broker"] if local else ["number", "network"]
    for name in others:
        if typed(context, name):
            option = {"broker": "--broker without --local", "number": "-n with --local"}
            raise SettingsError(f"want {option.get(name, '--network with --local')}")


def _services(
    planes: tuple[int, ...],
    workers: int,
    network: Path | None,
    threshold_adc: float,
    *,
    progress: Progress,
    watch: Stopwatch,
) -> AbstractContextManager[str]:
    """A broker and workers on this machine, which then needs what computes networks, too."""
    from ..local import local_services, plane_pool

    pool = plane_pool.Pool(planes, workers=workers, network=network, threshold_adc=threshold_adc)
    return local_services.services(pool, progress=progress, watch=watch)
