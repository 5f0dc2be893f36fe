"""`ssnet train`: a network from training batches."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mdp import SettingsError
from mdp.settings import DEFAULT_ENDPOINT
from mdp.system import machine

from .option_checks import check_files, log_warnings, numbers, typed
from .options import (
    ALL_PLANES,
    COLS_HELP,
    COMPUTED,
    FILES,
    IMAGES,
    LABELS,
    LEARNED,
    ROWS_HELP,
    TERMINAL,
    BatchSize,
    Broker,
    Cache,
    CheckpointSeconds,
    Device,
    Force,
    Fresh,
    Json,
    Labels,
    Planes,
    PoolName,
    Prototxt,
    Quiet,
    Seed,
    Threads,
    TickOrder,
    Ticks,
    TrainingFiles,
    TrainingProducer,
    TrustTickOrder,
    Verbose,
    Workers,
    broker_of,
    finite,
    option,
    positive,
)

if TYPE_CHECKING:
    from ..training.training_run import TrainingJob

T = TypeVar("T")

HELP = """Train a network on batches from `batch-train` workers, and write it as Caffe files.

The batches come from the workers at --broker. If you give files, a broker and workers that read \
them are started on this machine. The network has the architecture of the shipped networks, or \
that of `--prototxt`, which must take one channel and give three classes. It sees the image of one \
plane at a time. With several planes, one network is trained on all of them, and each plane gets a \
copy; `--planes 2` trains a network for plane 2 only.

If the training is stopped (by Ctrl-C, a lost node, the end of a job), run the same command again \
to resume it. The weights are then bit-identical to those without the stop. With another number of \
`--threads` the last bits may differ, because sums are added in another order.

[bold]Examples[/]

  ssnet train toys.root -n 2 -o networks --validate unseen.root
  ssnet train -o networks --broker tcp://node7:5555 --validate unseen.root --epochs 20
  ssnet train toys.root -o networks --planes 2 --weights all/uresnet_plane2.caffemodel --rate 1e-3
  ssnet train -o ssnet --prototxt ssnet.prototxt --optimizer sgd --rate 0.01 --schedule step
  ssnet worker planes --network networks     # serves what was trained
