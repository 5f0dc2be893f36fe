"""`ssnet train`: a network from training batches."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mdp import SettingsError
from mdp.settings import DEFAULT_ENDPOINT

from .options import (
    Broker,
    ImageProducer,
    Json,
    LabelProducer,
    Quiet,
    TickOrder,
    Ticks,
    TrustTickOrder,
    Verbose,
    check_files,
    finite,
    log_warnings,
    numbers,
    positive,
    typed,
)

if TYPE_CHECKING:
    from ..flow.progress import Progress
    from ..training.training_run import TrainingJob

T = TypeVar("T")

_STEPS = 2000

HELP = """Train a network from the batches of `batch-train` workers; write Caffe's files.

The batches come from the workers at the broker. With files, a broker and workers of these files \
are started on this machine. The network is the shipped one's architecture, or any `.prototxt` of \
one channel and three classes; it sees one plane's image at a time. With several planes all of \
them train it together, and each gets the same weights; `--plane 2` trains plane 2's own.

The same command goes on where it was stopped: by Ctrl-C, by a lost node, by the end of a job. The \
weights are the same as without the stop, to the bit. `--force` begins anew.

[bold]Examples[/]

  ssnet train toys.root -n 2 -o networks --validate unseen.root
  ssnet train -o networks --broker tcp://node7:5555 --validate unseen.root --epochs 20
  ssnet train toys.root -o networks --plane 2 --weights all/uresnet_plane2.caffemodel --rate 1e-3
  ssnet train -o ssnet --network ssnet.prototxt --optimizer sgd --rate 0.01 --schedule step
  ssnet worker --planes 0,1,2 --network networks     # serves what was trained
