"""Measure the simple client's speed, as a ratio to copying the same events, and its memory.

`python -m benches.simple_client` first sends 10,000 small events through a broker and dummy
workers, and records its own memory. Then it takes turns between copying toy events in one
process and sending them through the broker to two dummy and to two echo workers.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from clients.simple.simple_client import SimpleJob, process_files
from clients.terminal import screen
from clients.terminal.process import errors_reported
from lartpc import RSE, Event, open_reader, open_writer
from lartpc.simulation import toy
from lartpc.simulation.chamber import Chamber
from mdp import Client

from .resident import resident_bytes

WORKERS = 2
TARGET = 0.70
MEMORY_TARGET_BYTES = 50e6
_SERVICES = {"dummy": "services.dummy:Dummy", "echo": "mdp.worker.worker.echo:Echo"}
_WARM_UP = 1000  # events during which libraries load and buffers grow


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.simple_client", description=__doc__)
    parser.add_argument("--sizes", default="512x512:60,1008x3456:16", help="ROWSxCOLS:EVENTS,...")
    parser.add_argument("--small", type=int, default=10_000, help="events of the memory test")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with errors_reported(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ssnet-bench-")))
        endpoint = stack.enter_context(_farm())
        if options.small:  # first, while the process uses little other memory
            _memory(folder, endpoint, options.small)
        for size in filter(None, options.sizes.split(",")):
            shape, _, count = size.partition(":")
            _speed(folder, endpoint, shape, int(count), rounds=options.rounds)


# The measurements.


def _speed(folder: Path, endpoint: str, shape: str, count: int, *, rounds: int) -> None:
    source = _toy_file(folder, shape, count, distinct=min(count, 20))
    plan = SimpleJob(
        inputs=(source,),
        output=folder / "out.root",
        service="dummy",
        broker=endpoint,
        producers=("wire",),
        force=True,
    )
    ways: dict[str, Callable[[], object]] = {
        "only read and written": lambda: _copy(source, plan.output),
        "read, and zeros written": lambda: _copy(source, plan.output, zeros=True),
        "through two dummies": lambda: process_files(plan),
        "through two echoes": lambda: process_files(replace(plan, service="echo")),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):  # in turn, so that other users of the machine slow all ways alike
        for name, way in ways.items():
            started_at = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started_at)
    table = screen.table(f"{count} events of 3 x {shape}", "events/s", "ratio", "target")
    bare = median(seconds["only read and written"])
    for name, several in seconds.items():
        target = f">= {TARGET:.2f}" if "two dummies" in name else ""
        rate, ratio = count / median(several), bare / median(several)
        table.add_row(name, f"{rate:.1f}", f"{ratio:.2f}", target)
    screen.show(table)


def _copy(source: Path, output: Path, *, zeros: bool = False) -> None:
    with (
        open_reader(source, tick_order="backward", images=("wire",)) as reader,
        open_writer(output, force=True) as writer,
    ):
        for event in reader:
            writer.write(_emptied(event) if zeros else event)


def _emptied(event: Event) -> Event:
    images = tuple(replace(i, pixels=i.pixels * 0) for i in event.images["wire"])
    return replace(event, images={"dummy": images})


def _memory(folder: Path, endpoint: str, count: int) -> None:
    """Show how much this process's memory grows between the first thousand events and the last."""
    source = _toy_file(folder, "64x64", count, distinct=100)
    held: list[int] = []
    plan = SimpleJob(
        inputs=(source,),
        output=folder / "out.root",
        service="dummy",
        broker=endpoint,
        producers=("wire",),
        force=True,
    )
    started_at = time.perf_counter()
    process_files(plan, on_progress=lambda *_: held.append(resident_bytes()))
    rate = count / (time.perf_counter() - started_at)
    grown = max(held) - held[min(_WARM_UP, count - 1)]
    table = screen.table(f"{count} events of 3 x 64x64", "value", "target")
    table.add_row("events/s", f"{rate:.0f}", "")
    table.add_row("memory, at most", f"{max(held) / 1e6:.0f} MB", "")
    limit = f"<= {MEMORY_TARGET_BYTES / 1e6:.0f} MB"
    table.add_row(f"growth after {_WARM_UP} events", f"{grown / 1e6:.1f} MB", limit)
    screen.show(table)


# Input files, broker and workers.


def _toy_file(folder: Path, shape: str, count: int, *, distinct: int) -> Path:
    """Write `count` events that repeat `distinct` different ones under new event numbers."""
    rows, cols = (int(side) for side in shape.split("x"))
    settings = toy.ToySettings(chamber=Chamber(rows=rows, cols=cols))
    path = folder / f"{shape}.root"
    events: list[Event] = []
    with open_writer(path) as writer:
        for number in _shown(range(count), f"toys of {shape}"):
            if number < distinct:
                events.append(toy.make(number, seed=1, settings=settings).event)
            event = events[number % distinct]
            images = {"wire": event.images["wire"]}
            writer.write(Event(RSE(1, number // 100, number), images))
    return path


def _shown(numbers: range, what: str) -> Iterator[int]:
    with screen.progress(what, command="bench") as show:
        for done, number in enumerate(numbers, start=1):
            yield number
            show(done, len(numbers))


@contextmanager
def _farm() -> Iterator[str]:
    """Start a broker at a free loopback port, with workers of each service; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    with ExitStack() as stack:
        stack.enter_context(_mdp("broker", "--bind", endpoint))
        for service, target in _SERVICES.items():
            options = ("-n", str(WORKERS), "--broker", endpoint)
            stack.enter_context(_mdp("worker", service, target, *options))
        with Client(endpoint) as client:
            while len(_full(client)) < len(_SERVICES):
                time.sleep(0.1)
        yield endpoint


def _full(client: Client) -> list[str]:
    services = client.services(timeout_s=60)
    return [name for name, row in services.items() if row["workers"] == WORKERS]


@contextmanager
def _mdp(*arguments: str) -> Iterator[None]:
    command = [sys.executable, "-m", "mdp", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