"""


class Optimizer(str, enum.Enum):
    """How weights follow their gradients."""

    adamw = "adamw"
    sgd = "sgd"


class Schedule(str, enum.Enum):
    """How the learning rate falls."""

    cosine = "cosine"
    step = "step"
    constant = "constant"


class PixelWeights(str, enum.Enum):
    """How the weight of a pixel in the loss is chosen."""

    seen = "seen"
    ssnet = "ssnet"


class Precision(str, enum.Enum):
    """The type of numbers in the passes through the network."""

    bfloat16 = "bfloat16"
    float32 = "float32"


Folder = Annotated[
    Path,
    option(FILES, "--output", "-o", help="Folder for networks, checkpoint and training curve."),
]
Weights = Annotated[
    Path | None,
    option(COMPUTED, help="Network weights, a .caffemodel file. Default: random weights."),
]
Validate = Annotated[
    list[Path] | None,
    option(FILES, help="File for validation only, not for training; repeatable. Default: none."),
]
Steps = Annotated[int, option(LEARNED, min=1, help="Training steps; each step uses one batch.")]
Epochs = Annotated[
    int | None,
    option(
        LEARNED, min=1, help="Epochs to train, instead of --steps; an epoch has every event once."
    ),
]
Optimizers = Annotated[
    Optimizer, option(LEARNED, help="Optimiser: AdamW, or SGD with a momentum of 0.9.")
]
Rate = Annotated[float, option(LEARNED, callback=positive, help="Peak learning rate.")]
Schedules = Annotated[
    Schedule,
    option(
        LEARNED,
        help="Learning-rate schedule: cosine falls to 0; step falls to 1/10 at 1/2 of the steps and"
        " to 1/100 at 3/4; constant.",
    ),
]
WarmUp = Annotated[
    int,
    option(LEARNED, min=0, help="Steps of warm-up, in which the learning rate rises to --rate."),
]
WeightDecay = Annotated[
    float,
    option(
        LEARNED,
        min=0,
        callback=finite,
        help="Weight-decay coefficient of the optimiser, as in torch; 0: no weight decay.",
    ),
]
Scheme = Annotated[
    PixelWeights,
    option(
        LEARNED,
        help="Weights of pixels in the loss; seen: 1 with charge, 0.002 without; ssnet: the same"
        " total for each class.",
    ),
]
ShowerWeight = Annotated[
    float,
    option(
        LEARNED,
        min=0,
        callback=finite,
        help="Factor by which the loss weight of shower pixels is multiplied.",
    ),
]
ShowerShare = Annotated[
    float,
    option(
        LEARNED,
        min=0,
        max=1,
        callback=finite,
        help="Fraction of the crops that are cut around a shower, from 0 to 1.",
    ),
]
Gain = Annotated[
    float,
    option(
        LEARNED,
        min=0,
        max=1,
        callback=finite,
        help="Random gain, below 1: ADC is multiplied by a factor from 1 - GAIN to 1 + GAIN.",
    ),
]
Freeze = Annotated[
    float,
    option(
        LEARNED,
        min=0,
        max=1,
        callback=finite,
        help="Fraction of the steps, at the end, in which BatchNorm uses its running averages, not"
        " the statistics of the batch.",
    ),
]
Average = Annotated[
    float,
    option(
        LEARNED,
        min=0,
        max=1,
        callback=finite,
        help="Decay (below 1) of the moving average of the weights; the average is what is saved;"
        " 0: no average.",
    ),
]
Precisions = Annotated[
    Precision,
    option(LEARNED, help="Number type of the forward and backward pass; weights stay float32."),
]
ValidateEvery = Annotated[int, option(LEARNED, min=1, help="Steps between validations.")]
ValidateEvents = Annotated[
    int,
    option(LEARNED, min=1, help="Events in a validation; the validation at the end uses all."),
]
ReportEvery = Annotated[int, option(TERMINAL, min=1, help="Steps between progress lines.")]


def train(
    context: typer.Context,
    output: Folder,
    files: TrainingFiles = None,
    validate: Validate = None,
    force: Force = False,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    planes: Planes = ALL_PLANES,
    producer: TrainingProducer = IMAGES,
    labels: Labels = LABELS,
    prototxt: Prototxt = None,
    weights: Weights = None,
    batch_size: BatchSize = 4,
    rows: Annotated[int, option(COMPUTED, min=1, help=ROWS_HELP)] = 192,
    cols: Annotated[int, option(COMPUTED, min=1, help=COLS_HELP)] = 192,
    seed: Seed = 0,
    threads: Threads = 0,
    device: Device = "cpu",
    steps: Steps = 2000,
    epochs: Epochs = None,
    optimizer: Optimizers = Optimizer.adamw,
    rate: Rate = 3e-3,
    schedule: Schedules = Schedule.cosine,
    warm_up: WarmUp = 50,
    weight_decay: WeightDecay = 1e-4,
    pixel_weights: Scheme = PixelWeights.seen,
    shower_weight: ShowerWeight = 1.0,
    shower_share: ShowerShare = 0.4,
    gain: Gain = 0.2,
    freeze_statistics: Freeze = 0.2,
    average: Average = 0.999,
    precision: Precisions = Precision.bfloat16,
    validate_every: ValidateEvery = 500,
    validate_events: ValidateEvents = 50,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    workers: Workers = 2,
    cache: Cache = 512,
    fresh: Fresh = False,
    checkpoint_seconds: CheckpointSeconds = 300.0,
    report_every: ReportEvery = 50,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    options = {**locals(), "folder": output}
    _check(context, files=bool(files))
    broker = broker_of(context, pool_name, broker)
    log_warnings(verbose=verbose, quiet=quiet)
    from ..local import feed_pool, local_services
    from ..terminal import screen
    from ..training import training_report as train_report
    from ..training import training_run as training

    job = _job({**options, "validate": tuple(validate or ()), "planes": numbers(planes)})
    training.checked(job)
    with screen.progress("steps", command="ssnet train", quiet=quiet) as show:
        show.begin(training.statement(job, files=files or ()))
        pool = feed_pool.feed_pool(
            files or (),
            workers,
            image=producer,
            label=labels,
            cache_mib=cache,
            tick_order=tick_order.value,
            trust_tick_order=trust_tick_order,
        )
        started = local_services.services(pool, progress=show) if files else nullcontext(broker)
        with started as address:
            job = replace(job, broker=address, feed=replace(job.feed, waits=not files))
            done = training.train(job, show.say, on_progress=show)
    values = train_report.values(done)
    screen.close([train_report.table(done)], values, quiet=quiet, json=as_json)


def _check(context: typer.Context, *, files: bool) -> None:
    """Refuse options that have no effect."""
    if typed(context, "steps") and typed(context, "epochs"):
        raise SettingsError("--steps cannot be combined with --epochs")
    check_files(context, files=files, theirs=("workers", "producer", "labels", "cache"))


def _job(options: Mapping[str, Any]) -> TrainingJob:
    from lartpc.training.batches import Recipe

    from ..training.batch_feed import Feed
    from ..training.trainer import Training
    from ..training.training_run import TrainingJob

    more = {
        "feed": Feed(**vars(_of(Recipe, options))),
        "training": _of(Training, options),
        "threads": options["threads"] or machine.cpus(),
        "checkpoint_s": options["checkpoint_seconds"],
    }
    return _of(TrainingJob, {**options, **more})


def _of(settings: type[T], options: Mapping[str, Any]) -> T:
    """Make settings from those options that have the name of a field of the settings."""
    names = {field.name for field in fields(settings)}  # type: ignore[arg-type]
    plain = {n: v.value if isinstance(v, enum.Enum) else v for n, v in options.items()}
    return settings(**{name: value for name, value in plain.items() if name in names})
