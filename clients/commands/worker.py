"""`ssnet worker`: the workers of our services."""

from __future__ import annotations

import enum
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from mdp import Pulse, SettingsError, Worker, WorkerSettings
from mdp.process import configure_logging, stop_bell
from mdp.settings import DEFAULT_ENDPOINT

from .options import Broker, Heartbeat, Liveness, Verbose

HELP = """Run workers of a service that comes with this project.

`--plane 0` serves `ssnet-plane0`: the pixels of plane 0 are scored shower or track by a Caffe \
network. Without `--network` it is the small one that is shipped, trained on toy events. Each \
worker computes in a process of its own, and shares the cores with the others that this command \
starts. `dummy` answers zeros. SIGTERM or Ctrl-C: what is in hand is finished first; a second \
one stops at once.

[bold]Examples[/]

  ssnet worker --planes 0,1,2 -n 2
  ssnet worker --plane 2 --broker tcp://node7:5555
  ssnet worker --plane 0 --prototxt ssnet.prototxt --weights plane0.caffemodel
  ssnet worker --planes 0,1,2 --network ssnet2018
  ssnet worker --plane 2 --engine caffe --device cuda:0
  ssnet worker dummy
"""


class Service(str, enum.Enum):
    """What is served besides planes."""

    dummy = "dummy"


class EngineName(str, enum.Enum):
    """What computes a network."""

    onnx = "onnx"
    caffe = "caffe"


class Dtype(str, enum.Enum):
    """Of the scores on the wire."""

    float16 = "float16"
    float32 = "float32"


Factory = Callable[[], Worker]

_WORKERS = {Service.dummy: ("services.dummy", "Dummy")}


def worker(
    service: Annotated[Service | None, typer.Argument(help="A service that is no plane's.")] = None,
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
    broker: Broker = DEFAULT_ENDPOINT,
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, help="Workers of each service.")
    ] = 1,
    heartbeat: Heartbeat = 1.0,
    liveness: Liveness = 3,
    verbose: Verbose = False,
) -> None:
    from mdp.worker import load
    from mdp.worker_loop import serve_workers

    wanted = _planes(plane or [], planes)
    if bool(service) == bool(wanted):
        raise SettingsError("want a service or planes: `ssnet worker --plane 0`")
    configure_logging(verbose=verbose)
    if service:
        module, _ = _WORKERS[service]
        importlib.import_module(module)  # what it lacks is said at once, and once
        made: Factory = functools.partial(load, *_WORKERS[service])
        factories = [(service.value, made)] * number
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


def _planes(single: list[int], several: str) -> tuple[int, ...]:
    try:
        wanted = [*single, *(int(number) for number in several.split(",") if number)]
    except ValueError:
        raise SettingsError(f"want planes as in 0,1,2, got {several!r}") from None
    if len(set(wanted)) != len(wanted) or any(not 0 <= number <= 9 for number in wanted):
        raise SettingsError(f"want different planes from 0 to 9, got {wanted}")
    return tuple(wanted)
