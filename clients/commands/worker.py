"""`ssnet worker`: the workers of our services."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdp import Pulse, SettingsError, Worker, WorkerSettings
from mdp.process import configure_logging, stop_bell
from mdp.settings import DEFAULT_ENDPOINT

from .options import (
    Broker,
    Heartbeat,
    ImageProducer,
    LabelProducer,
    Liveness,
    TickOrder,
    Ticks,
    TrustTickOrder,
    Verbose,
    finite,
    numbers,
)

if TYPE_CHECKING:
    from ..local.local_services import LocalPool

HELP = """Run workers of a service that comes with this project.

`--plane 0` serves `ssnet-plane0`: the pixels of plane 0 are scored shower or track by a Caffe \
network. Without `--network` it is the small one that is shipped, trained on toy events. Each \
worker computes in a process of its own, and shares the cores with the others that this command \
starts. `batch-train FILE...` makes training batches of files of images and labels; `dummy` \
answers zeros. SIGTERM or Ctrl-C: what is in hand is finished first; a second \
one stops at once.

[bold]Examples[/]

  ssnet worker --planes 0,1,2 -n 2
  ssnet worker --plane 2 --broker tcp://node7:5555
  ssnet worker --plane 0 --prototxt ssnet.prototxt --weights plane0.caffemodel
  ssnet worker --planes 0,1,2 --network ssnet2018
  ssnet worker --plane 2 --engine caffe --device cuda:0
  ssnet worker batch-train toy*.root -n 4 --image wire --label segment
  ssnet worker dummy
"""


class Service(str, enum.Enum):
    """What is served besides planes."""

    dummy = "dummy"
    batch_train = "batch-train"


class EngineName(str, enum.Enum):
    """What computes a network."""

    onnx = "onnx"
    caffe = "caffe"


class Dtype(str, enum.Enum):
    """Of the scores on the wire."""

    float16 = "float16"
    float32 = "float32"


Factory = tuple[str, Callable[[], Worker]]
Files = Annotated[
    list[Path] | None, typer.Argument(metavar="[FILE...]", help="What batch-train reads.")
]
Planes = Annotated[
    list[int] | None, typer.Option("--plane", "-p", help="A plane to serve; repeatable.")
]
Network = Annotated[
    Path | None,
    typer.Option(help="A folder with a network of each plane. Default: the shipped one."),
]
Prototxt = Annotated[Path | None, typer.Option(help="The network, with --weights.")]
Weights = Annotated[Path | None, typer.Option(help="Its .caffemodel.")]
Engine = Annotated[EngineName, typer.Option(help="onnxruntime, or pycaffe where it is installed.")]
Gpu = Annotated[int | None, typer.Option(min=0, help="The same as --device cuda:GPU.")]
Threads = Annotated[
    int, typer.Option(min=0, help="Of each worker. Default: the cores, divided among the workers.")
]
Cache = Annotated[
    int, typer.Option(min=0, help="MB that a worker of batch-train keeps of what it read.")
]
Number = Annotated[int, typer.Option("--number", "-n", min=1, help="Workers of each service.")]


def worker(
    service: Annotated[Service | None, typer.Argument(help="A service that is no plane's.")] = None,
    files: Files = None,
    plane: Planes = None,
    planes: Annotated[str, typer.Option(help="Planes to serve: 0,1,2.")] = "",
    network: Network = None,
    prototxt: Prototxt = None,
    weights: Weights = None,
    engine: Engine = EngineName.onnx,
    device: Annotated[str, typer.Option(help="cpu, or cuda:0, cuda:1, ...")] = "cpu",
    gpu: Gpu = None,
    threads: Threads = 0,
    threshold: Annotated[
        float, typer.Option(min=0, callback=finite, help="ADC below which scores are 0.")
    ] = 10.0,
    dtype: Annotated[Dtype, typer.Option(help="Of the scores on the wire.")] = Dtype.float16,
    image: ImageProducer = "wire",
    label: LabelProducer = "segment",
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    cache: Cache = 512,
    broker: Broker = DEFAULT_ENDPOINT,
    number: Number = 1,
    heartbeat: Heartbeat = 1.0,
    liveness: Liveness = 3,
    verbose: Verbose = False,
) -> None:
    wanted = numbers(",".join([*map(str, plane or []), planes]))
    if bool(service) == bool(wanted):
        raise SettingsError("want a service or planes: `ssnet worker --plane 0`")
    if bool(files) != (service is Service.batch_train):
        raise SettingsError("want files with batch-train: `ssnet worker batch-train FILE...`")
    pulse = Pulse(heartbeat, liveness)
    configure_logging(verbose=verbose)
    if service is Service.dummy:
        factories = _dummies(number)
    elif service:
        factories = _feed(
            number,
            files=tuple(files or ()),
            image=image,
            label=label,
            tick_order=tick_order.value,
            trust_tick_order=trust_tick_order,
            cache_bytes=cache << 20,
        )
    else:
        factories = _planes(
            planes=wanted,
            workers=number,
            network=network,
            prototxt=prototxt,
            weights=weights,
            engine=engine.value,
            device=device if gpu is None else f"cuda:{gpu}",
            threads=threads,
            threshold_adc=threshold,
            dtype=dtype.value,
        )
    _serve(broker, factories, pulse, verbose=verbose)


def _serve(broker: str, factories: list[Factory], pulse: Pulse, *, verbose: bool) -> None:
    """Until a signal comes."""
    from mdp.worker.worker_loop import serve_workers

    settings = WorkerSettings(pulse=pulse)
    prepare = functools.partial(configure_logging, verbose=verbose)
    with stop_bell() as stop:
        serve_workers(broker, factories, stop, settings=settings, prepare=prepare)


# What is served; imported when it is wanted, so that each needs its own libraries alone.


def _dummies(number: int) -> list[Factory]:
    from services import dummy

    return [(dummy.NAME, dummy.Dummy)] * number


def _feed(number: int, **settings: Any) -> list[Factory]:
    from services.training_files import TrainingSettings

    from ..files.choices import check_producers
    from ..local.feed_pool import FeedPool

    check_producers(settings["files"], {"--image": settings["image"], "--label": settings["label"]})
    return _checked(FeedPool(TrainingSettings(**settings), number))


def _planes(**settings: Any) -> list[Factory]:
    from ..local.plane_pool import Pool

    return _checked(Pool(**settings))


def _checked(pool: LocalPool) -> list[Factory]:
    """What it lacks is said at once, and once."""
    pool.check()
    return pool.factories()
