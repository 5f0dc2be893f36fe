"""Measure what a broker's CPU and network card carry, and print a table up to 100,000 workers.

`python -m benches.broker_limits` measures, on this machine, the CPU time that a broker needs for a
request, for a byte, and for an idle worker, and the sizes of real crops and answers. From these
four constants it computes how many workers one broker can keep busy (docs/scaling.md).
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

from clients.terminal import screen
from clients.terminal.process import errors_reported
from lartpc import pack, stack
from lartpc.crops import chain
from lartpc.simulation import toy
from mdp.commands import load_generator as load
from services import networks
from services.planes import PLANES
from services.ssnet import PlaneSettings, SSNet

_SMALL, _LARGE = 64, 1 << 20  # bytes of a request
_CROP_S = (0.03, 0.15, 0.5)
_WORKERS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
_MOST_BUSY = 0.7  # of a core or a card: above it, queues become long
_TEN_GBIT = 1.25e9  # bytes per second, in each direction


@dataclass(frozen=True)
class Constants:
    """What one request costs a broker."""

    request_s: float
    """CPU seconds of a request with its answer, without their bytes."""
    byte_s: float
    """CPU seconds of a byte of a request or an answer."""
    worker_s: float
    """CPU seconds that an idle worker costs in a second: heartbeats."""
    crop_bytes: float
    """Bytes of a crop's request and answer together."""

    def cores(self, workers: int, crop_s: float) -> float:
        """Return the cores that a broker needs for so many workers that are always busy."""
        rate = workers / crop_s
        return rate * (self.request_s + self.crop_bytes * self.byte_s) + workers * self.worker_s

    def cards(self, workers: int, crop_s: float) -> float:
        """Return the share of a card of 10 Gbit/s: each byte comes in once and goes out once."""
        return workers / crop_s * self.crop_bytes / _TEN_GBIT

    def most_workers(self, crop_s: float) -> int:
        """Return how many workers one broker keeps busy, at `_MOST_BUSY` of a core and a card."""
        return int(_MOST_BUSY / max(self.cores(1, crop_s), self.cards(1, crop_s)))

    def brokers(self, workers: int, crop_s: float) -> int:
        load = max(self.cores(workers, crop_s), self.cards(workers, crop_s))
        return max(1, -int(-load // _MOST_BUSY))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.broker_limits", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements; the median counts")
    parser.add_argument("--workers", type=int, default=64, help="echo workers under load")
    parser.add_argument("--idle", type=int, default=2000, help="workers that only send heartbeats")
    parser.add_argument("--events", type=int, default=3, help="toy events whose crops are scored")
    parser.add_argument(
        "--crop-bytes",
        type=float,
        nargs=2,
        metavar=("REQUEST", "ANSWER"),
        help="sizes of your crops, in place of those of the toy events",
    )
    options = parser.parse_args()
    with errors_reported():
        request_s, byte_s = _requests(options.workers, options.seconds, options.rounds)
        worker_s = _idle_worker(options.idle, options.seconds)
        asked, answered = options.crop_bytes or _crops(options.events)
        constants = Constants(request_s, byte_s, worker_s, asked + answered)
        _show(constants, asked, answered)


# The measurements.


def _requests(workers: int, seconds: float, rounds: int) -> tuple[float, float]:
    plan = load.LoadPlan(
        broker=None,
        service="echo",
        sizes=(_SMALL, _LARGE),
        windows=(4 * workers,),
        workers=(workers,),
        seconds=seconds,
        rounds=rounds,
        dialect=load.dialect_named("MDP/0.2"),
        ceiling=False,
    )
    small, large = (figure.cpu_us for figure in load.measure(plan))
    assert small is not None
    assert large is not None
    byte_s = (large - small) / 1e6 / (2 * (_LARGE - _SMALL))  # echo: the answer is as long
    return small / 1e6 - 2 * _SMALL * byte_s, byte_s


def _idle_worker(count: int, seconds: float) -> float:
    with load.idle_workers(count) as cpu_s:
        time.sleep(2.0)  # all of them have said READY
        began_at, spent = time.perf_counter(), cpu_s()
        time.sleep(2 * seconds)
        return (cpu_s() - spent) / (time.perf_counter() - began_at) / count


def _crops(events: int) -> tuple[float, float]:
    """Return the bytes of a crop's request and of its answer by the shipped networks: means."""
    workers = {plane: _worker(plane) for plane in PLANES}
    asked, answered = [], []
    for event in toy.events(events, seed=1):
        plan = chain.plan(event, chain.Croi(), images="wire")
        for image, of_plane in zip(event.images["wire"], plan.planes, strict=True):
            for crop in of_plane.crops:
                request = pack([stack("wire", [(event.rse, [chain.cut(image, crop)])])])
                parts = workers[of_plane.plane].handle(request)
                assert not isinstance(parts, list)
                (answer,) = parts  # a batch
                asked.append(sum(len(frame) for frame in request))
                answered.append(sum(len(frame) for frame in answer))
    return statistics.mean(asked), statistics.mean(answered)


def _worker(plane: int) -> SSNet:
    worker = SSNet(PlaneSettings(plane, networks.PROTOTXT, networks.weights(plane), warm_up=0))
    worker.setup()
    return worker


def _show(constants: Constants, asked: float, answered: float) -> None:
    table = screen.table("constant", "value")
    table.add_row("CPU of a request", f"{constants.request_s * 1e6:.0f} us")
    table.add_row("CPU of a byte", f"{constants.byte_s * 1e9:.2f} ns")
    table.add_row("CPU of an idle worker", f"{constants.worker_s * 1e6:.0f} us/s")
    table.add_row(
        "a crop's request and answer", f"{asked / 1e3:.0f} kB and {answered / 1e3:.0f} kB"
    )
    screen.show(table)
    columns = [f"{crop_s:g} s a crop" for crop_s in _CROP_S]
    table = screen.table("workers, always busy", *columns)
    for workers in _WORKERS:
        table.add_row(f"{workers:,}", *(_cell(constants, workers, crop_s) for crop_s in _CROP_S))
    most = (f"{constants.most_workers(crop_s):,}" for crop_s in _CROP_S)
    table.add_row("most for one broker", *most)
    screen.show(table)


def _cell(constants: Constants, workers: int, crop_s: float) -> str:
    cores, cards = constants.cores(workers, crop_s), constants.cards(workers, crop_s)
    brokers = constants.brokers(workers, crop_s)
    return f"{cores:.0%} of a core, {cards:.0%} of a card: {brokers}"


if __name__ == "__main__":
    main()
