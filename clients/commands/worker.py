"""`ssnet worker`: the workers of our services, a sub-command for each service."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdp import Heartbeats
from mdp.commands.command_line import HEARTBEAT_OPTIONS, new_group, options_named
from mdp.process import configure_logging
from mdp.settings import DEFAULT_ENDPOINT

from .option_checks import numbers
from .options import (
    ALL_PLANES,
    COMPUTED,
    IMAGES,
    LABELS,
    LOW_ADC,
    SERVED,
    Broker,
    Cache,
    Device,
    Heartbeat,
    Labels,
    Liveness,
    Network,
    Planes,
    Prototxt,
    Quiet,
    Threads,
    Threshold,
    TickOrder,
    Ticks,
    TrainingProducer,
    TrustTickOrder,
    Verbose,
    Workers,
    option,
)

if TYPE_CHECKING:
    from ..local.serving import Pool

HELP = """Start workers of a service that comes with this project.

Each worker computes in its own process. On Ctrl-C, SIGTERM or SIGHUP the workers finish the \
requests that they hold; a second signal stops them at once.

[bold]Examples[/]

  ssnet worker planes --planes 0,1,2 -n 2
  ssnet worker batch-train toy*.root -n 4
  ssnet worker dummy
"""

PLANES_HELP = """Start workers that score the pixels of planes as shower or track.

Plane 0 is the service `ssnet-plane0`, and so on. The workers use a Caffe network. The default \
is the small network that comes with ssnet, which was trained on toy events; choose another one \
with `--network` (or, for a single plane, `--prototxt` and `--weights`). The workers share the \
cores of the machine.

[bold]Examples[/]

  ssnet worker planes --planes 0,1,2 -n 2
  ssnet worker planes --planes 2 --broker tcp://node7:5555
  ssnet worker planes --planes 0 --prototxt ssnet.prototxt --weights plane0.caffemodel
  ssnet worker planes --network ssnet2018
  ssnet worker planes --planes 2 --engine caffe --device cuda:0
"""

BATCH_TRAIN_HELP = """Start workers that make training batches from files of images and labels.

The service is `batch-train`; `ssnet train` and `ssnet batches` are its clients. All workers of a \
broker must read the same files, in the same order.

[bold]Examples[/]

  ssnet worker batch-train toy*.root -n 4
  ssnet worker batch-train toy.root --producer wire --labels segment --broker tcp://node7:5555
"""

DUMMY_HELP = """Start workers that log the images they get, and answer with zeros.

The service is `dummy`. With it you can test clients, brokers and connections; it computes nothing.

[bold]Examples[/]

  ssnet worker dummy
  ssnet worker dummy -n 2 --broker tcp://node7:5555
"""

HEARTBEATS = Heartbeats()

app = new_group("worker", HELP)


class EngineName(str, enum.Enum):
    """What computes a network."""

    onnx = "onnx"
    caffe = "caffe"


class Dtype(str, enum.Enum):
    """The type of the scores in messages."""

    float16 = "float16"
    float32 = "float32"


Weights = Annotated[Path | None, option(COMPUTED, help="Network weights, a .caffemodel file.")]
Engine = Annotated[
    EngineName,
    option(COMPUTED, help="Library that computes: onnxruntime, or an installed pycaffe."),
]
Gpu = Annotated[int | None, option(COMPUTED, min=0, help="Short for --device cuda:GPU.")]
Dtypes = Annotated[
    Dtype, option(COMPUTED, help="Type of the scores in messages; float16 halves their size.")
]
MaxPixels = Annotated[
    int,
    option(
        SERVED,
        min=1,
        help="Pixels (rows times columns) of an image, above which a request is refused; the"
        " memory of a worker grows with them.",
    ),
]
TrainingInputs = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="LArCV files with images and labels.")
]


@app.command("planes", help=PLANES_HELP)
def planes(
    planes: Planes = ALL_PLANES,
    network: Network = None,
    prototxt: Prototxt = None,
    weights: Weights = None,
    engine: Engine = EngineName.onnx,
    device: Device = "cpu",
    gpu: Gpu = None,
    threads: Threads = 0,
    threshold: Threshold = LOW_ADC,
    dtype: Dtypes = Dtype.float16,
    max_pixels: MaxPixels = 4096 * 4096,
    workers: Workers = 1,
    broker: Broker = DEFAULT_ENDPOINT,
    heartbeat: Heartbeat = HEARTBEATS.interval_s,
    liveness: Liveness = HEARTBEATS.liveness,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    def pool() -> Pool:
        from ..local.plane_pool import PlanePool

        return PlanePool(
            planes=numbers(planes),
            workers=workers,
            network=network,
            prototxt=prototxt,
            weights=weights,
            engine=engine.value,
            device=device if gpu is None else f"cuda:{gpu}",
            threads=threads,
            threshold_adc=threshold,
            dtype=dtype.value,
            max_pixels=max_pixels,
        )

    _serve(pool, broker, heartbeat, liveness, verbose=verbose, quiet=quiet)


@app.command("batch-train", help=BATCH_TRAIN_HELP)
def batch_train(
    files: TrainingInputs,
    producer: TrainingProducer = IMAGES,
    labels: Labels = LABELS,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    cache: Cache = 512,
    workers: Workers = 1,
    broker: Broker = DEFAULT_ENDPOINT,
    heartbeat: Heartbeat = HEARTBEATS.interval_s,
    liveness: Liveness = HEARTBEATS.liveness,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    def pool() -> Pool:
        from ..local.feed_pool import feed_pool

        return feed_pool(
            files,
            workers,
            image=producer,
            label=labels,
            tick_order=tick_order.value,
            trust_tick_order=trust_tick_order,
            cache_mib=cache,
        )

    _serve(pool, broker, heartbeat, liveness, verbose=verbose, quiet=quiet)


@app.command("dummy", help=DUMMY_HELP)
def dummy(
    workers: Workers = 1,
    broker: Broker = DEFAULT_ENDPOINT,
    heartbeat: Heartbeat = HEARTBEATS.interval_s,
    liveness: Liveness = HEARTBEATS.liveness,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    def pool() -> Pool:
        from ..local.serving import DummyPool

        return DummyPool(workers)

    _serve(pool, broker, heartbeat, liveness, verbose=verbose, quiet=quiet)


def _serve(
    pool: Callable[[], Pool],
    broker: str,
    heartbeat: float,
    liveness: int,
    *,
    verbose: bool,
    quiet: bool,
) -> None:
    """Make and check a pool, then serve until a signal. `pool` imports only what it needs."""
    with options_named(**HEARTBEAT_OPTIONS):
        heartbeats = Heartbeats(heartbeat, liveness)
    configure_logging(verbose=verbose, quiet=quiet)
    served = pool()
    served.check()
    from ..local.serving import serve

    serve(served, broker, heartbeats=heartbeats, verbose=verbose, quiet=quiet)
