"""`ssnet worker`: the workers of our services."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mdp import Pulse, SettingsError, Worker, WorkerSettings
from mdp.process import configure_logging, stop_bell
from mdp.settings import DEFAULT_ENDPOINT

from .options import Broker, ImageProducer, LabelProducer, TickOrder, Ticks, Verbose, numbers

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


Factory = Callable[[], Worker]


def worker(
    service: Annotated[Service | None, typer.Argument(help="A service that is no plane's.")] = None,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="What batch-train reads.")
    ] = None,
    plane: Annotated[
        list[int] | None, typer.Option("--plane", "-p", help="A plane to serve; repeatable.")
    ] = None,
    planes: Annotated[str, typer.Option(help="Planes to serve: 0,1,2.")] = "",
    network: Annotated[
        Path | None,
        typer.Option(help="A folder with a network of each plane. Default: the shipped one."),
    ] = None,
    prototxt: Annotated[Path | None, typer.Option(help="The network, with --weights.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Its .caffemodel.")] = None,
    engine: Annotated[
        EngineName, typer.Option(help="onnxruntime, or pycaffe where it is installed.")
    ] = EngineName.onnx,
    device: Annotated[str, typer.Option(help="cpu, or cuda:0, cuda:1, ...")] = "cpu",
    gpu: Annotated[int | None, typer.Option(help="The same as --device cuda:GPU.")] = None,
    threads: Annotated[
        int, typer.Option(help="Of each worker. Default: the cores, divided among the workers.")
    ] = 0,
    threshold: Annotated[float, typer.Option(help="ADC below which scores are 0.")] = 10.0,
    dtype: Annotated[Dtype, typer.Option(help="Of the scores on the wire.")] = Dtype.float16,
    image: ImageProducer = "wire",
    label: LabelProducer = "segment",
    tick_order: TickOrder = Ticks.backward,
    cache: Annotated[
        int, typer.Option(min=0, help="MB that a worker of batch-train keeps of what it read.")
    ] = 512,
    broker: Broker = DEFAULT_ENDPOINT,
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, help="Workers of each service.")
    ] = 1,
    heartbeat: Annotated[float, typer.Option(help="Seconds between heartbeats.")] = 1.0,
    liveness: Annotated[int, typer.Option(help="Heartbeats missed until a peer is gone.")] = 3,
    verbose: Verbose = False,
) -> None:
    from mdp.worker_loop import serve_workers

    wanted = numbers(",".join([*map(str, plane or []), planes]))
    if bool(service) == bool(wanted):
        raise SettingsError("want a service or planes: `ssnet worker --plane 0`")
    if bool(files) != (service is Service.batch_train):
        raise SettingsError("want files with batch-train: `ssnet worker batch-train FILE...`")
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
            cache_bytes=cache << 20,
        )
    else:
        from .. import pools

        pool = pools.Pool(
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
        pools.check(pool)
        factories = pools.factories(pool)
    settings = WorkerSettings(pulse=Pulse(heartbeat, liveness))
    prepare = functools.partial(configure_logging, verbose=verbose)
    with stop_bell() as stop:
        serve_workers(broker, factories, stop, settings=settings, prepare=prepare)


def _dummies(number: int) -> list[tuple[str, Factory]]:
    from services import dummy  # what it lacks is said at once, and once

    return [(dummy.NAME, dummy.Dummy)] * number


def _feed(number: int, **settings: Any) -> list[tuple[str, Factory]]:
    from services.training_files import TrainingSettings

    from .. import feeds

    pool = feeds.FeedPool(TrainingSettings(**settings), number)
    feeds.check(pool)
    return pool.factories()