"""


class Optimizer(str, enum.Enum):
    """How weights follow their gradients."""

    adamw = "adamw"
    sgd = "sgd"


class Schedule(str, enum.Enum):
    """Of the learning rate."""

    cosine = "cosine"
    step = "step"
    constant = "constant"


class PixelWeights(str, enum.Enum):
    """What pixels count in the loss."""

    seen = "seen"
    ssnet = "ssnet"


class Precision(str, enum.Enum):
    """Of the passes through the network."""

    bfloat16 = "bfloat16"
    float32 = "float32"


Files = Annotated[
    list[Path] | None, typer.Argument(metavar="[FILE...]", help="LArCV files to train on, here.")
]
Folder = Annotated[Path, typer.Option("--output", "-o", help="A folder for all that is written.")]
Planes = Annotated[
    str, typer.Option("--planes", "--plane", help="Which train it; one: that plane's own network.")
]
Network = Annotated[Path | None, typer.Option(help="A .prototxt. Default: the shipped networks'.")]
Weights = Annotated[
    Path | None, typer.Option(help="A .caffemodel to begin with. Default: random weights.")
]
Validate = Annotated[
    list[Path] | None, typer.Option(help="A file to validate with, not trained on; repeatable.")
]
Workers = Annotated[int, typer.Option("--workers", "-n", min=1, help="How many, with files.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Batches to learn from. Default: 2000.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Instead of --steps.")]
Batch = Annotated[
    int, typer.Option(min=1, help="Events in a batch; each plane is an image of its own.")
]
WarmUp = Annotated[int, typer.Option(min=0, help="Steps in which the rate rises.")]
Scheme = Annotated[
    PixelWeights,
    typer.Option(help="seen: 1 with charge, 0.002 without; ssnet: the classes weigh the same."),
]
ShowerWeight = Annotated[
    float, typer.Option(min=0, callback=finite, help="A factor for a shower's pixels.")
]
ShowerShare = Annotated[
    float,
    typer.Option(min=0, max=1, callback=finite, help="Of the crops that lie around a shower."),
]
Freeze = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        callback=finite,
        help="Share of the steps, at the end, with BatchNorm as it is served.",
    ),
]
Average = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        callback=finite,
        help="What a step keeps of the weights' moving average; 0: none.",
    ),
]
ValidateEvery = Annotated[int, typer.Option(min=1, help="Steps from one validation to the next.")]
ValidateEvents = Annotated[
    int, typer.Option(min=1, help="Events of each but the last, which has all.")
]
Report = Annotated[int, typer.Option(min=1, help="Steps from one line of progress to the next.")]
Minutes = Annotated[
    float,
    typer.Option(min=0, callback=finite, help="From one checkpoint to the next; 0: each step."),
]
Threads = Annotated[
    int, typer.Option(min=0, help="Default: the cores. Others add in another order.")
]
Cache = Annotated[int, typer.Option(min=0, help="MB that a worker keeps, with files.")]
Force = Annotated[bool, typer.Option("--force", help="Begin anew, and replace what is there.")]


def train(
    context: typer.Context,
    output: Folder,
    files: Files = None,
    planes: Planes = "0,1,2",
    network: Network = None,
    weights: Weights = None,
    validate: Validate = None,
    steps: Steps = None,
    epochs: Epochs = None,
    batch: Batch = 4,
    rows: Annotated[int, typer.Option(min=1, help="Of a crop, in pixels.")] = 192,
    cols: Annotated[int, typer.Option(min=1, help="Of a crop, in pixels.")] = 192,
    optimizer: Annotated[Optimizer, typer.Option()] = Optimizer.adamw,
    rate: Annotated[
        float, typer.Option(callback=positive, help="The largest learning rate.")
    ] = 3e-3,
    schedule: Annotated[Schedule, typer.Option(help="Of the rate.")] = Schedule.cosine,
    warm_up: WarmUp = 50,
    weight_decay: Annotated[float, typer.Option(min=0, callback=finite)] = 1e-4,
    pixel_weights: Scheme = PixelWeights.seen,
    shower_weight: ShowerWeight = 1.0,
    shower_share: ShowerShare = 0.4,
    gain: Annotated[
        float, typer.Option(min=0, max=1, callback=finite, help="ADC is scaled by up to 1 ± this.")
    ] = 0.2,
    freeze_statistics: Freeze = 0.2,
    average: Average = 0.999,
    precision: Annotated[Precision, typer.Option()] = Precision.bfloat16,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order, crops.")] = 0,
    threads: Threads = 0,
    device: Annotated[str, typer.Option(help="cpu, or cuda:0, ...")] = "cpu",
    validate_every: ValidateEvery = 500,
    validate_events: ValidateEvents = 50,
    report_every: Report = 50,
    checkpoint_minutes: Minutes = 5.0,
    workers: Workers = 2,
    image: ImageProducer = "wire",
    label: LabelProducer = "segment",
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    cache: Cache = 512,
    broker: Broker = DEFAULT_ENDPOINT,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    given = {**locals(), "folder": output, "prototxt": network, "batch_size": batch}
    _check(context, files=bool(files))
    log_warnings(verbose=verbose, quiet=quiet)
    from ..terminal import screen
    from ..training import training_report as train_report
    from ..training import training_run as training

    job = _job({**given, "validate": tuple(validate or ()), "planes": numbers(planes)})
    training.checked(job)
    settings = {
        "image": image,
        "label": label,
        "tick_order": tick_order.value,
        "trust_tick_order": trust_tick_order,
    }
    with screen.progress("steps", command="ssnet train", quiet=quiet) as show:
        show.begin(training.statement(job, files=files or ()))
        pool = (
            _services(tuple(files), workers, show, cache_bytes=cache << 20, **settings)
            if files
            else None
        )
        with pool or nullcontext(broker) as address:
            done = training.train(replace(job, broker=address), show.say, on_progress=show)
    values = train_report.values(done)
    screen.close([train_report.table(done)], values, quiet=quiet, json=as_json)


def _check(context: typer.Context, *, files: bool) -> None:
    """Refuse options that would do nothing."""
    if typed(context, "steps") and typed(context, "epochs"):
        raise SettingsError("want --steps or --epochs, got both")
    check_files(context, files=files, theirs=("workers", "image", "label", "cache"))


def _job(given: Mapping[str, Any]) -> TrainingJob:
    from lartpc.training.batches import Recipe

    from ..training.batch_feed import Feed
    from ..training.trainer import Training
    from ..training.training_run import TrainingJob

    steps = _STEPS if given["steps"] is None else given["steps"]
    more = {
        "feed": Feed(**vars(_of(Recipe, given))),
        "training": _of(Training, {**given, "steps": steps}),
        "threads": given["threads"] or len(os.sched_getaffinity(0)),
        "checkpoint_s": given["checkpoint_minutes"] * 60,
    }
    return _of(TrainingJob, {**given, **more})


def _of(settings: type[T], given: Mapping[str, Any]) -> T:
    """Settings out of the options that are named as they are."""
    names = {field.name for field in fields(settings)}  # type: ignore[arg-type]
    plain = {n: v.value if isinstance(v, enum.Enum) else v for n, v in given.items()}
    return settings(**{name: value for name, value in plain.items() if name in names})


def _services(
    files: tuple[Path, ...], workers: int, progress: Progress, **settings: Any
) -> AbstractContextManager[str]:
    """A broker and workers on this machine."""
    from services.training_files import TrainingSettings

    from ..files import choices
    from ..local import feed_pool, local_services

    choices.check_producers(files, {"--image": settings["image"], "--label": settings["label"]})
    pool = feed_pool.FeedPool(TrainingSettings(files, **settings), workers)
    return local_services.services(pool, progress=progress)
