"""`ssnet worker`: the workers of our services, a sub-command for each service."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdp import Heartbeats, WorkerSettings
from mdp.commands.command_line import HEARTBEAT_OPTIONS, new_group, options_named
from mdp.commands.worker_options import with_worker_life
from mdp.settings import DEFAULT_ENDPOINT, WorkerLife
from mdp.system.logs import configure_logging

from ..option_checks import numbers
from ..options import (
    ALL_PLANES,
    COMPUTED,
    IMAGES,
    LABELS,
    LOW_ADC,
    SERVED,
    Broker,
    Cache,
    Canary,
    Engine,
    EngineName,
    Heartbeat,
    Labels,
    Liveness,
    Network,
    Planes,
    Prototxt,
    Quiet,
    Scratch,
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
    from ...local.serving import Pool

HELP = """Start workers of a service that comes with this project.

Each worker computes in its own process. On Ctrl-C, SIGTERM, SIGUSR1 or SIGHUP the workers finish \
the requests that they hold; a second signal stops them at once, but a SIGTERM within 2 s of \
another one does not. In a Slurm job they leave before the end of its time, and then exit with 0.

[bold]Examples[/]

  ssnet worker planes --planes 0,1,2 -n 2
  ssnet worker files -n 2
  ssnet worker batch-train toy*.root -n 4
  ssnet worker dummy
"""

PLANES_HELP = """Start workers that score the pixels of planes as shower or track.

Plane 0 is the service `ssnet-plane0`, and so on. The workers use a Caffe network. The default \
is the small network that comes with ssnet, which was trained on toy events; choose another one \
with `--network` (or, for a single plane, `--prototxt` and `--weights`). The workers share the \
cores that this process may use: those of its affinity, its control group and its Slurm job.

With `--device auto` the workers of each plane are spread over the visible GPUs, one for each GPU \
unless `-n` asks for more; `--per-gpu 3` starts three of each plane for each GPU. Without a GPU \
they compute on the CPU. The log says which worker is on which device, with how many threads.

[bold]Examples[/]

  ssnet worker planes --planes 0,1,2 -n 2
  ssnet worker planes --planes 0-5 --network new
  ssnet worker planes --planes 2 --broker tcp://node7:5555
  ssnet worker planes --planes 0 --prototxt ssnet.prototxt --weights plane0.caffemodel
  ssnet worker planes --network ssnet2018
  ssnet worker planes --planes 2 --engine caffe --device cuda:0
  ssnet worker planes --planes 0,1,2 --device auto --broker @july/broker.json --idle 10m
  ssnet worker planes --planes 2 --device auto --per-gpu 3 --until 4:00:00
  ssnet worker planes --network new --canary next --broker @broker.json
"""

FILES_HELP = """Start readers, which score the files of campaigns.

The service is `ssnet-files`; `ssnet campaign start` is its client. A reader does for each file \
what `ssnet run` does, with the workers of the planes at the same broker; it computes nothing \
itself, and needs about one core. Its host must see the input files and the campaign's folder. \
A reader serves the campaigns of its own user only.

[bold]Examples[/]

  ssnet worker files -n 2
  ssnet worker files -n 4 --broker @july/broker.json
  ssnet worker files -n 4 --broker @july/broker.json --scratch /tmp --idle 10m
"""

BATCH_TRAIN_HELP = """Start workers that make training batches from files of images and labels.

The service is `batch-train`; `ssnet train` and `ssnet batches` are its clients. All workers of a \
broker must read the same files, in the same order.

[bold]Examples[/]

  ssnet worker batch-train toy*.root -n 4
  ssnet worker batch-train toy*.root --broker @feed/broker.json --until 2h --broker-wait 30m
  ssnet worker batch-train toy.root --producer wire --labels segment --broker tcp://node7:5555
"""

DUMMY_HELP = """Start workers that log the images they get, and answer with zeros.

The service is `dummy`. With it you can test clients, brokers and connections; it computes nothing.

[bold]Examples[/]

  ssnet worker dummy
  ssnet worker dummy -n 2 --broker tcp://node7:5555 --idle 10m
