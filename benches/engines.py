"""Measure the start-up time and memory of a network, and its speed relative to torch and Caffe.

`python -m benches.engines PROTOTXT WEIGHTS` measures a worker's start and memory in separate
processes, without and with the cache, and in Caffe if pycaffe is importable. Then it runs forward
passes alternating with Caffe, and with the same network as a plain torch module if torch is
importable, so that a busy machine slows both. Set OMP_WAIT_POLICY=passive on a shared machine:
torch's threads otherwise spin while they wait for each other, and take much longer.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mdp import MDPError
from services.caffe import caffe_net
from services.engines.engine import Images, warm_up
from services.engines.open_engine import open_engine

MAX_START = 5.0  # forward passes
MAX_PEAK_GB = 0.6
MAX_OF_TORCH = 1.0


@dataclass(frozen=True)
class Setup:
    """A measurement: the network's files, the image's size in pixels, threads, repetitions."""

    prototxt: Path
    weights: Path
    rows: int
    cols: int
    threads: int
    repeats: int


class Result(NamedTuple):
    """One figure and its upper limit."""

    name: str
    figure: float
    most: float
    """Infinite for a figure without a target."""
    detail: str


def image(setup: Setup, channels: int = 1) -> Images:
    """Return an image as sparse as a wire plane: a tenth of the pixels have 10 to 300 ADC."""
    rng = np.random.default_rng(0)
    charge = rng.uniform(10, 300, (1, channels, setup.rows, setup.cols))
    return (charge * (rng.random(charge.shape) < 0.1)).astype(np.float32)


# A worker's start and memory, in a separate process.


def start(setup: Setup, cache: Path, name: str = "onnx") -> dict[str, float]:
    """Open the network, run it, and return times and this process's peak memory (s, GB)."""
    began = time.perf_counter()
    engine = open_engine(name, setup.prototxt, setup.weights, threads=setup.threads, cache=cache)
    opened = time.perf_counter() - began
    warm_up(engine, setup.rows, setup.cols)
    pixels = image(setup, engine.network.input_channels)
    times = [_seconds(lambda: engine.forward(pixels)) for _ in range(setup.repeats)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts kB
    return {"open_s": opened, "forward_s": statistics.median(times), "peak_gb": peak}


def starts(setup: Setup, rounds: int) -> list[Result]:
    """Measure this many starts, one after another, with an empty cache and with a filled one.

    Then those of Caffe, if it is importable, which has no cache.
    """
    results = []
    with tempfile.TemporaryDirectory() as name:
        for kind, fresh in (("converted", True), ("cached", False)):
            caches = [Path(name) / (str(i) if fresh else "0") for i in range(rounds)]
            measured = [_in_a_process(setup, cache, "onnx") for cache in caches]
            results += _figures(kind, measured, MAX_START, MAX_PEAK_GB)
        if _has_caffe():
            measured = [_in_a_process(setup, Path(name), "caffe") for _ in range(rounds)]
            results += _figures("Caffe", measured, math.inf, math.inf)
    return results


def _figures(
    kind: str, measured: Sequence[dict[str, float]], most_start: float, most_gb: float
) -> list[Result]:
    ratio = statistics.median(run["open_s"] / run["forward_s"] for run in measured)
    opened = statistics.median(run["open_s"] for run in measured)
    peak = max(run["peak_gb"] for run in measured)
    return [
        Result(f"start, {kind}: forward passes", ratio, most_start, f"{opened:.2f} s"),
        Result(f"peak memory, {kind}: GB", peak, most_gb, f"{len(measured)} processes"),
    ]


def _in_a_process(setup: Setup, cache: Path, engine: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benches.engines", str(setup.prototxt), str(setup.weights)]
    for name in ("rows", "cols", "threads", "repeats"):
        command += [f"--{name}", str(getattr(setup, name))]
    done = subprocess.run(
        [*command, "--start", str(cache), "--engine", engine],
        check=True,
        stdout=subprocess.PIPE,
        timeout=600,
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


# Against Caffe and torch.


def _has_caffe() -> bool:
    return importlib.util.find_spec("caffe") is not None


def against_caffe(setup: Setup) -> Result:
    """Alternate passes of onnxruntime and of Caffe; return the median ratio of the pairs."""
    caffe = open_engine("caffe", setup.prototxt, setup.weights, threads=setup.threads)
    with tempfile.TemporaryDirectory() as cache:
        onnx = open_engine(
            "onnx", setup.prototxt, setup.weights, threads=setup.threads, cache=Path(cache)
        )
    pixels = image(setup, caffe.network.input_channels)
    difference = np.abs(caffe.forward(pixels) - onnx.forward(pixels)).max()
    pairs = [
        (_seconds(lambda: caffe.forward(pixels)), _seconds(lambda: onnx.forward(pixels)))
        for _ in range(setup.repeats)
    ]
    ratios = sorted(theirs / ours for theirs, ours in pairs)
    theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    detail = (
        f"{theirs * 1e3:.0f} and {ours * 1e3:.0f} ms, ratios {ratios[0]:.2f} to {ratios[-1]:.2f},"
        f" scores differ by {difference:.0e}"
    )
    name = "forward pass: Caffe's time, of onnxruntime's"
    return Result(name, statistics.median(ratios), math.inf, detail)


def against_torch(setup: Setup) -> Result:
    """Alternate passes of the engine and of torch; return the median ratio of the pairs."""
    import torch

    from clients.training.torch_net import TorchNet

    torch.set_num_threads(setup.threads)
    network = caffe_net.read(setup.prototxt, setup.weights)
    module = TorchNet(network)
    with tempfile.TemporaryDirectory() as cache:
        engine = open_engine(
            "onnx", setup.prototxt, setup.weights, threads=setup.threads, cache=Path(cache)
        )
    pixels = image(setup, network.input_channels)
    given = torch.from_numpy(pixels)
    pairs = []

    def forward() -> Any:
        return module.run(given)[network.output_name]

    with torch.inference_mode():
        difference = np.abs(engine.forward(pixels) - forward().numpy()).max()
        for _ in range(setup.repeats):
            ours, theirs = _seconds(lambda: engine.forward(pixels)), _seconds(forward)
            pairs.append((ours, theirs))
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    detail = f"{ours * 1e3:.0f} and {theirs * 1e3:.0f} ms, scores differ by {difference:.0e}"
    return Result("forward pass: of torch's time", ratio, MAX_OF_TORCH, detail)


def _seconds(job: Callable[[], Any]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each figure with its target; return 0 if all are met, 1 if not or on an error."""
    parser = argparse.ArgumentParser(prog="python -m benches.engines", description=__doc__)
    parser.add_argument("prototxt", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--rows", type=int, default=512, help="of the image, pixels")
    parser.add_argument("--cols", type=int, default=512, help="of the image, pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9, help="forward passes of each kind")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind")
    parser.add_argument("--start", type=Path, metavar="CACHE", help=argparse.SUPPRESS)
    parser.add_argument("--engine", default="onnx", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    setup = Setup(
        *(options.prototxt, options.weights, options.rows, options.cols),
        *(options.threads, options.repeats),
    )
    try:
        if options.start:
            print(json.dumps(start(setup, options.start, options.engine)))
            return 0
        network = caffe_net.read(setup.prototxt, setup.weights)
        network.shapes(1, setup.rows, setup.cols)  # fail here once, not in every process
        results = starts(setup, options.rounds)
        if _has_caffe():
            results.append(against_caffe(setup))
        else:
            print("caffe is not installed: no comparison with it", file=sys.stderr)
    except MDPError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        results.append(against_torch(setup))
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed: no comparison with it", file=sys.stderr)
    for result in results:
        mark = "ok  " if result.figure <= result.most else "MISS"
        limit = "(no target)" if math.isinf(result.most) else f"(at most {result.most:g})"
        print(f"{mark} {result.figure:5.2f} {limit}  {result.name}: {result.detail}")
    return 0 if all(result.figure <= result.most for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