"""

HEARTBEATS = Heartbeats()

app = new_group("worker", HELP)


class Dtype(str, enum.Enum):
    """The type of the scores in messages."""

    float16 = "float16"
    float32 = "float32"


Weights = Annotated[Path | None, option(COMPUTED, help="Network weights, a .caffemodel file.")]
Gpu = Annotated[int | None, option(COMPUTED, min=0, help="Short for --device cuda:GPU.")]
PerGpu = Annotated[
    int | None,
    option(
        COMPUTED,
        min=1,
        help="Workers of each plane for each visible GPU, instead of --workers; needs --device"
        " auto. Default: 1, or more if --workers asks for more.",
    ),
]
PlaneDevice = Annotated[
    str,
    option(
        COMPUTED, help="Device that computes: cpu, or cuda:0, cuda:1, ...; auto: all visible GPUs."
    ),
]
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
@with_worker_life
def planes(
    *,
    planes: Planes = ALL_PLANES,
    network: Network = None,
    prototxt: Prototxt = None,
    weights: Weights = None,
    engine: Engine = EngineName.onnx,
    device: PlaneDevice = "cpu",
    gpu: Gpu = None,
    per_gpu: PerGpu = None,
    threads: Threads = 0,
    threshold: Threshold = LOW_ADC,
    dtype: Dtypes = Dtype.float16,
    max_pixels: MaxPixels = 4096 * 4096,
    workers: Workers = 1,
    canary: Canary = "",
    broker: Broker = DEFAULT_ENDPOINT,
    life: WorkerLife,
    heartbeat: Heartbeat = HEARTBEATS.interval_s,
    liveness: Liveness = HEARTBEATS.liveness,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    def pool() -> Pool:
        from ...local.plane_pool import PlanePool

        return PlanePool(
            planes=numbers(planes),
            workers=workers,
            network=network,
            prototxt=prototxt,
            weights=weights,
            engine=engine.value,
            device=device if gpu is None else f"cuda:{gpu}",
            per_gpu=per_gpu,
            threads=threads,
            threshold_adc=threshold,
            dtype=dtype.value,
            max_pixels=max_pixels,
            canary=canary,
        )

    _serve(pool, broker, life, heartbeat, liveness, verbose=verbose, quiet=quiet)


@app.command("files", help=FILES_HELP)
@with_worker_life
def files(
    *,
    scratch: Scratch = "",
    workers: Workers = 1,
    broker: Broker = DEFAULT_ENDPOINT,
    life: WorkerLife,
    heartbeat: Heartbeat = HEARTBEATS.interval_s,
    liveness: Liveness = HEARTBEATS.liveness,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    def pool() -> Pool:
        from ...local.reader_pool import ReaderPool

        return ReaderPool(broker, workers, scratch)

    _serve(pool, broker, life, heartbeat, liveness, verbose=verbose, quiet=quiet)


@app.command("batch-train", help=BATCH_TRAIN_HELP)
@with_worker_life
def batch_train(
    files: TrainingInputs,
    *,
    producer: TrainingProducer = IMAGES,
    labels: Labels = LABELS,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    cache: Cache = 512,
    workers: Workers = 1,
    broker: Broker = DEFAULT_ENDPOINT,
    life: WorkerLife,
    heartbeat: Heartbeat = HEARTBEATS.interval_s,
    liveness: Liveness = HEARTBEATS.liveness,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    def pool() -> Pool:
        from ...local.feed_pool import feed_pool

        return feed_pool(
            files,
            workers,
            image=producer,
            label=labels,
            tick_order=tick_order.value,
            trust_tick_order=trust_tick_order,
            cache_mib=cache,
        )

    _serve(pool, broker, life, heartbeat, liveness, verbose=verbose, quiet=quiet)


@app.command("dummy", help=DUMMY_HELP)
@with_worker_life
def dummy(
    *,
    workers: Workers = 1,
    broker: Broker = DEFAULT_ENDPOINT,
    life: WorkerLife,
    heartbeat: Heartbeat = HEARTBEATS.interval_s,
    liveness: Liveness = HEARTBEATS.liveness,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    def pool() -> Pool:
        from ...local.serving import DummyPool

        return DummyPool(workers)

    _serve(pool, broker, life, heartbeat, liveness, verbose=verbose, quiet=quiet)


def _serve(
    pool: Callable[[], Pool],
    broker: str,
    life: WorkerLife,
    heartbeat: float,
    liveness: int,
    *,
    verbose: bool,
    quiet: bool,
) -> None:
    """Make and check a pool, then serve until a signal. `pool` imports only what it needs."""
    with options_named(**HEARTBEAT_OPTIONS):
        settings = WorkerSettings(heartbeats=Heartbeats(heartbeat, liveness), life=life)
    configure_logging(verbose=verbose, quiet=quiet)
    served = pool()
    served.check()
    from ...local.serving import serve

    serve(served, broker, settings=settings, verbose=verbose, quiet=quiet)
